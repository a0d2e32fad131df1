import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { LogEntry, LogReader, RangeQuery } from '../../src/lib/scheduler/ports.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { openRocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import {
  makeFolder,
  openDiskedStore,
  removeFolder,
  type DiskedTestStore,
} from '../support/disked-store.js';
import {
  emptyDatabase,
  migratedDatabase,
  silentLog,
  type TestDatabase,
} from '../support/postgres.js';
import { waitFor } from '../support/su-process.js';
import { LogBuilder, newLog, runOf } from '../storage/conformance/log-builder.js';
import { collect } from '../storage/conformance/open-store.js';
import { openStoreOn } from '../storage/postgres/opened-store.js';

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    return isSuError(error) ? `${error.code}: ${error.message}` : String(error);
  }
}

const query = (processId: Id, more: Partial<RangeQuery> = {}): RangeQuery => ({
  processId,
  by: 'nonce',
  from: undefined,
  to: undefined,
  limit: 1_000_000,
  showAnchor: false,
  ...more,
});

const shown = (entries: readonly LogEntry[]): unknown[] =>
  entries.map(({ node, ...place }) => ({ ...place, node: Buffer.from(node).toString('utf8') }));

const read = async (reader: LogReader, range: RangeQuery): Promise<unknown[]> =>
  shown(await collect(reader.readRange(range)));

describe('a disk copy beside PostgreSQL', function () {
  this.timeout(60_000);
  let database: TestDatabase;
  let folder: string;
  const stores: { close(): Promise<void> }[] = [];

  beforeEach(async () => {
    database = await migratedDatabase();
    folder = await makeFolder();
  });
  afterEach(async () => {
    for (const store of stores.splice(0).toReversed()) await store.close();
    await database.drop();
    await removeFolder(folder);
  });

  async function openDisked(url = database.url): Promise<DiskedTestStore> {
    const store = await openDiskedStore(url, folder);
    stores.push(store);
    return store;
  }

  async function openPlain(): ReturnType<typeof openStoreOn> {
    const store = await openStoreOn(database);
    stores.push(store);
    return store;
  }

  async function closeAll(): Promise<void> {
    for (const store of stores.splice(0).toReversed()) await store.close();
  }

  /** A log of so many messages, stored without a disk. */
  async function storedLog(messages: number, dataBytes?: number): Promise<LogBuilder> {
    const plain = await openPlain();
    const { entries, builder } = await newLog(dataBytes === undefined ? messages : 0);
    for (let count = 0; dataBytes !== undefined && count < messages; count += 1) {
      entries.push(await builder.message({ data: Buffer.alloc(dataBytes, 'd') }));
    }
    const run = runOf(undefined, ...entries);
    expect((await plain.store.append([run]))[0]?.status).to.equal('appended');
    return builder;
  }

  async function expectSameReads(store: DiskedTestStore, processId: Id): Promise<void> {
    const times = (await collect(store.plain.readRange(query(processId)))).map(
      ({ timestamp }) => timestamp,
    );
    const [early = 0, late = 0] = [
      times[Math.floor(times.length / 4)],
      times[Math.floor(times.length / 2)],
    ];
    for (const range of [
      query(processId),
      query(processId, { limit: 3 }),
      query(processId, { from: 2, to: 7 }),
      query(processId, { showAnchor: true }),
      query(processId, { by: 'timestamp' }),
      query(processId, { by: 'timestamp', from: early, to: late }),
      query(processId, { by: 'timestamp', from: late }),
    ]) {
      expect(await read(store.reader, range)).to.deep.equal(await read(store.plain, range));
    }
    expect(await store.reader.findLatest(processId)).to.deep.equal(
      await store.plain.findLatest(processId),
    );
    for (const options of [{ showAnchor: false }, { showAnchor: true }]) {
      expect(await store.reader.findProcess(processId, options)).to.deep.equal(
        await store.plain.findProcess(processId, options),
      );
    }
  }

  it('is filled at the start with what is missing, and then answers', async () => {
    const { processId } = await storedLog(20);
    const store = await openDisked();
    await store.settled();
    expect(store.state().entriesCopied).to.equal(20);
    await expectSameReads(store, processId);
    const { disk } = store.reads;
    await collect(store.reader.readRange(query(processId, { from: 3, to: 6 })));
    expect(store.reads.disk).to.equal(disk + 1);
  });

  it('takes what its server commits, without reading it from the database again', async () => {
    const store = await openDisked();
    await store.settled();
    const { run, builder } = await newLog(5);
    await store.store.append([run]);
    const onto = builder.head;
    await store.store.append([runOf(onto, ...(await builder.messages(5)))]);
    await waitFor(
      () => (store.state().entriesCopied === 10 ? true : undefined),
      () => `not copied: ${JSON.stringify(store.state())}`,
    );
    expect(store.state().logsBehind).to.equal(0);
    await expectSameReads(store, builder.processId);
  });

  it('reads from where a range begins when its copy ends before that', async () => {
    const builder = await storedLog(10);
    const store = await openDisked();
    await store.settled();
    const plain = await openPlain();
    for (const more of [{ from: 20 }, { from: 40, limit: 3 }, { from: 52, to: 53 }]) {
      const onto = builder.head;
      await plain.store.append([runOf(onto, ...(await builder.messages(20)))]);
      const range = query(builder.processId, more);
      expect(await read(store.reader, range)).to.deep.equal(await read(store.plain, range));
      await store.settled();
    }
  });

  it('shows what another server wrote at once, and copies it after', async () => {
    const { processId, head } = await storedLog(5).then((builder) => builder);
    const store = await openDisked();
    await store.settled();
    expect(head?.nonce).to.equal(5);
    const other = await openPlain();
    const builder = await storedLog(0);
    for (let count = 1; count <= 5; count += 1) {
      const onto = builder.head;
      await other.store.append([runOf(onto, await builder.message())]);
      const nonces = (await collect(store.reader.readRange(query(builder.processId)))).map(
        ({ nonce }) => nonce,
      );
      expect(nonces).to.have.lengthOf(count);
      expect((await store.reader.findLatest(builder.processId))?.nonce).to.equal(count);
    }
    await store.settled();
    await expectSameReads(store, processId);
    await waitFor(
      () => ((store.state().entriesCopied ?? 0) >= 10 ? true : undefined),
      () => `the other server's entries are not copied: ${JSON.stringify(store.state())}`,
    );
    const { disk } = store.reads;
    await collect(store.reader.readRange(query(builder.processId)));
    expect(store.reads.disk).to.equal(disk + 1);
  });

  for (const dump of ['with-process-assignment', 'without-process-assignment']) {
    it(`reads the recorded database ${dump} as without it`, async () => {
      const file = new URL(`../vectors/databases/${dump}.sql`, import.meta.url);
      const recorded = await emptyDatabase(readFileSync(file, 'utf8'));
      try {
        await migrate({ url: recorded.url, log: silentLog });
        const store = await openDisked(recorded.url);
        await store.settled();
        const rows = await recorded.query<{ process_id: Id }>('select process_id from processes');
        for (const { process_id } of rows) await expectSameReads(store, process_id);
        const ids = await recorded.query<{ id: Id; process_id: Id }>(
          `select message_id as id, process_id from messages
           union all select assignment_id, process_id from messages`,
        );
        for (const { id, process_id } of ids) {
          expect(await store.reader.findEntry(id, undefined)).to.deep.equal(
            await store.plain.findEntry(id, undefined),
          );
          expect(await store.reader.findEntry(id, process_id)).to.deep.equal(
            await store.plain.findEntry(id, process_id),
          );
        }
        await closeAll();
      } finally {
        await closeAll();
        await recorded.drop();
      }
    });
  }

  it('reads logs whose clock went back, and that hold a nonce twice, as without it', async () => {
    const { processId } = await storedLog(12);
    await database.query(
      `drop index su_messages_position;
       delete from __diesel_schema_migrations where version = '20261123000200'`,
    );
    await database.query(
      `update messages set timestamp = timestamp - 1000000 where process_id = $1 and nonce in (5, 6)`,
      [processId],
    );
    await database.query(
      `insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain, assignment_id)
       select process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain, null
         from messages where process_id = $1 and nonce in (7, 12)`,
      [processId],
    );
    const store = await openDisked();
    await store.settled();
    await expectSameReads(store, processId);
    expect(await read(store.reader, query(processId))).to.have.lengthOf(14);
  });

  it('notices a database that was set back, and copies its log anew', async () => {
    const builder = await storedLog(6);
    const [lost] = await database.query<{ message_id: Id }>(
      'select message_id from messages where nonce = 6',
    );
    const first = await openDisked();
    await first.settled();
    await closeAll();
    await database.query('delete from messages where process_id = $1 and nonce > 3', [
      builder.processId,
    ]);
    const plain = await openPlain();
    const [head] = await plain.store.readHeads([builder.processId]);
    builder.head = head;
    await plain.store.append([runOf(head, ...(await builder.messages(4)))]);
    const store = await openDisked();
    await expectSameReads(store, builder.processId);
    await store.settled();
    await expectSameReads(store, builder.processId);
    expect(await store.reader.findEntry(lost?.message_id as Id, undefined)).to.equal(undefined);
    await waitFor(
      () => (store.state().entriesCopied === 7 ? true : undefined),
      () => JSON.stringify(store.state()),
    );
    const { disk } = store.reads;
    expect(await read(store.reader, query(builder.processId))).to.have.lengthOf(7);
    expect(store.reads.disk).to.equal(disk + 1);
  });

  it('is made anew when it is lost', async () => {
    const { processId } = await storedLog(5);
    await (await openDisked()).settled();
    await closeAll();
    await rm(join(folder, 'db'), { recursive: true });
    const store = await openDisked();
    await store.settled();
    expect(store.state().entriesCopied).to.equal(5);
    await expectSameReads(store, processId);
  });

  for (const [files, damaged] of [
    ['its files', /\.(?:sst|log|blob)$/],
    ['its blob files', /\.blob$/],
  ] as const) {
    it(`makes reads slower, never wrong, when ${files} are damaged`, () => damagedDisk(damaged));
  }

  it('makes reads slower, never wrong, when its blob files are gone', async () => {
    const { processId } = await storedLog(300, 20_000);
    await (await openDisked()).settled();
    await closeAll();
    await rm(join(folder, 'db', 'blobs'), { recursive: true });
    const store = await openDisked();
    await expectSameReads(store, processId);
    await expectSameReads(store, processId);
  });

  async function damagedDisk(files: RegExp): Promise<void> {
    const { processId } = await storedLog(300, 20_000);
    await (await openDisked()).settled();
    await closeAll();
    // Opened once more, so that the log of writes is in tables.
    await (await openDisked()).settled();
    await closeAll();
    const all = await readdir(join(folder, 'db'), { recursive: true });
    const names = all.filter((name) => files.test(name));
    expect(names.length).to.be.greaterThan(0);
    for (const name of names) {
      const file = await open(join(folder, 'db', name), 'r+');
      const { size } = await file.stat();
      for (let at = 100; at < size; at += 997) await file.write(Buffer.from([0x5a]), 0, 1, at);
      await file.close();
    }
    const store = await openDisked();
    // The database answers until the folder is open; after that a read meets the damage.
    for (let turn = 0; turn < 500 && store.failures() === 0; turn += 1) {
      await expectSameReads(store, processId);
    }
    expect(store.failures()).to.be.greaterThan(0);
    await expectSameReads(store, processId);
    expect(new Set(store.errors).size).to.equal(store.errors.length);
  }

  it('lets the database answer when the folder cannot be opened, and says so once', async () => {
    const { processId } = await storedLog(5);
    await (await openDisked()).settled();
    await closeAll();
    await rm(join(folder, 'db'), { recursive: true });
    await writeFile(join(folder, 'db'), 'no folder');
    const store = await openDisked();
    await expectSameReads(store, processId);
    await waitFor(
      () => (store.errors.length > 0 ? true : undefined),
      () => 'nothing was said',
    );
    expect(store.errors).to.have.lengthOf(1);
    expect(store.failures()).to.be.greaterThan(0);
  });

  it('lets the database answer while another program holds the folder', async () => {
    const { processId } = await storedLog(5);
    const holder = await openDisked();
    await holder.settled();
    const second = await openDisked();
    await expectSameReads(second, processId);
    await waitFor(
      () => (second.errors.length > 0 ? true : undefined),
      () => 'nothing was said',
    );
    expect(second.state().isOpen).to.equal(false);
    expect(second.errors).to.have.lengthOf(1);
    expect(second.errors[0]).to.match(/another program has the store/);
  });

  it('refuses a folder of the Rust implementation, with the way out', async () => {
    await writeFile(join(folder, 'CURRENT'), 'MANIFEST-000001\n');
    await mkdir(join(folder, 'archive'));
    expect(await refusal(openDiskedStore(database.url, folder))).to.match(
      /^folder-refused: .*is not a data folder.*Nothing in it was changed.*su migrate-disk/,
    );
    expect(await readdir(folder)).to.have.members(['CURRENT', 'archive']);
  });

  it('refuses the folder of an embedded store, and is refused as one', async () => {
    const monotonicMs = (): number => performance.now();
    const options = { leaseMs: 1000, clock: Date.now, monotonicMs, log: silentLog };
    const own = await openRocksdbStore({ folder, ...options });
    await own.close();
    expect(await refusal(openDiskedStore(database.url, folder))).to.match(
      /^folder-refused: .*holds a log of its own/,
    );
    const copy = await makeFolder();
    try {
      const disked = await openDiskedStore(database.url, copy);
      await disked.settled();
      await disked.close();
      expect(await refusal(openRocksdbStore({ folder: copy, ...options }))).to.match(
        /^folder-refused: .*disk copy of a PostgreSQL database.*su store:copy/,
      );
    } finally {
      await removeFolder(copy);
    }
  });
});
