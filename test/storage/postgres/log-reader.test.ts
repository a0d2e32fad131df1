import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { isSuError } from '../../../src/lib/errors.js';
import { encodeDataItem, parseDataItem } from '../../../src/lib/protocol/data-item.js';
import { parseId, type Id } from '../../../src/lib/protocol/ids.js';
import type { LogEntry, RangeQuery } from '../../../src/lib/scheduler/ports.js';
import type { PostgresStore } from '../../../src/lib/storage/postgres/open-store.js';
import {
  createDatabase,
  emptyDatabase,
  migratedDatabase,
  sharedPostgres,
  type TestDatabase,
} from '../../support/postgres.js';
import { LogBuilder, newLog, randomItem, runOf } from '../conformance/log-builder.js';
import { collect } from '../conformance/open-store.js';
import { openStoreOn } from './opened-store.js';

const DATABASES = new URL('../../vectors/databases/', import.meta.url);

interface Node {
  readonly message: { readonly id: string; readonly data: string } | null;
  readonly assignment: { readonly id: string; readonly tags: { name: string; value: string }[] };
}

const nodeOf = ({ node }: LogEntry): Node => JSON.parse(Buffer.from(node).toString('utf8')) as Node;
const all = (processId: Id): RangeQuery => ({
  processId,
  by: 'nonce',
  from: undefined,
  to: undefined,
  limit: 1000,
  showAnchor: false,
});

describe('reading a log from PostgreSQL', function () {
  this.timeout(20_000);
  const databases: TestDatabase[] = [];
  const stores: PostgresStore[] = [];
  const keep = (database: TestDatabase): TestDatabase => {
    databases.push(database);
    return database;
  };
  const open = async (database: TestDatabase, reader?: TestDatabase): Promise<PostgresStore> => {
    const opened = await openStoreOn(database, reader === undefined ? {} : { reader });
    stores.push(opened);
    return opened;
  };
  afterEach(async () => {
    await Promise.all(stores.splice(0).map((store) => store.close()));
    for (const database of databases.splice(0)) await database.drop();
  });

  it('reads behind a place, or from where the range begins if that is later', async () => {
    const { store, reader } = await open(keep(await migratedDatabase()));
    const { run, builder } = await newLog(30);
    await store.append([run]);
    const noncesOf = async (range: Partial<RangeQuery>, nonce: number): Promise<number[]> => {
      const query = { ...all(builder.processId), ...range };
      const entries = await collect(reader.readRangeBehind(query, { epoch: 0, nonce }));
      return entries.map((entry) => entry.nonce);
    };
    const upTo = (first: number, last: number): number[] =>
      Array.from({ length: last - first + 1 }, (_, index) => first + index);
    for (const place of [0, 5, 10, 11, 19, 20, 21, 30]) {
      const first = Math.max(11, place + 1);
      expect(await noncesOf({ from: 10 }, place), `${place}`).to.deep.equal(upTo(first, 30));
    }
    expect(await noncesOf({ from: 20, limit: 3 }, 10)).to.deep.equal([21, 22, 23]);
    expect(await noncesOf({ from: 20, to: 22 }, 21)).to.deep.equal([22]);
    const at = (nonce: number): number => Number(run.entries[nonce]?.head.timestamp);
    const byTime = { by: 'timestamp', from: at(20), to: at(24) } as const;
    expect(await noncesOf(byTime, 10)).to.deep.equal([21, 22, 23, 24]);
    expect(await noncesOf(byTime, 22)).to.deep.equal([23, 24]);
  });

  it('reads on while the caller has a piece, and keeps no connection of a caller who leaves', async () => {
    const { store, reader } = await open(keep(await migratedDatabase()));
    const { run, builder } = await newLog(800);
    await store.append([run]);
    // More often than the store has connections.
    for (let time = 0; time < 6; time += 1) {
      for await (const part of reader.readRange(all(builder.processId))) {
        expect(part.length).to.be.lessThan(800);
        break;
      }
    }
    const entries = await collect(reader.readRange({ ...all(builder.processId), limit: 799 }));
    expect(entries.map(({ nonce }) => nonce)).to.deep.equal(
      Array.from({ length: 799 }, (_, index) => index + 1),
    );
  });

  for (const name of ['with-process-assignment', 'without-process-assignment']) {
    it(`takes over the reference's database ${name} and goes on`, async () => {
      const database = keep(
        await emptyDatabase(readFileSync(new URL(`${name}.sql`, DATABASES), 'utf8')),
      );
      const { store, reader } = await open(database);
      const processes = await database.query<{
        process_id: string;
        process_data: { process: object; assignment: object | null };
      }>('select process_id, process_data from processes order by row_id');
      expect(processes).to.have.lengthOf(4);
      for (const { process_id, process_data } of processes) {
        const processId = parseId(process_id, 'process');
        const found = await reader.findProcess(processId);
        expect(JSON.parse(Buffer.from(found?.record ?? []).toString())).to.deep.equal(
          process_data.process,
        );
        expect(found?.entry === undefined).to.equal(process_data.assignment === null);
        const rows = await database.query<{ nonce: number; message_data: Node }>(
          'select nonce, message_data from messages where process_id = $1 order by epoch, nonce',
          [process_id],
        );
        const entries = await collect(reader.readRange(all(processId)));
        expect(entries.map(nodeOf)).to.deep.equal(rows.map((row) => row.message_data));
        const [head] = await store.readHeads([processId]);
        expect(head?.nonce).to.equal(
          rows.at(-1)?.nonce ?? (process_data.assignment === null ? -1 : 0),
        );
        expect(head?.blockHeight).to.equal(1_500_000);
        const builder = new LogBuilder();
        Object.assign(builder, { processId, head });
        const [outcome] = await store.append([runOf(head, await builder.message())]);
        expect(outcome?.status).to.equal('appended');
        expect((await reader.findLatest(processId))?.nonce).to.equal((head?.nonce ?? 0) + 1);
      }
    });
  }

  it('renders rows of the first months from their bundles: assignment outside, flat JSON, no assignment id', async () => {
    const database = keep(await migratedDatabase());
    const { store, reader } = await open(database);
    const { run, builder } = await newLog(0);
    await store.append([run]);
    const item = randomItem({ target: builder.processId, data: Buffer.from('old data') });
    const old = oldBundle(builder.processId, item);
    await database.query(
      `insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain)
       values ($1, $2, $3, 0, 1, 1700000000500, $4, $5)`,
      [
        builder.processId,
        item.id,
        JSON.stringify({ message: { id: item.id }, data: 'old data' }),
        old.bytes,
        'c'.repeat(42) + 'A',
      ],
    );
    const [entry] = await collect(reader.readRange(all(builder.processId)));
    expect(nodeOf(entry as LogEntry).message).to.deep.include({ id: item.id, data: 'old data' });
    expect(nodeOf(entry as LogEntry).assignment.id).to.equal(old.id);
    expect((await reader.findEntry(item.id, undefined))?.nonce).to.equal(1);
    expect(await store.findReceipts([{ kind: 'message', id: item.id }])).to.deep.equal([
      { id: item.id, timestamp: 1_700_000_000_500 },
    ]);
    const [head] = await store.readHeads([builder.processId]);
    expect(head).to.deep.include({ nonce: 1, assignmentId: old.id, blockHeight: 1_400_000 });
    builder.head = head;
    const [outcome] = await store.append([runOf(head, await builder.message())]);
    expect(outcome?.status).to.equal('appended');
  });

  it('reads a process whose place is in no column, only in its bundle', async () => {
    const database = keep(await migratedDatabase());
    const { store, reader } = await open(database);
    const { run, builder } = await newLog(0);
    await store.append([run]);
    await database.query(
      'update processes set epoch = null, nonce = null, hash_chain = null, timestamp = null',
    );
    expect(await store.readHeads([builder.processId])).to.deep.equal([builder.head]);
    const found = await reader.findProcess(builder.processId);
    expect(found?.entry).to.deep.include({ nonce: 0, timestamp: builder.head?.timestamp });
  });

  it('keeps to (epoch, nonce) where old timestamps are out of order, and misses none in a time range', async () => {
    const database = keep(await migratedDatabase());
    const { store, reader } = await open(database);
    const { run, builder } = await newLog(9);
    await store.append([run]);
    const times = [100, 130, 120, 110, 140, 170, 160, 150, 180];
    for (const [index, time] of times.entries()) {
      await database.query('update messages set timestamp = $1 where nonce = $2', [
        time,
        index + 1,
      ]);
    }
    const read = async (from: number | undefined, to: number | undefined): Promise<number[]> =>
      (
        await collect(reader.readRange({ ...all(builder.processId), by: 'timestamp', from, to }))
      ).map(({ nonce }) => nonce);
    expect(await read(115, 155)).to.deep.equal([2, 3, 5, 8]);
    expect(await read(undefined, 130)).to.deep.equal([1, 2, 3, 4]);
    expect(await read(140, undefined)).to.deep.equal([6, 7, 8, 9]);
    expect(await read(180, undefined)).to.deep.equal([]);
  });

  it('goes from epoch to epoch, and shows nonces that are held twice by row', async () => {
    const database = keep(await migratedDatabase());
    const { store, reader } = await open(database);
    const { run, builder } = await newLog(6);
    await store.append([run]);
    await database.query(`
      drop index su_messages_position;
      update messages set nonce = 2 where nonce = 3;
      update messages set epoch = 1, nonce = nonce - 5 where nonce >= 5`);
    const places = async (range: Partial<RangeQuery>): Promise<string[]> =>
      (await collect(reader.readRange({ ...all(builder.processId), ...range }))).map(
        ({ epoch, nonce }) => `${epoch}/${nonce}`,
      );
    expect(await places({})).to.deep.equal(['0/1', '0/2', '0/2', '0/4', '1/0', '1/1']);
    expect(await places({ limit: 5 })).to.deep.equal(['0/1', '0/2', '0/2', '0/4', '1/0']);
    expect(await places({ from: 0, to: 2 })).to.deep.equal(['0/1', '0/2', '0/2', '1/1']);
    expect(await places({ by: 'timestamp' })).to.have.lengthOf(6);
    expect(await reader.findLatest(builder.processId)).to.deep.include({ epoch: 1, nonce: 1 });
    const [head] = await store.readHeads([builder.processId]);
    expect(head).to.deep.include({ epoch: 1, nonce: 1, assignmentId: builder.head?.assignmentId });
  });

  it('does not leave out an entry whose bundle is damaged, but names its row', async () => {
    const database = keep(await migratedDatabase());
    const { store, reader } = await open(database);
    const { run, builder, entries } = await newLog(3);
    await store.append([run]);
    await database.query(
      `update messages set bundle = substring(bundle from 1 for 2000) where nonce = 2`,
    );
    const failures = [
      await collect(reader.readRange(all(builder.processId))).catch((error: unknown) => error),
      await reader
        .findEntry(entries[2]?.messageId as Id, undefined)
        .catch((error: unknown) => error),
    ];
    for (const failure of failures) {
      expect(isSuError(failure, 'invariant')).to.equal(true);
      expect(failure).to.have.property('message').that.includes(`${builder.processId}, nonce 2`);
    }
    await database.query(
      `update messages m set bundle = o.bundle from messages o where m.nonce = 2 and o.nonce = 3`,
    );
    const swapped: unknown = await collect(reader.readRange(all(builder.processId))).catch(
      (error: unknown) => error,
    );
    expect(isSuError(swapped, 'invariant')).to.equal(true);
  });

  describe('with a replica that lags behind', () => {
    let writer: PostgresStore;
    let replica: TestDatabase;
    let log: LogBuilder;
    let late: LogBuilder;

    beforeEach(async () => {
      const database = keep(await migratedDatabase());
      const first = await open(database);
      const { run, builder } = await newLog(5);
      await first.store.append([run]);
      await Promise.all(stores.splice(0).map((store) => store.close()));
      replica = keep(await createDatabase(await sharedPostgres(), database.name));
      writer = await open(database, replica);
      log = builder;
      const onto = log.head;
      const newer = await newLog(1);
      late = newer.builder;
      await writer.store.append([runOf(onto, ...(await log.messages(3))), newer.run]);
    });

    const nonces = async (range: Partial<RangeQuery>): Promise<number[]> =>
      (await collect(writer.reader.readRange({ ...all(log.processId), ...range }))).map(
        ({ nonce }) => nonce,
      );

    it('gives every acknowledged entry of a page', async () => {
      expect(await nonces({})).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(await nonces({ by: 'timestamp', from: 0 })).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(await nonces({ from: 3, limit: 4 })).to.deep.equal([4, 5, 6, 7]);
      expect(await nonces({ from: 6 })).to.deep.equal([7, 8]);
      expect(await nonces({ from: 2, to: 4 })).to.deep.equal([3, 4]);
      const newest = await collect(writer.reader.readRange(all(late.processId)));
      expect(newest).to.have.lengthOf(1);
    });

    it('finds new processes, new entries and the latest entry', async () => {
      expect((await writer.reader.findLatest(log.processId))?.nonce).to.equal(8);
      expect((await writer.reader.findLatest(late.processId))?.nonce).to.equal(1);
      expect((await writer.reader.findProcess(late.processId))?.processId).to.equal(late.processId);
      const id = late.head?.assignmentId as Id;
      expect((await writer.reader.findEntry(id, late.processId))?.nonce).to.equal(1);
    });

    it('reads what the replica has from the replica', async () => {
      await replica.query(`update messages set timestamp = 42 where nonce = 1`);
      const [entry] = await collect(writer.reader.readRange({ ...all(log.processId), limit: 1 }));
      expect(entry?.timestamp).to.equal(42);
    });

    it('answers from the writer when the replica is gone', async () => {
      await replica.drop();
      expect(await nonces({})).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
      expect((await writer.reader.findLatest(log.processId))?.nonce).to.equal(8);
      expect((await writer.reader.findProcess(log.processId))?.processId).to.equal(log.processId);
    });
  });
});

/** A message as it was stored before the assignment moved into the bundle: the wrapper has the assignment's tags. */
function oldBundle(processId: Id, item: { readonly bytes: Uint8Array; readonly id: Id }) {
  const content = Buffer.alloc(96);
  content.writeUInt32LE(1, 0);
  content.writeUInt32LE(item.bytes.length, 32);
  Buffer.from(item.id, 'base64url').copy(content, 64);
  const tags = [
    { name: 'Bundle-Format', value: 'binary' },
    { name: 'Bundle-Version', value: '2.0.0' },
    { name: 'Process', value: processId },
    { name: 'Epoch', value: '0' },
    { name: 'Nonce', value: '1' },
    { name: 'Hash-Chain', value: 'c'.repeat(42) + 'A' },
    { name: 'Block-Height', value: '000001400000' },
    { name: 'Timestamp', value: '1700000000500' },
  ];
  const fields = {
    signatureType: 1,
    signature: randomBytes(512),
    owner: randomBytes(512),
    tags,
  } as const;
  return parseDataItem(encodeDataItem(fields, Buffer.concat([content, item.bytes])), 'stored');
}
