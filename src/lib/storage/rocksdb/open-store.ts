import type { Clock, LogReader, ScheduleStore } from '../../scheduler/ports.js';
import type { Outbox } from '../../uploader/ports.js';
import { Engine, type StoreLog } from './engine.js';
import { RocksdbLogReader } from './log-reader.js';
import { RocksdbOutbox } from './outbox.js';
import { RocksdbScheduleStore } from './schedule-store.js';

export interface RocksdbStoreOptions {
  /** The data folder; made when it is missing. */
  readonly folder: string;
  /** How long an outbox row that was given out stays with whoever has it. */
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: StoreLog;
  /** Processes whose heads the writer remembers; 20000 when left out. */
  readonly processCacheSize?: number;
}

/** The embedded store with all its ports. */
export interface RocksdbStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
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
  const { folder, leaseMs, clock, log, processCacheSize = PROCESS_CACHE_SIZE } = options;
  const engine = await Engine.open({ folder, log, headsMax: Math.max(1, processCacheSize) });
  const outbox = new RocksdbOutbox({ engine, clock, leaseMs });
  return {
    store: new RocksdbScheduleStore({ engine, outbox, clock }),
    reader: new RocksdbLogReader(engine),
    outbox,
    close: () => engine.close(),
  };
}
