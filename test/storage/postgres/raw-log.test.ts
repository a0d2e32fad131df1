import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import pg from 'pg';
import { isSuError } from '../../../src/lib/errors.js';
import type { StoredMessage, StoredProcess } from '../../../src/lib/migrator/ports.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import { migrate } from '../../../src/lib/storage/postgres/migrations.js';
import {
  openPostgresRawLog,
  type PostgresRawLog,
} from '../../../src/lib/storage/postgres/raw-log.js';
import {
  emptyDatabase,
  migratedDatabase,
  silentLog,
  type TestDatabase,
  untilLockIsAwaited,
} from '../../support/postgres.js';
import { newLog, runOf } from '../conformance/log-builder.js';
import { collect } from '../conformance/open-store.js';
import { openStoreOn } from './opened-store.js';

const DUMP = new URL('../../vectors/databases/with-process-assignment.sql', import.meta.url);
const BIG = 3 * 1024 * 1024;

describe('the rows of a PostgreSQL database as they stand', function () {
  this.timeout(30_000);
  const databases: TestDatabase[] = [];
  const logs: PostgresRawLog[] = [];

  const openOn = (database: TestDatabase, json = true): PostgresRawLog => {
    const log = openPostgresRawLog({
      url: database.url,
      connections: 4,
      json,
      clock: Date.now,
      log: silentLog,
    });
    logs.push(log);
    return log;
  };
  const fresh = async (): Promise<TestDatabase> => {
    const database = await migratedDatabase();
    databases.push(database);
    return database;
  };
  const restored = async (): Promise<TestDatabase> => {
    const database = await emptyDatabase(readFileSync(DUMP, 'utf8'));
    databases.push(database);
    await migrate({ url: database.url, log: silentLog });
    return database;
  };
  afterEach(async () => {
    for (const log of logs.splice(0)) await log.close();
    for (const database of databases.splice(0)) await database.drop();
  });

  const copy = async (from: PostgresRawLog, to: PostgresRawLog): Promise<void> => {
    for (const process of await collect(from.reader.readProcesses(undefined))) {
      const messages = await collect(from.reader.readMessages(process.processId, undefined));
      await to.writer.writeRows(process, messages);
    }
  };
  const rowsOf = (database: TestDatabase): Promise<unknown[]> =>
    database.query(
      `select p.process_id, p.process_data, p.bundle, p.epoch, p.nonce, p.hash_chain, p.timestamp,
              (select json_agg(to_jsonb(m) - 'row_id' order by m.epoch, m.nonce, m.row_id)
                 from messages m where m.process_id = p.process_id) as messages
         from processes p order by p.process_id`,
    );

  it('come process by process and in the order of their places, all of them', async () => {
    const database = await restored();
    const { reader } = openOn(database);
    const processes = await collect(reader.readProcesses(undefined));
    expect(processes).to.have.lengthOf(4);
    expect(await reader.countProcesses()).to.equal(4);
    expect(await reader.findProcess(processes[2]?.processId as Id)).to.deep.equal(processes[2]);
    expect(await reader.findProcess('x' as Id)).to.equal(undefined);
    const [first, second] = processes as [StoredProcess, StoredProcess];
    expect(await collect(reader.readProcesses(first.processId))).to.deep.equal(processes.slice(1));
    const expected = await database.query<{ process_id: string; nonces: number[] }>(
      'select process_id, array_agg(nonce order by epoch, nonce) as nonces from messages group by process_id',
    );
    for (const { process_id, nonces } of expected) {
      const messages = await collect(reader.readMessages(process_id as Id, undefined));
      expect(messages.map(({ nonce }) => nonce)).to.deep.equal(nonces);
      const rest = await collect(reader.readMessages(process_id as Id, messages[0]));
      expect(rest).to.deep.equal(messages.slice(1));
    }
    expect(JSON.parse(second.json ?? '')).to.have.keys('process', 'assignment');
    expect(
      (await collect(openOn(database, false).reader.readProcesses(undefined)))[0]?.json,
    ).to.equal(undefined);
  });

  it('come in pieces that are bounded in bytes, none of them lost', async () => {
    const database = await fresh();
    const store = await openStoreOn(database);
    const { run, builder } = await newLog(3);
    await store.store.append([run]);
    const onto = builder.head;
    const big = await builder.message({ data: Buffer.alloc(BIG) });
    await store.store.append([runOf(onto, big, ...(await builder.messages(2)))]);
    await store.close();
    const pieces: number[][] = [];
    for await (const piece of openOn(database).reader.readMessages(builder.processId, undefined)) {
      pieces.push(piece.map(({ nonce }) => nonce));
    }
    expect(pieces).to.deep.equal([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });

  it('tell what is still to be uploaded of a process', async () => {
    const database = await fresh();
    const store = await openStoreOn(database);
    const [some, none] = [await newLog(1), await newLog(0)];
    await store.store.append([some.run, none.run]);
    await store.close();
    await database.query('delete from su_outbox where process_id = $1', [none.builder.processId]);
    const { reader } = openOn(database);
    expect([...(await reader.readOutstanding(some.builder.processId))]).to.have.deep.members([
      [some.builder.processId, 3],
      [some.entries[1]?.messageId, 3],
    ]);
    expect((await reader.readOutstanding(none.builder.processId)).size).to.equal(0);
    expect(await reader.countOutstanding()).to.deep.equal({ pending: 2, parked: 0 });
  });

  it('are the same in a database that they are written to, and written twice stay as they are', async () => {
    const from = await restored();
    const to = await fresh();
    const [source, target] = [openOn(from), openOn(to)];
    await copy(source, target);
    expect(await rowsOf(to)).to.deep.equal(await rowsOf(from));
    await copy(source, target);
    expect(await rowsOf(to)).to.deep.equal(await rowsOf(from));
  });

  it('are refused where the database has others, and nothing of the call is written', async () => {
    const to = await fresh();
    const store = await openStoreOn(to);
    const { run, builder } = await newLog(2);
    await store.store.append([run]);
    await store.close();
    const target = openOn(to);
    const [process] = (await collect(target.reader.readProcesses(undefined))) as [StoredProcess];
    const [one, two] = (await collect(
      target.reader.readMessages(builder.processId, undefined),
    )) as [StoredMessage, StoredMessage];
    const third = { ...two, nonce: 3, assignmentId: undefined };
    for (const [what, rows] of [
      ['nonce 2', [one, { ...two, bundle: one.bundle }, third]],
      ['nonce 2', [one, third]],
      ['assignment', [{ ...two, nonce: 3 }]],
    ] as const) {
      const failure: unknown = await target.writer
        .writeRows(process, rows)
        .catch((error: unknown) => error);
      expect(isSuError(failure, 'refused-by-store'), String(failure)).to.equal(true);
      expect(failure).to.have.property('message').that.includes(what);
    }
    const failure: unknown = await target.writer
      .writeRows({ ...process, bundle: one.bundle, json: '{}' }, [])
      .catch((error: unknown) => error);
    expect(failure).to.have.property('message').that.includes('with another bundle');
    expect(await to.query('select from messages')).to.have.lengthOf(2);
  });

  it('admits repeated places beside a writer that has begun, and waits for it', async () => {
    const to = await fresh();
    const target = openOn(to);
    const writer = new pg.Client({ connectionString: to.url });
    await writer.connect();
    try {
      // A transaction that has read and will write: what grows its lock meanwhile ends in a deadlock.
      await writer.query('begin');
      await writer.query('select from messages');
      const admitted = target.writer.admitRepeatedPlaces();
      await untilLockIsAwaited(to);
      await writer.query('insert into schedulers (url, process_count) values ($1, 0)', [
        'http://a',
      ]);
      await writer.query('delete from messages');
      await writer.query('commit');
      await admitted;
    } finally {
      await writer.end();
    }
  });

  it('may repeat a place once that is admitted, and the next migration keeps later ones apart', async () => {
    const to = await fresh();
    const { run, builder, entries } = await newLog(2);
    const store = await openStoreOn(to);
    await store.store.append([run]);
    await store.close();
    const target = openOn(to);
    const [process] = (await collect(target.reader.readProcesses(undefined))) as [StoredProcess];
    const [one, two] = (await collect(
      target.reader.readMessages(builder.processId, undefined),
    )) as [StoredMessage, StoredMessage];
    await to.query('delete from messages where nonce = 2');
    await target.writer.admitRepeatedPlaces();
    await target.writer.writeRows(process, [one, { ...two, nonce: 1 }]);
    expect(await migrate({ url: to.url, log: silentLog })).to.deep.equal(['20261123000200']);
    const nonces = (await collect(target.reader.readMessages(builder.processId, undefined))).map(
      ({ nonce, messageId }) => [nonce, messageId],
    );
    expect(nonces).to.deep.equal([
      [1, entries[1]?.messageId],
      [1, entries[2]?.messageId],
    ]);
  });
});
