import { expect } from 'chai';
import { isSuError } from '../../../src/lib/errors.js';
import {
  openPostgresStore,
  type PostgresStore,
} from '../../../src/lib/storage/postgres/open-store.js';
import {
  createDatabase,
  silentLog,
  startPostgres,
  type TestDatabase,
  type TestServer,
} from '../../support/postgres.js';
import { newLog, runOf } from '../conformance/log-builder.js';
import { until } from './opened-store.js';

interface Line {
  readonly level: string;
  readonly event: string;
}

describe('a PostgreSQL store whose database goes away', function () {
  this.timeout(60_000);
  let server: TestServer;
  let database: TestDatabase;
  let opened: PostgresStore | undefined;
  let lines: Line[];

  const open = (url = database.url): PostgresStore => {
    const note = (level: string) => (fields: object) => {
      lines.push({ level, event: (fields as { event: string }).event });
    };
    opened = openPostgresStore({
      writerUrl: url,
      writeConnections: 2,
      readConnections: 2,
      leaseMs: 1000,
      clock: Date.now,
      log: { ...silentLog, info: note('info'), error: note('error') },
    });
    return opened;
  };
  const logged = (event: string): number => lines.filter((line) => line.event === event).length;
  const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => error,
    );

  before(async () => {
    server = await startPostgres();
  });
  after(() => server.destroy());
  beforeEach(async () => {
    lines = [];
    database = await createDatabase(server, 'template0');
  });
  afterEach(async () => {
    await opened?.close();
    opened = undefined;
  });

  it('opens without it, says so once, and serves as soon as it is there', async () => {
    await server.stop('fast');
    const { store, reader, outbox, isReady } = open();
    const { run, builder } = await newLog(1);
    await until(() => logged('database-not-ready') > 0);
    const failures = await Promise.all([
      failureOf(store.readHeads([builder.processId])),
      failureOf(store.findReceipts([{ kind: 'process', id: builder.processId }])),
      failureOf(store.findProcessTags(builder.processId)),
      failureOf(reader.findProcess(builder.processId)),
      failureOf(reader.findLatest(builder.processId)),
      failureOf(outbox.claim(1)),
      failureOf(outbox.counts()),
    ]);
    expect(failures.every((failure) => isSuError(failure, 'store-unavailable'))).to.equal(true);
    const [refused] = await store.append([run]);
    expect(refused).to.have.nested.property('error.code', 'store-unavailable');
    expect(isReady()).to.equal(false);
    await server.start();
    await until(isReady);
    const [outcome] = await store.append([run]);
    expect(outcome?.status).to.equal('appended');
    expect(logged('database-not-ready')).to.be.within(1, 3);
    expect(logged('database-ready')).to.equal(1);
  });

  for (const mode of ['fast', 'immediate'] as const) {
    it(`refuses while it is stopped (${mode}) and goes on when it is started again, with all it had`, async () => {
      const { store, reader, ensureMigrated, ping } = open();
      await ensureMigrated();
      const { run, builder } = await newLog(3);
      await store.append([run]);
      await server.stop(mode);
      const onto = builder.head;
      const message = await builder.message();
      const [unknown] = await store.append([runOf(onto, message)]);
      expect(unknown?.status).to.equal('unknown');
      expect(unknown).to.have.nested.property('error.code', 'store-unavailable');
      expect(
        isSuError(await failureOf(reader.findLatest(builder.processId)), 'store-unavailable'),
      ).to.equal(true);
      expect(isSuError(await failureOf(ping()), 'store-unavailable')).to.equal(true);
      expect(logged('database-away')).to.be.within(1, 2);
      await server.start();
      await ping();
      expect(await store.readHeads([builder.processId])).to.deep.equal([onto]);
      const [outcome] = await store.append([runOf(onto, message)]);
      expect(outcome?.status).to.equal('appended');
      expect((await reader.findLatest(builder.processId))?.nonce).to.equal(4);
      expect(logged('database-back')).to.be.within(1, 2);
    });
  }

  it('can be closed while it waits for its database', async () => {
    const { close, ensureMigrated } = open('postgres://postgres@127.0.0.1:1/nowhere');
    expect(isSuError(await failureOf(ensureMigrated()), 'store-unavailable')).to.equal(true);
    await close();
    await close();
  });

  it('refuses a damaged schema with a sentence that names the damage', async () => {
    const { ensureMigrated, close } = open();
    await ensureMigrated();
    await close();
    await database.query('alter table processes drop column bundle');
    const { store, ensureMigrated: again } = open();
    const failure = await failureOf(again());
    expect(isSuError(failure, 'schema-damaged')).to.equal(true);
    expect(failure).to.have.property('message').that.includes('processes.bundle');
    expect(isSuError(await failureOf(store.readHeads([])), 'schema-damaged')).to.equal(true);
  });

  it('warns of a server that does not wait for its disk', async () => {
    const warnings: object[] = [];
    opened = openPostgresStore({
      writerUrl: database.url,
      writeConnections: 1,
      readConnections: 1,
      leaseMs: 1000,
      clock: Date.now,
      log: { ...silentLog, warn: (fields) => void warnings.push(fields) },
    });
    await opened.ensureMigrated();
    expect(warnings).to.have.lengthOf(1);
    expect(warnings[0]).to.deep.include({ event: 'database-setting-unsafe', setting: 'fsync' });
  });
});
