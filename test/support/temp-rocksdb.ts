import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StoreLog } from '../../src/lib/storage/rocksdb/engine.js';
import { openRocksdbStore, type RocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';

/** A data folder of its own for a test, with a clock that only the test moves. */
export interface TempRocksdb {
  readonly folder: string;
  /** The events that stores on the folder have logged. */
  readonly logged: readonly string[];
  now(): number;
  open(options?: { readonly processCacheSize?: number }): Promise<RocksdbStore>;
  pass(ms: number): Promise<void>;
  destroy(): Promise<void>;
}

/** A new, empty folder; nothing is opened yet. */
export async function makeTempRocksdb(leaseMs: number): Promise<TempRocksdb> {
  const folder = await mkdtemp(join(tmpdir(), 'su-rocksdb-'));
  let now = 1_700_000_000_000;
  const logged: string[] = [];
  const note = (fields: object): void => {
    if ('event' in fields) logged.push(String(fields.event));
  };
  const log: StoreLog = { info: note, warn: note, error: note };
  return {
    folder,
    logged,
    now: () => now,
    open: (options = {}) =>
      openRocksdbStore({ folder, leaseMs, clock: () => now, log, ...options }),
    pass: async (ms) => {
      now += ms;
    },
    destroy: () => rm(folder, { recursive: true, force: true }),
  };
}
