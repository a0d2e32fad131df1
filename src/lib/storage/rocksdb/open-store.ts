import type { Clock, DeepHashStore, LogReader, ScheduleStore } from '../../scheduler/ports.js';
import type { RouteStore } from '../../router/ports.js';
import type { BundleSealer, UploadQueue } from '../../migrator/ports.js';
import type { Outbox } from '../../uploader/ports.js';
import { RocksdbBundleSealer } from './bundle-sealer.js';
import { RocksdbDeepHashes } from './deep-hashes.js';
import { Engine, type StoreLog } from './engine.js';
import { RocksdbLogReader } from './log-reader.js';
import { RocksdbOutbox } from './outbox.js';
import { RocksdbRawLogReader } from './raw-log.js';
import { RocksdbRawLogWriter } from './raw-log-writer.js';
import { RocksdbRouteStore } from './route-store.js';
import { RocksdbScheduleStore } from './schedule-store.js';

export interface RocksdbStoreOptions {
  /** The data folder; made when it is missing. */
  readonly folder: string;
  /** How long an outbox row that was given out stays with whoever has it. */
  readonly leaseMs: number;
  /** Wall clock. */
  readonly clock: Clock;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly log: StoreLog;
  /** Processes whose heads the writer remembers; 20000 when left out. */
  readonly processCacheSize?: number;
}

/** The embedded store with all its ports. */
export interface RocksdbStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox & UploadQueue;
  readonly sealer: BundleSealer;
  /** The rows as they stand, for an audit or a copy. */
  readonly raw: { readonly reader: RocksdbRawLogReader; readonly writer: RocksdbRawLogWriter };
  readonly routes: RouteStore;
  readonly deepHashes: DeepHashStore;
  /** Writes what is under way and closes the folder; may be called twice. */
  close(): Promise<void>;
}

const PROCESS_CACHE_SIZE = 20_000;

/**
 * Opens the embedded store: RocksDB in `folder`/db, its writes in a thread of their own.
 *
 * @throws SuError `folder-refused` (not ours, of another version, damaged, not writable), `folder-in-use`
 */
export async function openRocksdbStore(options: RocksdbStoreOptions): Promise<RocksdbStore> {
  const { folder, leaseMs, clock, monotonicMs, log } = options;
  const { processCacheSize = PROCESS_CACHE_SIZE } = options;
  const engine = await Engine.open({ folder, log, headsMax: Math.max(1, processCacheSize) });
  const outbox = new RocksdbOutbox({ engine, clock, monotonicMs, leaseMs });
  const reader = new RocksdbLogReader(engine);
  return {
    store: new RocksdbScheduleStore({ engine, outbox, clock }),
    reader,
    outbox,
    sealer: new RocksdbBundleSealer(engine),
    raw: { reader: new RocksdbRawLogReader(engine), writer: new RocksdbRawLogWriter(engine) },
    routes: new RocksdbRouteStore(engine),
    deepHashes: new RocksdbDeepHashes(engine),
    close: async () => {
      await reader.close();
      await engine.close();
    },
  };
}
