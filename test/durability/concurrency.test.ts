import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { post } from '../support/load.js';
import { emptyDatabase, type TestDatabase } from '../support/postgres.js';
import { faultsOfLog, readLog } from '../support/read-log.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const CLIENTS = 16;

interface Receipt {
  readonly id: string;
  readonly timestamp: number;
}

for (const store of ['embedded', 'PostgreSQL', 'two servers on one PostgreSQL'] as const) {
  describe(`many clients at once (${store})`, function () {
    this.timeout(60_000);
    const wallet = quickWallet();
    let folder: string;
    let gateway: FakeGateway;
    let bundler: FakeBundler;
    let database: TestDatabase | undefined;
    let servers: readonly SuProcess[];

    before(async () => {
      await testWallet('scheduler');
      folder = await mkdtemp(join(tmpdir(), 'su-concurrency-'));
      gateway = await openFakeGateway();
      bundler = await openFakeBundler();
      database = store === 'embedded' ? undefined : await emptyDatabase();
      const env = {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        SU_DATA_DIR: database === undefined ? join(folder, 'data') : undefined,
        DATABASE_URL: database?.url,
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
      };
      const count = store === 'two servers on one PostgreSQL' ? 2 : 1;
      servers = await Promise.all(
        Array.from({ length: count }, () => startSu({ cwd: folder, env })),
      );
    });
    after(async () => {
      for (const server of servers) expect(await server.stop('SIGTERM')).to.equal(0);
      await gateway.close();
      await bundler.close();
      await database?.drop();
      await rm(folder, { recursive: true, force: true });
    });

    const serverOf = (client: number): string => servers[client % servers.length]?.url ?? '';

    it('gives a new process and 16 clients who post to it the nonces from 0 without a gap', async () => {
      const process = quickProcess(wallet);
      expect((await post(serverOf(0), process)).status).to.equal(200);
      const answers = await Promise.all(
        Array.from({ length: CLIENTS }, async (_, client) => {
          const statuses: number[] = [];
          for (let i = 0; i < 5; i += 1) {
            statuses.push((await post(serverOf(client), quickMessage(wallet, process.id))).status);
          }
          return statuses;
        }),
      );
      expect(new Set(answers.flat())).to.deep.equal(new Set([200]));
      const edges = await readLog(serverOf(0), process.id);
      expect(edges).to.have.length(1 + CLIENTS * 5);
      expect(await faultsOfLog(process.id, edges)).to.deep.equal([]);
    });

    it('gives one process that 16 clients post at once one place and sixteen equal receipts', async () => {
      const process = quickProcess(wallet);
      const answers = await Promise.all(
        Array.from({ length: CLIENTS }, (_, client) => post(serverOf(client), process)),
      );
      expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([200]));
      expect(new Set(answers.map(({ text }) => text)).size).to.equal(1);
      expect(await readLog(serverOf(0), process.id)).to.have.length(1);
    });

    it('gives one message that 16 clients post at once one nonce and sixteen equal receipts', async () => {
      const process = quickProcess(wallet);
      await post(serverOf(0), process);
      const message = quickMessage(wallet, process.id);
      const answers = await Promise.all(
        Array.from({ length: CLIENTS }, (_, client) => post(serverOf(client), message)),
      );
      expect(new Set(answers.map(({ status }) => status))).to.deep.equal(new Set([200]));
      expect(new Set(answers.map(({ text }) => text)).size).to.equal(1);
      const edges = await readLog(serverOf(0), process.id);
      expect(edges).to.have.length(2);
      const receipt = JSON.parse(answers[0]?.text ?? '') as Receipt;
      const stamp = edges[1]?.node.assignment.tags.find(({ name }) => name === 'Timestamp')?.value;
      expect(receipt).to.deep.equal({ id: message.id, timestamp: Number(stamp) });
    });

    it('shows an acknowledged message to whoever reads after its receipt, on any server', async () => {
      const process = quickProcess(wallet);
      await post(serverOf(0), process);
      for (let i = 1; i <= 10; i += 1) {
        const message = quickMessage(wallet, process.id);
        await post(serverOf(i), message);
        const edges = await readLog(serverOf(i + 1), process.id);
        expect(edges.at(-1)?.node.message?.id).to.equal(message.id);
      }
    });
  });
}
