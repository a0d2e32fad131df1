import type { OperatorConfig } from '../config/config.js';
import type { StoreConfig } from '../config/store-config.js';
import { SuError } from '../errors.js';
import { openLog, type Log } from '../observability/log.js';
import { migratorCalls } from '../operator/migrator-calls.js';
import { outboxCalls, outboxOverCalls, type OperatorOutbox } from '../operator/outbox-calls.js';
import { rowsCalls, type OperatorRows } from '../operator/raw-log-calls.js';
import { callOperatorSocket, NO_SERVER } from '../operator/socket-client.js';
import { openOperatorSocket } from '../operator/socket-server.js';
import { requireDataFolder } from '../storage/rocksdb/data-folder.js';
import type { Outbox } from '../uploader/ports.js';
import type { ClosingStack } from './closing-stack.js';
import { openStore, type SchedulerStore } from './store.js';

/** Offers the operator's calls beside a server that holds a folder. */
export async function openSocket(
  config: StoreConfig,
  parts: {
    outbox: Outbox;
    rows: OperatorRows | undefined;
    repairs: SchedulerStore['repairs'];
    log: Log;
    closing: ClosingStack;
  },
): Promise<void> {
  if (config.kind !== 'embedded') return;
  parts.closing.add(
    await openOperatorSocket({
      path: config.socketPath,
      calls: {
        ...outboxCalls(parts.outbox),
        ...(parts.rows === undefined ? {} : rowsCalls(parts.rows)),
        ...(parts.repairs === undefined ? {} : migratorCalls(parts.repairs)),
      },
      onError: (err) => parts.log.error({ event: 'operator-socket', err }),
    }),
  );
}

/**
 * The store for the operator's commands: over the socket of the server that holds it, else opened here.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`
 */
export async function openOperator(
  config: OperatorConfig,
): Promise<{ readonly outbox: OperatorOutbox; close(): Promise<void> }> {
  const { store } = config;
  if (store.kind === 'embedded') {
    const call = await callsOfServer(store);
    if (call !== undefined) {
      return { outbox: outboxOverCalls(call), close: () => Promise.resolve() };
    }
  }
  if (store.kind === 'postgres') await requireMigrated(store.writerUrl);
  const opened = await openStore(store, { log: openLog({ level: 'warn' }) });
  await opened.ready();
  return opened;
}

/** Sends one call to a running server. */
type ServerCall = (name: string, params: unknown) => Promise<unknown>;

/**
 * Calls to the server that holds a folder; undefined when none does, and the folder can be opened here.
 *
 * @throws SuError `folder-refused` when there is no store in it, or the server is none that shows it
 */
export async function callsOfServer({
  folder,
  socketPath,
}: {
  readonly folder: string;
  readonly socketPath: string;
}): Promise<ServerCall | undefined> {
  const call: ServerCall = async (name, params) => callOperatorSocket(socketPath, name, params);
  if ((await call('outbox.counts', {})) !== NO_SERVER) return call;
  await requireDataFolder(folder);
  return undefined;
}

/**
 * A command that only looks must not change a schema: what is missing is named instead.
 *
 * @throws SuError `schema-damaged`, `store-unavailable`
 */
export async function requireMigrated(url: string): Promise<void> {
  const { migrationStatus } = await import('../storage/postgres/migrations.js');
  const missing = (await migrationStatus(url)).filter(({ state }) => state === 'pending');
  if (missing.length === 0) return;
  const versions = missing.map(({ version }) => version).join(', ');
  throw new SuError(
    'schema-damaged',
    `the database lacks the versions ${versions}: run su db:migrate first`,
  );
}
