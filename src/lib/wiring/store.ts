import type { AuditedStore } from '../audit/ports.js';
import type { StoreConfig } from '../config/store-config.js';
import type { BundleSealer, UploadQueue } from '../migrator/ports.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { RouteStore } from '../router/ports.js';
import type { DeepHashStore, GroupOf, LogReader, ScheduleStore } from '../scheduler/ports.js';
import { OUTBOX_LEASE_MS } from '../uploader/outbox-limits.js';
import type { Outbox } from '../uploader/ports.js';
import { clock, monotonicMs } from './clocks.js';

/** What a scheduler needs of its store. */
export interface SchedulerStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
  readonly deepHashes: DeepHashStore;
  /** Of a store that is made of several. */
  readonly groupOf?: GroupOf;
  /** The rows of a folder, which no other program can read meanwhile; a database is open to all. */
  readonly rows?: AuditedStore;
  /** What repairs and hand-backs write into a folder; a database is open to all. */
  readonly repairs?: { readonly queue: UploadQueue; readonly sealer: BundleSealer };
  /** What the store still waits for, undefined when it is open and migrated. */
  missing(): string | undefined;
  /** Tries to open and migrate it, once. @throws SuError `store-unavailable`, `schema-damaged` */
  ready(): Promise<void>;
  /** Resolves when it is open and migrated, however long that takes, or closed. */
  whenOpen(): Promise<void>;
  close(): Promise<void>;
}

/** What all stores offer. */
export interface OpenStore extends SchedulerStore {
  readonly routes: RouteStore;
}

/** Opens the configured store; PostgreSQL may come later, and is waited for in the background. */
export async function openStore(
  config: StoreConfig,
  {
    log,
    processCacheSize,
    metrics,
  }: {
    readonly log: Log;
    readonly processCacheSize?: number;
    /** A server's; without them a disk copy beside the database is left alone. */
    readonly metrics?: Metrics;
  },
): Promise<OpenStore> {
  if (config.kind === 'embedded') {
    const { openRocksdbStore } = await import('../storage/rocksdb/open-store.js');
    const store = await openRocksdbStore({
      folder: config.folder,
      leaseMs: OUTBOX_LEASE_MS,
      clock,
      monotonicMs,
      log,
      ...(processCacheSize === undefined ? {} : { processCacheSize }),
    });
    return {
      ...store,
      rows: store.raw.reader,
      repairs: { queue: store.outbox, sealer: store.sealer },
      missing: () => undefined,
      ready: () => Promise.resolve(),
      whenOpen: () => Promise.resolve(),
    };
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
  const opened: OpenStore = {
    ...store,
    ready: () => store.ensureMigrated(),
    whenOpen: () => store.whenOpen(),
    missing: () =>
      store.isReady() ? undefined : 'the database is not reached or not migrated yet',
  };
  if (config.disk === undefined || metrics === undefined) return opened;
  try {
    const { openDisk } = await import('./disk.js');
    const disked = await openDisk(config.disk, {
      store: store.store,
      reader: store.reader,
      databaseUrl: config.writerUrl,
      isReady: () => store.isReady(),
      metrics: metrics.disk(),
      log,
    });
    const close = async (): Promise<void> => {
      await disked.close();
      await store.close();
    };
    return { ...opened, ...disked, close };
  } catch (error) {
    await store.close();
    throw error;
  }
}
