import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { copyStore, type CopyReport, type CopyTarget } from '../../src/lib/migrator/copy-store.js';
import type { RawLogReader } from '../../src/lib/migrator/ports.js';
import type { LogReader, ScheduleStore } from '../../src/lib/scheduler/ports.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { openPostgresStore } from '../../src/lib/storage/postgres/open-store.js';
import { openPostgresRawLog } from '../../src/lib/storage/postgres/raw-log.js';
import { openRocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import { LogBuilder, newLog, randomId, runOf } from '../storage/conformance/log-builder.js';
import { collect } from '../storage/conformance/open-store.js';
import { migratedDatabase, silentLog, type TestDatabase } from '../support/postgres.js';

interface Side {
  readonly store: ScheduleStore;
  readonly reader: RawLogReader;
  readonly log: LogReader;
  readonly target: CopyTarget;
  /** Of a database. */
  readonly database?: TestDatabase;
}

type Engine = 'PostgreSQL' | 'the embedded store';

describe('copying one store into another', function () {
  this.timeout(60_000);
  const closing: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  const open = async (engine: Engine): Promise<Side> =>
    engine === 'PostgreSQL' ? openDatabase() : openFolder();

  async function openDatabase(): Promise<Side> {
    const database = await migratedDatabase();
    closing.push(() => database.drop());
    const opened = openPostgresStore({
      writerUrl: database.url,
      writeConnections: 4,
      readConnections: 2,
      leaseMs: 1000,
      clock: Date.now,
      log: silentLog,
    });
    closing.push(() => opened.close());
    await opened.ensureMigrated();
    const raw = openPostgresRawLog({
      url: database.url,
      connections: 8,
      json: false,
      clock: Date.now,
      log: silentLog,
    });
    closing.push(() => raw.close());
    const { reader, writer } = raw;
    const target: CopyTarget = {
      reader,
      writer,
      queueUploads: (rows) => opened.outbox.queueUploads(rows),
      admitRepeatedPlaces: () => writer.admitRepeatedPlaces(),
    };
    return { store: opened.store, log: opened.reader, reader, target, database };
  }

  async function openFolder(): Promise<Side> {
    const folder = await mkdtemp(join(tmpdir(), 'su-copy-'));
    closing.push(() => rm(folder, { recursive: true, force: true }));
    const opened = await openRocksdbStore({
      folder: join(folder, 'data'),
      leaseMs: 1000,
      clock: Date.now,
      monotonicMs: () => performance.now(),
      log: silentLog,
    });
    closing.push(() => opened.close());
    const { store, raw, outbox, reader: log } = opened;
    const target = { ...raw, queueUploads: outbox.queueUploads.bind(outbox) };
    return { store, log, reader: raw.reader, target };
  }

  const copy = (source: Side, target: Side, stop?: AbortController): Promise<CopyReport> =>
    copyStore({
      source: source.reader,
      target: target.target,
      parallel: 3,
      signal: (stop ?? new AbortController()).signal,
      // Told to stop, it is told at the first sign of progress.
      onProgress: () => stop?.abort(),
    });

  /** Several logs of several kinds; answers their builders. */
  const fill = async (side: Side): Promise<LogBuilder[]> => {
    const builders: LogBuilder[] = [];
    for (const [withAssignment, count] of [
      [true, 40],
      [false, 5],
      [true, 0],
      [false, 0],
    ] as const) {
      const { run, builder } = await newLog(count, { withAssignment });
      await side.store.append([run]);
      const onto = builder.head;
      await side.store.append([
        runOf(onto, await builder.assign(randomId(), ['Data']), await builder.message()),
      ]);
      builders.push(builder);
    }
    return builders;
  };

  /** All that two engines keep alike. */
  const contents = async ({ reader }: Side): Promise<unknown> => {
    const logs: Record<string, unknown> = {};
    for (const process of await collect(reader.readProcesses(undefined))) {
      const messages = await collect(reader.readMessages(process.processId, undefined));
      const outstanding = await reader.readOutstanding(process.processId);
      logs[process.processId] = {
        place: [process.epoch, process.nonce, process.timestamp, process.hashChain],
        bundle: Buffer.from(process.bundle).toString('base64'),
        messages: messages.map((row) => ({
          ...row,
          rank: undefined,
          json: undefined,
          bundle: Buffer.from(row.bundle).toString('base64'),
        })),
        outstanding: [...outstanding].map(([id, parts]) => `${id} ${parts}`).toSorted(),
      };
    }
    return logs;
  };

  for (const [from, to] of [
    ['PostgreSQL', 'the embedded store'],
    ['the embedded store', 'PostgreSQL'],
    ['PostgreSQL', 'PostgreSQL'],
  ] as const) {
    it(`carries everything over, uploads included: from ${from} to ${to}`, async () => {
      const [source, target] = [await open(from), await open(to)];
      await fill(source);
      const report = await copy(source, target);
      expect(report).to.deep.include({ processes: 4, messages: 53, written: 53, complete: true });
      expect(report.queued).to.equal(57);
      expect(await contents(target)).to.deep.equal(await contents(source));
    });

    it(`brings a log that can be gone on with: from ${from} to ${to}`, async () => {
      const [source, target] = [await open(from), await open(to)];
      const builders = await fill(source);
      await copy(source, target);
      for (const builder of builders) {
        const [head] = await target.store.readHeads([builder.processId]);
        expect(head).to.deep.equal(builder.head);
        const [outcome] = await target.store.append([runOf(head, await builder.message())]);
        expect(outcome?.status).to.equal('appended');
      }
    });

    it(`goes on where it was stopped, writes nothing twice, and catches up later: from ${from} to ${to}`, async () => {
      const [source, target] = [await open(from), await open(to)];
      const [builder] = (await fill(source)) as [LogBuilder];
      const first = await copy(source, target, new AbortController());
      expect(first.complete).to.equal(false);
      const second = await copy(source, target);
      expect(second.complete).to.equal(true);
      expect(second.messages).to.equal(53);
      const onto = builder.head;
      await source.store.append([runOf(onto, ...(await builder.messages(3)))]);
      expect(await copy(source, target)).to.deep.include({ messages: 56, written: 3, queued: 3 });
      const again = await copy(source, target);
      expect(again).to.deep.include({ messages: 56, written: 0, queued: 0 });
      expect(await contents(target)).to.deep.equal(await contents(source));
    });

    it(`refuses a target that has gone on or diverged, and changes nothing there: from ${from} to ${to}`, async () => {
      const [source, target] = [await open(from), await open(to)];
      const { run, builder } = await newLog(3);
      await source.store.append([run]);
      await copy(source, target);
      const fork = new LogBuilder();
      Object.assign(fork, { processId: builder.processId, head: builder.head });
      await target.store.append([runOf(builder.head, await fork.message())]);
      const before = await contents(target);
      const goneOn: unknown = await copy(source, target).catch((error: unknown) => error);
      expect(isSuError(goneOn, 'refused-by-store'), String(goneOn)).to.equal(true);
      expect(goneOn).to.have.property('message').that.includes('nonce 4').and.includes('gone on');
      const onto = builder.head;
      await source.store.append([runOf(onto, await builder.message())]);
      const diverged: unknown = await copy(source, target).catch((error: unknown) => error);
      expect(diverged).to.have.property('message').that.includes('diverged');
      const other = await newLog(0);
      await target.store.append([other.run]);
      const foreign: unknown = await copy(source, target).catch((error: unknown) => error);
      expect(foreign).to.have.property('message').that.includes('no copy of it');
      expect(Object.keys((await contents(target)) as object)).to.have.lengthOf(
        Object.keys(before as object).length + 1,
      );
    });
  }

  it('brings old logs whose clock was set back, read by time as from the database', async () => {
    const source = await openDatabase();
    const { run, builder } = await newLog(9);
    await source.store.append([run]);
    for (const [index, time] of [100, 130, 120, 110, 140, 170, 160, 150, 180].entries()) {
      await source.database?.query('update messages set timestamp = $1 where nonce = $2', [
        time,
        index + 1,
      ]);
    }
    const target = await openFolder();
    await copy(source, target);
    for (const [from, to] of [
      [115, 155],
      [undefined, 130],
      [140, undefined],
      [180, undefined],
      [131, 139],
      [105, 125],
    ]) {
      const nonces = async ({ log }: Side): Promise<number[]> => {
        const { processId } = builder;
        const query = {
          processId,
          by: 'timestamp',
          from,
          to,
          limit: 100,
          showAnchor: false,
        } as const;
        return (await collect(log.readRange(query))).map(({ nonce }) => nonce);
      };
      expect(await nonces(target), `${from} ${to}`).to.deep.equal(await nonces(source));
    }
    const [head] = await target.store.readHeads([builder.processId]);
    expect(head).to.deep.include({ nonce: 9 });
    expect(head).to.deep.equal((await source.store.readHeads([builder.processId]))[0]);
  });

  for (const to of ['the embedded store', 'PostgreSQL'] as const) {
    it(`keeps rows that repeat a nonce, in their order, also where it was stopped between them: to ${to}`, async () => {
      const source = await openDatabase();
      const { run, builder } = await newLog(8);
      await source.store.append([run]);
      await source.database?.query(
        `drop index su_messages_position;
         update messages set nonce = 3 where nonce in (4, 5)`,
      );
      const target = await open(to);
      expect(await copy(source, target)).to.deep.include({ messages: 8, written: 8 });
      expect(await contents(target)).to.deep.equal(await contents(source));
      if (target.database !== undefined) {
        const applied = await migrate({ url: target.database.url, log: silentLog });
        expect(applied).to.have.lengthOf(1);
        await target.database.query('delete from messages where nonce > 3 or message_id = $1', [
          (await collect(target.reader.readMessages(builder.processId, undefined)))[4]?.messageId,
        ]);
        expect(await copy(source, target)).to.deep.include({ messages: 8, written: 4 });
        expect(await contents(target)).to.deep.equal(await contents(source));
      }
    });
  }
});
