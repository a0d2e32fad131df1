import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseDataItem } from '../../src/lib/protocol/data-item.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { verifyDataItem } from '../../src/lib/protocol/signature-types.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { runSu, type SuRun } from '../cli/run-su.js';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { post } from '../support/load.js';
import { OldLog } from '../support/old-log.js';
import { emptyDatabase, silentLog, type TestDatabase } from '../support/postgres.js';
import { faultsOfLog, readLog } from '../support/read-log.js';
import { readRecordedRows } from '../support/recorded.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { startSu, waitFor, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const DUMP = 'with-process-assignment';
const MESSAGES = 12;

describe('handing a log back, and moving it', function () {
  this.timeout(120_000);
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  const databases: TestDatabase[] = [];
  const servers: SuProcess[] = [];

  before(async () => {
    await testWallet('scheduler');
    await testWallet('other');
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-hand-back-'));
    gateway = await openFakeGateway({ height: 1_600_000 });
    bundler = await openFakeBundler();
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop('SIGKILL');
    for (const database of databases.splice(0)) await database.drop();
    await gateway.close();
    await bundler.close();
    await rm(folder, { recursive: true, force: true });
  });

  const restored = async (): Promise<TestDatabase> => {
    const dump = new URL(`../vectors/databases/${DUMP}.sql`, import.meta.url);
    const database = await emptyDatabase(readFileSync(dump, 'utf8'));
    databases.push(database);
    await migrate({ url: database.url, log: silentLog });
    return database;
  };
  const serve = async (store: Readonly<Record<string, string>>): Promise<SuProcess> => {
    const server = await startSu({
      cwd: folder,
      env: {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ...store,
      },
    });
    servers.push(server);
    return server;
  };
  const run = async (
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<SuRun> => runSu(args, { cwd: folder, env });
  const schedule = async (url: string, processId: Id): Promise<void> => {
    const wallet = quickWallet();
    for (let count = 0; count < MESSAGES; count += 1) {
      const { status, text } = await post(url, quickMessage(wallet, processId));
      expect(status, text).to.equal(200);
    }
  };
  const bundlesOf = (database: TestDatabase): Promise<{ key: string; bundle: Buffer }[]> =>
    database.query(
      `select 'm' || row_id as key, bundle from messages
       union all select 'p' || row_id, bundle from processes order by key`,
    );
  const uploaded = (): Set<string> =>
    new Set(bundler.uploads.map(({ bytes }) => parseDataItem(bytes, 'stored').id));

  it('su bundles:seal signs what was never signed, and changes nothing but the signatures', async () => {
    const database = await restored();
    const [first] = readRecordedRows(DUMP);
    const server = await serve({ DATABASE_URL: database.url });
    await schedule(server.url, first?.processId as Id);
    await server.stop('SIGTERM');
    const before = await bundlesOf(database);
    const env = { DATABASE_URL: database.url, SU_WALLET_PATH: testWalletPath('scheduler') };

    const sealed = await run(['bundles:seal', '--json'], env);
    expect(sealed.status, sealed.stderr).to.equal(0);
    expect(JSON.parse(sealed.stdout)).to.deep.include({ sealed: MESSAGES, unreadable: 0 });

    const after = await bundlesOf(database);
    let signed = 0;
    for (const [index, { key, bundle }] of after.entries()) {
      const old = before[index]?.bundle as Buffer;
      if (bundle.equals(old)) continue;
      signed += 1;
      expect(
        old.subarray(2, 514).every((byte) => byte === 0),
        key,
      ).to.equal(true);
      expect(bundle.subarray(514).equals(old.subarray(514)), key).to.equal(true);
      expect(await verifyDataItem(parseDataItem(bundle, 'stored')), key).to.equal(true);
    }
    expect(signed).to.equal(MESSAGES);
    const again = await run(['bundles:seal', '--since', '2020-01-01', '--json'], env);
    expect(JSON.parse(again.stdout)).to.deep.include({ sealed: 0 });
    expect(await bundlesOf(database)).to.deep.equal(after);
  });

  it('su bundles:seal leaves the wrappers of another wallet, and names it', async () => {
    const database = await restored();
    const [first] = readRecordedRows(DUMP);
    const server = await serve({ DATABASE_URL: database.url });
    await schedule(server.url, first?.processId as Id);
    await server.stop('SIGTERM');
    const before = await bundlesOf(database);
    const { status, stderr } = await run(['bundles:seal'], {
      DATABASE_URL: database.url,
      SU_WALLET_PATH: testWalletPath('other'),
    });
    expect(status).to.equal(2);
    expect(stderr).to.include('only its owner can sign it');
    expect(stderr).to.include((await testWallet('scheduler')).address);
    expect(await bundlesOf(database)).to.deep.equal(before);

    // Entries of both wallets in one log: each signs its own.
    const other = await serve({
      DATABASE_URL: database.url,
      SU_WALLET_PATH: testWalletPath('other'),
    });
    await schedule(other.url, first?.processId as Id);
    await other.stop('SIGTERM');
    for (const [name, expected] of [
      ['other', 2],
      ['scheduler', 0],
    ] as const) {
      const sealed = await run(['bundles:seal'], {
        DATABASE_URL: database.url,
        SU_WALLET_PATH: testWalletPath(name),
      });
      expect(sealed.status, sealed.stderr + sealed.stdout).to.equal(expected);
    }
    const left = (await bundlesOf(database)).filter(({ bundle }) =>
      bundle.subarray(2, 514).every((byte) => byte === 0),
    );
    expect(left).to.deep.equal([]);
  });

  it('su bundles:seal and su outbox:requeue work beside a server that holds the folder, and without it', async () => {
    const env = {
      SU_DATA_DIR: join(folder, 'data'),
      SU_WALLET_PATH: testWalletPath('scheduler'),
    };
    const server = await serve({ SU_DATA_DIR: env.SU_DATA_DIR });
    const wallet = quickWallet();
    const spawn = quickProcess(wallet);
    expect((await post(server.url, spawn)).status).to.equal(200);
    await schedule(server.url, spawn.id);
    const beside = await run(['bundles:seal', '--json'], env);
    expect(beside.status, beside.stderr).to.equal(0);
    expect(JSON.parse(beside.stdout)).to.deep.include({ sealed: MESSAGES + 1 });

    await waitFor(
      () => (uploaded().size === 2 * (MESSAGES + 1) ? true : undefined),
      () => `only ${uploaded().size} items were uploaded`,
    );
    const count = bundler.uploads.length;
    const requeued = await run(['outbox:requeue', spawn.id, '--json'], env);
    expect(requeued.status, requeued.stderr).to.equal(0);
    expect(JSON.parse(requeued.stdout)).to.deep.include({ queued: MESSAGES + 1, waiting: 0 });
    await waitFor(
      () => (bundler.uploads.length >= 2 * count ? true : undefined),
      () => `${bundler.uploads.length} uploads after ${count}`,
    );
    expect(await faultsOfLog(spawn.id, await readLog(server.url, spawn.id))).to.deep.equal([]);
    expect(await server.stop('SIGTERM')).to.equal(0);

    const alone = await run(['bundles:seal', '--json'], env);
    expect(JSON.parse(alone.stdout)).to.deep.include({ sealed: 0, bundles: MESSAGES + 1 });
    const late = await run(['outbox:requeue', '--all', '--since', '2020-01-01', '--json'], env);
    expect(JSON.parse(late.stdout)).to.deep.include({ queued: MESSAGES + 1 });
    const twice = await run(['outbox:requeue', '--all', '--json'], env);
    expect(JSON.parse(twice.stdout)).to.deep.include({ queued: 0, waiting: MESSAGES + 1 });
  });

  it('su outbox:requeue publishes what the reference has left, in every form', async () => {
    const database = await restored();
    const old = new OldLog(database);
    await old.spawnBare();
    for (const form of ['outer', 'inner', 'assignment-only'] as const) await old.add({ form });
    const { status, stdout, stderr } = await run(['outbox:requeue', '--all', '--json'], {
      DATABASE_URL: database.url,
    });
    expect(status, stderr).to.equal(0);
    expect(JSON.parse(stdout)).to.deep.include({ processes: 5, queued: 24, unreadable: 0 });
    await serve({ DATABASE_URL: database.url });
    const wanted = await database.query<{ id: string }>(
      `select assignment_id as id from messages where assignment_id is not null and message_data ->> 'message' is not null
       union all select message_id from messages where message_data ->> 'message' is not null and assignment_id is not null
       union all select process_data -> 'assignment' ->> 'id' from processes where process_data -> 'assignment' is not null`,
    );
    const ids = [...wanted.map(({ id }) => id), old.entries[0]?.assignmentId ?? ''];
    expect(ids.length).to.be.greaterThan(30);
    await waitFor(
      () => {
        const there = uploaded();
        return ids.every((id) => there.has(id)) || undefined;
      },
      () => `missing: ${ids.filter((id) => !uploaded().has(id)).join()}`,
    );
    expect(await database.query('select from su_outbox where parked_at is not null')).to.deep.equal(
      [],
    );
  });

  it('su outbox:requeue names a process that is not known', async () => {
    const database = await restored();
    const env = { DATABASE_URL: database.url };
    const unknown = await run(['outbox:requeue', 'A'.repeat(43)], env);
    expect(unknown.status).to.equal(1);
    expect(unknown.stderr).to.include('is not known here');
    expect((await run(['outbox:requeue', 'xyz'], env)).status).to.equal(2);
    expect((await run(['outbox:requeue'], env)).status).to.equal(2);
  });

  it('su store:copy moves a log to a folder and back, and each goes on where it was', async () => {
    const database = await restored();
    const [first] = readRecordedRows(DUMP);
    const processId = first?.processId as Id;
    const data = join(folder, 'moved');
    const there = await run(['store:copy', '--from', 'DATABASE_URL', '--to', data, '--json'], {
      DATABASE_URL: database.url,
    });
    expect(there.status, there.stderr).to.equal(0);
    const report = JSON.parse(there.stdout) as { digest: string };
    expect(report).to.deep.include({ processes: 4, messages: 16, written: 16, complete: true });

    const server = await serve({ SU_DATA_DIR: data });
    await schedule(server.url, processId);
    const edges = await readLog(server.url, processId);
    expect(edges).to.have.lengthOf(15 + MESSAGES);
    expect(await faultsOfLog(processId, edges, [12])).to.deep.equal([]);
    const early = await run(['store:copy', '--from', data, '--to', database.url, '--json'], {});
    expect(early.status, early.stderr).to.equal(0);
    await schedule(server.url, processId);
    expect(await server.stop('SIGTERM')).to.equal(0);
    const back = await run(['store:copy', '--from', data, '--to', database.url, '--json'], {});
    expect(back.status, back.stderr).to.equal(0);
    expect(JSON.parse(back.stdout)).to.deep.include({ written: MESSAGES });
    const again = await serve({ DATABASE_URL: database.url });
    const all = await readLog(again.url, processId);
    expect(all).to.have.lengthOf(15 + 2 * MESSAGES);
    expect(await faultsOfLog(processId, all, [12])).to.deep.equal([]);
  });

  it('su store:copy refuses a folder without a store, a target that a server holds, and one store twice', async () => {
    const database = await restored();
    const missing = await run(
      ['store:copy', '--from', join(folder, 'nothing'), '--to', database.url],
      {},
    );
    expect(missing.status).to.equal(2);
    expect(missing.stderr).to.include('there is no store in');
    const data = join(folder, 'held');
    await serve({ SU_DATA_DIR: data });
    const held = await run(['store:copy', '--from', database.url, '--to', data], {});
    expect(held.status).to.equal(2);
    const same = await run(['store:copy', '--from', data, '--to', `${data}/`], {});
    expect(same.status).to.equal(2);
    expect(same.stderr).to.include('the same store');
  });
});
