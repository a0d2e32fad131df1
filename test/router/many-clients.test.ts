import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openRocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import { startServer, type ListeningServer } from '../support/listening-server.js';
import { post } from '../support/load.js';
import { migratedDatabase, type TestDatabase } from '../support/postgres.js';
import { quickProcess, quickWallet, type SignedItem } from '../support/signed-items.js';
import { startSu, waitFor, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { openStoreOn } from '../storage/postgres/opened-store.js';

/*
 * 64 clients spawn the same 100 processes at once, each in an order of its own. The router is a program of its own, which is
 * killed midway and started again; the clients go on where they were.
 */

const CLIENTS = 64;
const PROCESSES = 100;
const SCHEDULERS = 3;

interface Routes {
  readonly env: Readonly<Record<string, string>>;
  /** What is stored once the router has ended. */
  read(): Promise<{ readonly counts: readonly number[]; readonly placed: readonly number[] }>;
  close(): Promise<void>;
}

async function openFolder(): Promise<Routes> {
  const folder = await mkdtemp(join(tmpdir(), 'su-many-'));
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  return {
    env: { SU_DATA_DIR: join(folder, 'data') },
    async read() {
      const { routes, close } = await openRocksdbStore({
        folder: join(folder, 'data'),
        leaseMs: 1000,
        clock: Date.now,
        monotonicMs: () => performance.now(),
        log,
      });
      try {
        return await readCounts(routes);
      } finally {
        await close();
      }
    },
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

async function openDatabase(): Promise<Routes> {
  const database: TestDatabase = await migratedDatabase();
  return {
    env: { DATABASE_URL: database.url },
    async read() {
      const { routes, close } = await openStoreOn(database);
      try {
        return await readCounts(routes);
      } finally {
        await close();
      }
    },
    close: () => database.drop(),
  };
}

type OpenRoutes = Awaited<ReturnType<typeof openRocksdbStore>>['routes'];

async function readCounts(routes: OpenRoutes): ReturnType<Routes['read']> {
  const schedulers = await routes.readSchedulers();
  const placed = await routes.countPlacements();
  return {
    counts: schedulers.map(({ processCount }) => processCount),
    placed: schedulers.map(({ rowId }) => placed.get(rowId) ?? 0),
  };
}

/** A Scheduler Unit that is asked for nothing but its health. */
const startScheduler = (): Promise<ListeningServer> =>
  startServer((_request, response) => void response.end());

/** Where each process was sent, by whomever. */
type Answers = Map<Id, Set<string>>;

/** One client: posts its items one after the other, and each of them until it is answered. */
async function runClient(
  items: readonly SignedItem[],
  router: () => string,
  answers: Answers,
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (const item of items) {
    const location = await waitFor(
      async () => {
        const answer = await post(router(), item, agent);
        return answer.status === 307 ? (answer.location ?? '') : undefined;
      },
      () => `${item.id} was never placed`,
    );
    const places = answers.get(item.id) ?? new Set();
    places.add(location);
    answers.set(item.id, places);
  }
  agent.destroy();
}

for (const [name, open] of [
  ['the embedded store', openFolder],
  ['PostgreSQL', openDatabase],
] as const) {
  describe(`64 clients that spawn the same 100 processes at once, on ${name}`, function () {
    this.timeout(180_000);
    let routes: Routes;
    let schedulers: readonly ListeningServer[];
    let folder: string;
    let router: SuProcess | undefined;

    beforeEach(async () => {
      await testWallet('scheduler');
      routes = await open();
      folder = await mkdtemp(join(tmpdir(), 'su-many-list-'));
      schedulers = await Promise.all(Array.from({ length: SCHEDULERS }, startScheduler));
      await writeFile(
        join(folder, 'list.json'),
        JSON.stringify(schedulers.map(({ url }) => ({ url }))),
      );
    });
    afterEach(async () => {
      await router?.stop('SIGKILL');
      for (const scheduler of schedulers) await scheduler.close();
      await routes.close();
      await rm(folder, { recursive: true, force: true });
    });

    const start = (): Promise<SuProcess> =>
      startSu({
        cwd: folder,
        mode: 'router',
        env: {
          SU_WALLET_PATH: testWalletPath('scheduler'),
          SCHEDULER_LIST_PATH: join(folder, 'list.json'),
          ...routes.env,
        },
      });

    for (const isKilled of [false, true]) {
      const how = isKilled ? 'also when the router is killed midway' : 'with a router that lives';
      it(`find each placed once and counted exactly, ${how}`, async () => {
        const wallet = quickWallet();
        const items = Array.from({ length: PROCESSES }, () => quickProcess(wallet));
        router = await start();
        const answers: Answers = new Map();
        const clients = Array.from({ length: CLIENTS }, (_, client) => {
          const turned = [...items.slice(client), ...items.slice(0, client)];
          return runClient(turned, () => router?.url ?? '', answers);
        });
        if (isKilled) {
          await waitFor(
            () => (answers.size >= PROCESSES / 4 ? true : undefined),
            () => 'too few processes were placed',
          );
          expect(answers.size, 'placed before the kill').to.be.lessThan(PROCESSES);
          expect(await router.stop('SIGKILL')).to.equal('SIGKILL');
          router = await start();
        }
        await Promise.all(clients);
        await router.stop('SIGTERM');
        router = undefined;

        expect(answers.size).to.equal(PROCESSES);
        for (const [id, places] of answers) expect([...places], id).to.have.lengthOf(1);
        const { counts, placed } = await routes.read();
        expect(placed).to.deep.equal(counts);
        expect(counts.toSorted((a, b) => a - b)).to.deep.equal([33, 33, 34]);
        const sent = schedulers.map(
          ({ url }) => [...answers.values()].filter((places) => places.has(`${url}/`)).length,
        );
        expect(sent).to.deep.equal(counts);
      });
    }
  });
}
