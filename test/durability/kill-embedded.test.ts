import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  expectAllPublished,
  expectLedgerHolds,
  openLedger,
  underLoad,
} from '../support/durability-round.js';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { seeded } from '../support/lane-harness.js';
import { startSu, waitFor } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const ROUNDS = 10;
const PROCESSES = 64;
const CLIENTS = 32;

describe('a server on the embedded store that is killed under load', function () {
  this.timeout(240_000);
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;

  before(async () => {
    await testWallet('scheduler');
    folder = await mkdtemp(join(tmpdir(), 'su-kill-'));
    gateway = await openFakeGateway();
    bundler = await openFakeBundler();
  });
  after(async () => {
    await gateway.close();
    await bundler.close();
    await rm(folder, { recursive: true, force: true });
  });

  it('loses nothing it acknowledged, keeps every chain whole, and publishes everything', async () => {
    const random = seeded('kill the embedded store');
    const env = {
      SU_WALLET_PATH: testWalletPath('scheduler'),
      SU_DATA_DIR: join(folder, 'data'),
      GATEWAY_URL: gateway.url,
      UPLOAD_NODE_URL: bundler.url,
      ENABLE_PROCESS_ASSIGNMENT: 'true',
    };
    let server = await startSu({ cwd: folder, env });
    const ledger = await openLedger(server.url, PROCESSES);
    for (let round = 0; round < ROUNDS; round += 1) {
      if (round === 2) await bundler.goDown();
      if (round === 6) await bundler.comeUp();
      await underLoad(ledger, {
        url: server.url,
        clients: CLIENTS,
        async harm(load) {
          await waitFor(
            () => (load.acknowledged.length > 20 ? true : undefined),
            () => `nothing was acknowledged:\n${server.output()}`,
          );
          await new Promise((resolve) => setTimeout(resolve, random() * 400));
          await server.stop('SIGKILL');
        },
      });
      server = await startSu({ cwd: folder, env });
      await expectLedgerHolds(ledger, server.url);
    }
    expect(ledger.acknowledged.length).to.be.greaterThan(ROUNDS * 20);
    await expectAllPublished(ledger, server.url, bundler);
    expect(await server.stop('SIGTERM')).to.equal(0);
  });
});
