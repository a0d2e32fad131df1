import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { makeSchedulerClient } from '../arweave/scheduler-client.js';
import { openSigner } from '../arweave/signer.js';
import { readWallet } from '../arweave/wallet.js';
import type { RoutesCheckConfig } from '../config/router-config.js';
import type { StoreConfig } from '../config/store-config.js';
import { SuError } from '../errors.js';
import { openLog } from '../observability/log.js';
import { routesOverCalls, SCHEDULERS_CALL } from '../operator/route-calls.js';
import { callOperatorSocket, NO_SERVER } from '../operator/socket-client.js';
import { idFromBytes } from '../protocol/ids.js';
import { checkRoutes, type RoutesReport } from '../router/check-routes.js';
import type { RouteInspection } from '../router/ports.js';
import { clock, monotonicMs } from './clocks.js';
import { readSchedulerList } from './scheduler-list.js';
import { openStore } from './store.js';

export interface OpenRoutesCheck {
  check(options: { readonly fix: boolean; readonly sampleSize: number }): Promise<RoutesReport>;
  close(): Promise<void>;
}

const QUESTION_TIMEOUT_MS = 5_000;
const QUESTION_CONNECTIONS = 8;

/**
 * Opens what `su routers:check` looks at: over the socket of a router that runs on the folder, else the store itself.
 *
 * @throws SuError `invalid-config`, `invalid-wallet`, `folder-refused`, `folder-in-use`, `store-unavailable`
 */
export async function openRoutesCheck(config: RoutesCheckConfig): Promise<OpenRoutesCheck> {
  const list = await readSchedulerList(config.schedulers);
  const { address } = await openSigner(await readWallet(config.walletPath));
  const opened = await openInspection(config.store);
  const client = makeSchedulerClient({
    timeoutMs: QUESTION_TIMEOUT_MS,
    connectionsMax: QUESTION_CONNECTIONS,
  });
  return {
    check: ({ fix, sampleSize }) =>
      checkRoutes({
        list,
        routes: opened.routes,
        client,
        address,
        sampleFrom: idFromBytes(randomBytes(32)),
        sampleSize,
        fix,
        clock,
        monotonicMs,
      }),
    async close() {
      client.close();
      await opened.close();
    },
  };
}

interface Inspection {
  /** Undefined: there is no store yet, and a check must not make one. */
  readonly routes: RouteInspection | undefined;
  close(): Promise<void>;
}

const NO_STORE: Inspection = { routes: undefined, close: () => Promise.resolve() };

async function openInspection(store: StoreConfig): Promise<Inspection> {
  if (store.kind === 'postgres') {
    if (!(await isMigrated(store.writerUrl))) return NO_STORE;
  } else {
    const call = async (name: string, params: unknown): Promise<unknown> =>
      callOperatorSocket(store.socketPath, name, params);
    if ((await call(SCHEDULERS_CALL, {})) !== NO_SERVER) {
      return { routes: routesOverCalls(call), close: () => Promise.resolve() };
    }
    if (!existsSync(join(store.folder, 'su-data.json'))) return NO_STORE;
  }
  const opened = await openStore(store, { log: openLog({ level: 'warn' }) });
  await opened.ready();
  return opened;
}

/**
 * False for a database that has nothing of ours or the reference's.
 *
 * @throws SuError `schema-damaged` when it lacks some versions: a command that only looks must not change a schema
 */
async function isMigrated(url: string): Promise<boolean> {
  const { migrationStatus } = await import('../storage/postgres/migrations.js');
  const versions = await migrationStatus(url);
  const pending = versions.filter(({ state }) => state === 'pending');
  if (versions.every(({ state }) => state !== 'applied')) return false;
  if (pending.length === 0) return true;
  throw new SuError(
    'schema-damaged',
    `the database lacks the versions ${pending.map(({ version }) => version).join(', ')}: run su db:migrate first`,
  );
}
