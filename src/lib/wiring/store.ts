import type { StoreConfig } from '../config/store-config.js';
import type { Log } from '../observability/log.js';
import type { LogReader, ScheduleStore } from '../scheduler/ports.js';
import type { Outbox } from '../uploader/ports.js';
import { clock } from './clocks.js';

/** What all stores offer. */
export interface OpenStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
  /** What the store still waits for, undefined when it is open and migrated. */
  missing(): string | undefined;
  /** Resolves when it is open and migrated. */
  ready(): Promise<void>;
  close(): Promise<void>;
}

/** Longer than an upload may wait in memory: a row is given to another server only when its own is gone. */
const OUTBOX_LEASE_MS = 45_000;

/** Opens the configured store; PostgreSQL may come later, and is waited for in the background. */
export async function openStore(
  config: StoreConfig,
  { log, processCacheSize }: { readonly log: Log; readonly processCacheSize?: number },
): Promise<OpenStore> {
  if (config.kind === 'embedded') {
    const { openRocksdbStore } = await import('../storage/rocksdb/open-store.js');
    const store = await openRocksdbStore({
      folder: config.folder,
      leaseMs: OUTBOX_LEASE_MS,
      clock,
      log,
      ...(processCacheSize === undefined ? {} : { processCacheSize }),
    });
    return { ...store, missing: () => undefined, ready: () => Promise.resolve() };
  }
  const { openPostgresStore } = await import('../storage/postgres/open-store.js');
  const store = openPostgresStore({
    writerUrl: config.writerUrl,
    readerUrl: config.readerUrl === config.writerUrl ? undefined : config.readerUrl,
    writeConnections: config.writeConnections,
    readConnections: config.readConnections,
    leaseMs: OUTBOX_LEASE_MS,
    clock,
    log,
  });
  return {
    ...store,
    ready: () => store.ensureMigrated(),
    missing: () =>
      store.isReady() ? undefined : 'the database is not reached or not migrated yet',
  };
}
