import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import pg from 'pg';
import { parseDataItem } from '../../../src/lib/protocol/data-item.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import { openFakeBundler, type FakeBundler } from '../../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../../support/fake-gateway.js';
import { openFakeList, type FakeList } from '../../support/fake-list.js';
import { emptyDatabase, type TestDatabase, untilLockIsAwaited } from '../../support/postgres.js';
import { faultsOfLog, readLog } from '../../support/read-log.js';
import {
  quickMessage,
  quickProcess,
  quickWallet,
  type SignedItem,
} from '../../support/signed-items.js';
import { startSu, waitFor, type SuProcess } from '../../support/su-process.js';
import { testWallet, testWalletPath } from '../../support/test-wallet.js';

const OWN_URL = 'https://su1.example';

describe('a server with one database for each tenant', function () {
  this.timeout(120_000);
  const wallet = quickWallet();
  const processes: SignedItem[] = [];
  const databases: TestDatabase[] = [];
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  let list: FakeList;
  let leftover: SignedItem;
  let server: SuProcess;

  const post = async (item: SignedItem): Promise<{ status: number; text: string }> => {
    const response = await fetch(server.url, { method: 'POST', body: item.bytes });
    return { status: response.status, text: await response.text() };
  };
  const get = async (path: string): Promise<{ status: number; json: Record<string, unknown> }> => {
    const response = await fetch(`${server.url}${path}`);
    return { status: response.status, json: (await response.json()) as Record<string, unknown> };
  };
  const start = (env: Readonly<Record<string, string>>): Promise<SuProcess> =>
    startSu({
      cwd: folder,
      env: {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ENABLE_DEEP_HASH_CHECKS: 'true',
        ENABLE_METRICS: 'true',
        ...env,
      },
    });
  const isPublished = (id: Id): boolean =>
    bundler.uploads.some(
      (upload) => upload.answer === 200 && parseDataItem(upload.bytes, 'stored').id === id,
    );
  const listing = (readOnly = false) => ({
    sus: { [OWN_URL]: { dbs: databases.map(({ name }) => ({ db_name: name, efs_name: name })) } },
    processes: Object.fromEntries(
      processes.map(({ id }, index) => [
        id,
        { su: OWN_URL, db_name: databases[index]?.name, read_only: readOnly && index === 0 },
      ]),
    ),
  });

  /** Each tenant's process was spawned by another server, which left an upload behind in the last database. */
  before(async () => {
    await testWallet('scheduler');
    folder = await mkdtemp(join(tmpdir(), 'su-tenants-'));
    gateway = await openFakeGateway();
    bundler = await openFakeBundler();
    for (let tenant = 0; tenant < 3; tenant += 1) {
      const database = await emptyDatabase();
      databases.push(database);
      server = await start({ DATABASE_URL: database.url });
      const process = quickProcess(wallet);
      processes.push(process);
      expect((await post(process)).status).to.equal(200);
      if (tenant === 2) {
        await bundler.goDown();
        leftover = quickMessage(wallet, process.id);
        expect((await post(leftover)).status).to.equal(200);
      }
      await server.stop('SIGTERM');
    }
    await bundler.comeUp();
    await databases[2]?.query('update su_outbox set due_at = now()');
    list = await openFakeList({ json: listing() });
    const base = (databases[0]?.url ?? '').replace(/\/[^/]*$/, '/');
    server = await start({
      PROCESS_WHITELIST_URL: list.url,
      URL: OWN_URL,
      MULTI_TENANT_BASE_CONN: base,
      // Fewer than there are tenants.
      MULTI_TENANT_OPEN_MAX: '2',
      DB_WRITE_CONNECTIONS: '2',
      DB_READ_CONNECTIONS: '2',
    });
  });

  after(async () => {
    await server.stop('SIGTERM');
    await gateway.close();
    await bundler.close();
    await list.close();
    for (const database of databases) await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  it('makes the uploads that an earlier run left, without being asked for that tenant', async () => {
    await waitFor(
      () => (isPublished(leftover.id) ? true : undefined),
      () => `${leftover.id} was not uploaded:\n${server.output().slice(-3000)}`,
      30_000,
    );
  });

  it('schedules on the database of each process, and publishes', async () => {
    for (let round = 0; round < 3; round += 1) {
      for (const [tenant, { id }] of processes.entries()) {
        const message = quickMessage(wallet, id);
        const { status, text } = await post(message);
        expect(status, text).to.equal(200);
        const again = await post(message);
        expect([again.status, again.text]).to.deep.equal([200, text]);
        const rows = await databases[tenant]?.query<{ process_id: string }>(
          'select process_id from messages where message_id = $1',
          [message.id],
        );
        expect(rows).to.deep.equal([{ process_id: id }]);
        await waitFor(
          () => (isPublished(message.id) ? true : undefined),
          () => `${message.id} was not uploaded`,
          20_000,
        );
      }
    }
  });

  it('reads from the database of each process', async () => {
    for (const { id } of processes) {
      const edges = await readLog(server.url, id);
      expect(edges.length).to.be.greaterThan(3);
      expect(await faultsOfLog(id, edges)).to.deep.equal([]);
      expect((await get(`/processes/${id}`)).json['process_id']).to.equal(id);
      const messageId = edges.at(-1)?.node.message?.id;
      expect((await get(`/${messageId}?process-id=${id}`)).status).to.equal(200);
      expect((await get(`/${id}/latest`)).status).to.equal(200);
    }
  });

  it('keeps a database that hangs from holding up the others', async () => {
    const blocker = new pg.Client({ connectionString: databases[0]?.url });
    await blocker.connect();
    try {
      await blocker.query('begin; lock table processes, messages in access exclusive mode');
      const stuck = [1, 2].map(() => post(quickMessage(wallet, processes[0]?.id as Id)));
      await untilLockIsAwaited(databases[0] as TestDatabase);
      const startedAt = performance.now();
      for (let count = 0; count < 5; count += 1) {
        const { status, text } = await post(quickMessage(wallet, processes[1]?.id as Id));
        expect(status, text).to.equal(200);
      }
      expect(performance.now() - startedAt).to.be.below(4_000);
      await blocker.query('rollback');
      for (const { status } of await Promise.all(stuck)) expect(status).to.be.oneOf([200, 503]);
    } finally {
      await blocker.end();
    }
  });

  it('asks for the process when an id is to be found among more tenants than may be open', async () => {
    const { status, json } = await get(`/${leftover.id}`);
    expect(status).to.equal(400);
    expect(json['error']).to.match(/^process-id is missing/);
  });

  it('takes messages for many tenants at once', async () => {
    const messages = Array.from({ length: 30 }, (_, index) =>
      quickMessage(wallet, (processes[index % 2] as SignedItem).id),
    );
    const answers = await Promise.all(messages.map(post));
    expect(answers.map(({ status }) => status)).to.deep.equal(messages.map(() => 200));
  });

  it('spawns nothing, and serves nobody who is not on the list', async () => {
    const stranger = quickProcess(wallet);
    expect((await post(stranger)).status).to.equal(403);
    expect((await post(quickMessage(wallet, stranger.id))).status).to.equal(403);
    expect((await get(`/processes/${stranger.id}`)).status).to.equal(403);
    // Posted again, a process that is known gets its receipt.
    expect((await post(processes[0] as SignedItem)).status).to.equal(200);
  });

  it('shows the age of the list', async () => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    expect(metrics).to.match(/^su_list_age_milliseconds\{list="PROCESS_WHITELIST_URL"\} \d+$/m);
    expect(metrics).to.match(/^su_list_loaded\{list="PROCESS_WHITELIST_URL"\} 1$/m);
  });

  it('obeys a list that changes', async () => {
    const [first, second] = processes as [SignedItem, SignedItem];
    list.answer({ json: listing(true) });
    await waitFor(
      async () => ((await post(quickMessage(wallet, first.id))).status === 403 ? true : undefined),
      () => 'the first process is still written to',
      20_000,
    );
    expect((await get(`/${first.id}/latest`)).status).to.equal(200);
    expect((await post(quickMessage(wallet, second.id))).status).to.equal(200);
  });
});
