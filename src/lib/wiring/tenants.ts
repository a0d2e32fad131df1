import { join } from 'node:path';
import type { TenantsConfig } from '../config/guards-config.js';
import { socketPathOf, type DiskConfig, type StoreConfig } from '../config/store-config.js';
import { invariant, SuError } from '../errors.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { Id } from '../protocol/ids.js';
import type { ProcessWhitelist } from '../scheduler/process-whitelist.js';
import type { RefreshedList } from '../scheduler/refreshed-list.js';
import { TenantOutbox } from '../storage/tenants/tenant-outbox.js';
import { TenantPool } from '../storage/tenants/tenant-pool.js';
import {
  makeTenantDeepHashes,
  makeTenantLogReader,
  makeTenantScheduleStore,
} from '../storage/tenants/tenant-stores.js';
import { monotonicMs } from './clocks.js';
import { openStore, type SchedulerStore } from './store.js';

/** A tenant that nobody writes to or reads for so long is closed. */
const IDLE_MS = 600_000;
/** Clients wait 30 s for a receipt; longer than this, a tenant is in real use. */
const ROOM_WAIT_MS = 5_000;

/** One store made of the stores of all tenants, as the list of processes names them. */
export function openTenants(
  { store, tenants }: { readonly store: StoreConfig; readonly tenants: TenantsConfig },
  {
    list,
    log,
    metrics,
  }: {
    readonly list: RefreshedList<ProcessWhitelist> | undefined;
    readonly log: Log;
    readonly metrics: Metrics;
  },
): SchedulerStore {
  invariant(store.kind === 'postgres' && list !== undefined, 'tenants are named by a list');
  let folders: ReadonlyMap<string, string> = new Map();
  const pool = new TenantPool({
    open: (database) =>
      openStore(
        {
          ...store,
          writerUrl: databaseUrl(tenants.baseUrl, database),
          readerUrl: databaseUrl(tenants.baseReaderUrl, database),
          disk: diskOf(tenants, folders.get(database)),
        },
        { log, metrics },
      ),
    openMax: tenants.openMax,
    idleMs: IDLE_MS,
    roomWaitMs: ROOM_WAIT_MS,
    monotonicMs,
    log,
  });
  let owned: ReadonlySet<string> = new Set();
  list.onChange(({ databases }) => {
    owned = new Set(databases.map(({ database }) => database));
    folders = new Map(databases.map(({ database, folder }) => [database, folder]));
    pool.setDatabases([...owned]);
  });
  const databaseOf = (processId: Id): string => {
    const database = list.require().find(processId)?.database;
    if (database !== undefined && owned.has(database)) return database;
    throw new SuError('not-allowed', `process ${processId} is not served by this SU`, {
      details: { database },
    });
  };
  return {
    groupOf(processId) {
      try {
        return processId === undefined ? '' : databaseOf(processId);
      } catch {
        // Whoever asks the store for it is told why.
        return '';
      }
    },
    store: makeTenantScheduleStore(pool, databaseOf),
    reader: makeTenantLogReader(pool, databaseOf),
    outbox: new TenantOutbox(pool),
    deepHashes: makeTenantDeepHashes(pool, databaseOf),
    missing: () =>
      list.current() === undefined
        ? 'the list of processes, which names the databases, is not loaded yet'
        : undefined,
    // Each tenant is reached and migrated when it is first visited.
    ready: () => Promise.resolve(),
    whenOpen: () => Promise.resolve(),
    close: () => pool.close(),
  };
}

/** `postgres://host/?sslmode=require` and a name: the path goes before the query. */
function databaseUrl(base: string, database: string): string {
  const [address = base, ...query] = base.split('?');
  const search = query.length === 0 ? '' : `?${query.join('?')}`;
  return `${address.replace(/\/+$/, '')}/${database}${search}`;
}

function diskOf({ baseDataDir }: TenantsConfig, name: string | undefined): DiskConfig | undefined {
  if (baseDataDir === undefined || name === undefined) return undefined;
  const folder = join(baseDataDir, name);
  return { folder, socketPath: socketPathOf(folder) };
}
