import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFakeBundler } from './fake-bundler.js';
import { openFakeGateway, type FakeGateway, type KnownTransaction } from './fake-gateway.js';
import { startSu, type SuProcess } from './su-process.js';
import { testWallet, testWalletPath } from './test-wallet.js';

/** Scheduler Units that sign with one wallet, and routers before them: programs of their own. */
export interface Cluster {
  readonly schedulers: readonly SuProcess[];
  readonly gateway: FakeGateway;
  /** The file that routers read. */
  readonly listPath: string;
  /** Variables of a router on a folder of this name, or of a check beside it. */
  routerEnv(name: string): Readonly<Record<string, string>>;
  startRouter(name: string, env?: Readonly<Record<string, string>>): Promise<SuProcess>;
  writeList(list: readonly object[]): Promise<void>;
  close(): Promise<void>;
}

export interface ClusterOptions {
  readonly size: number;
  readonly transactions?: readonly KnownTransaction[];
  readonly schedulerEnv?: Readonly<Record<string, string>>;
}

/** Starts the Scheduler Units; the list names them all, without flags. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  await testWallet('scheduler');
  const folder = await mkdtemp(join(tmpdir(), 'su-cluster-'));
  const gateway = await openFakeGateway({
    height: 1_500_000,
    transactions: options.transactions ?? [],
  });
  const bundler = await openFakeBundler();
  const started: SuProcess[] = [];
  const listPath = join(folder, 'schedulers.json');
  const start = async (
    name: string,
    more: { mode: 'su' | 'router'; env: Record<string, string> },
  ): Promise<SuProcess> => {
    const cwd = join(folder, name);
    await mkdir(cwd, { recursive: true });
    const program = await startSu({ cwd, ...more });
    started.push(program);
    return program;
  };
  const routerEnv = (name: string): Record<string, string> => ({
    SU_WALLET_PATH: testWalletPath('scheduler'),
    SCHEDULER_LIST_PATH: listPath,
    SU_DATA_DIR: join(folder, name, 'data'),
  });
  const cluster = {
    gateway,
    listPath,
    routerEnv,
    startRouter: (name: string, env = {}) =>
      start(name, { mode: 'router', env: { ...routerEnv(name), ...env } }),
    writeList: (list: readonly object[]) => writeFile(listPath, JSON.stringify(list, null, 1)),
    async close() {
      await Promise.all(started.map((program) => program.stop('SIGKILL')));
      await gateway.close();
      await bundler.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  try {
    const schedulers = await Promise.all(
      Array.from({ length: options.size }, (_, index) =>
        start(`su-${index}`, {
          mode: 'su',
          env: {
            SU_WALLET_PATH: testWalletPath('scheduler'),
            GATEWAY_URL: gateway.url,
            ARWEAVE_URL_LIST: gateway.url,
            UPLOAD_NODE_URL: bundler.url,
            ENABLE_PROCESS_ASSIGNMENT: 'true',
            SU_DATA_DIR: join(folder, `su-${index}`, 'data'),
            ...options.schedulerEnv,
          },
        }),
      ),
    );
    await cluster.writeList(schedulers.map(({ url }) => ({ url })));
    return { ...cluster, schedulers };
  } catch (error) {
    await cluster.close();
    throw error;
  }
}
