import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { post } from '../support/load.js';
import { runSu } from '../cli/run-su.js';
import { emptyDatabase, type TestDatabase } from '../support/postgres.js';
import { faultsOfLog, readLog } from '../support/read-log.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { startSu, waitFor, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const MESSAGES = 20;

describe('two servers on one database, each with a disk copy', function () {
  this.timeout(120_000);
  const wallet = quickWallet();
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  let database: TestDatabase;
  const servers: SuProcess[] = [];

  before(async () => {
    await testWallet('scheduler');
    folder = await mkdtemp(join(tmpdir(), 'su-two-disks-'));
    gateway = await openFakeGateway();
    bundler = await openFakeBundler();
    database = await emptyDatabase();
    for (const name of ['one', 'two']) servers.push(await start(name));
  });
  after(async () => {
    for (const server of servers) expect(await server.stop('SIGTERM')).to.equal(0);
    await gateway.close();
    await bundler.close();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });

  const start = (name: string): Promise<SuProcess> =>
    startSu({
      cwd: folder,
      env: {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        SU_DATA_DIR: join(folder, name),
        USE_DISK: 'true',
        DATABASE_URL: database.url,
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ENABLE_METRICS: 'true',
      },
    });
  const urlOf = (index: number): string => servers[index % servers.length]?.url ?? '';

  it('both serve what either has acknowledged, from its receipt on', async () => {
    const process = quickProcess(wallet);
    expect((await post(urlOf(0), process)).status).to.equal(200);
    for (let count = 1; count <= MESSAGES; count += 1) {
      const message = quickMessage(wallet, process.id);
      expect((await post(urlOf(count), message)).status).to.equal(200);
      for (const server of [count, count + 1]) {
        const edges = await readLog(urlOf(server), process.id);
        expect(edges.at(-1)?.node.message?.id).to.equal(message.id);
        const latest = (await (await fetch(`${urlOf(server)}/${process.id}/latest`)).json()) as {
          message: { id: string };
        };
        expect(latest.message.id).to.equal(message.id);
        const found = await fetch(`${urlOf(server)}/${message.id}?process-id=${process.id}`);
        expect(found.status).to.equal(200);
      }
    }
    const edges = await readLog(urlOf(0), process.id);
    expect(await faultsOfLog(process.id, edges)).to.deep.equal([]);
    expect(edges).to.have.lengthOf(1 + MESSAGES);
    for (const { url } of servers) {
      await waitFor(
        async () =>
          Number(await metric(url, 'su_disk_entries_copied')) >= MESSAGES &&
          Number(await metric(url, 'su_disk_logs_behind')) === 0
            ? true
            : undefined,
        () => `${url} does not copy what the other wrote`,
      );
    }
  });

  it('are asked by su disk:check and, where only PostgreSQL can tell, send others away', async () => {
    const env = { SU_DATA_DIR: join(folder, 'one') };
    const checked = await runSu(['disk:check', '--json'], {
      env: { ...env, DATABASE_URL: database.url },
    });
    expect(checked.status, checked.stderr).to.equal(0);
    expect(JSON.parse(checked.stdout)).to.include({ processes: 1, faults: 0, complete: true });
    for (const args of [['verify'], ['outbox:list']]) {
      const { status, stderr } = await runSu(args, { env });
      expect(status, stderr).to.equal(2);
      expect(stderr).to.match(/^su: .*one holds no store.*set DATABASE_URL\)\n$/);
    }
  });

  it('go on after one of them was killed, and find what it missed', async () => {
    const process = quickProcess(wallet);
    await post(urlOf(0), process);
    await servers[1]?.stop('SIGKILL');
    for (let count = 0; count < MESSAGES; count += 1) {
      expect((await post(urlOf(0), quickMessage(wallet, process.id))).status).to.equal(200);
    }
    servers[1] = await start('two');
    const [one, two] = [await readLog(urlOf(0), process.id), await readLog(urlOf(1), process.id)];
    expect(two).to.deep.equal(one);
    expect(two).to.have.lengthOf(1 + MESSAGES);
  });
});

async function metric(url: string, name: string): Promise<string | undefined> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1];
}
