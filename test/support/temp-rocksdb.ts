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
  /** Sets the wall clock, as an operator or a time server does; no time passes. */
  setClock(byMs: number): Promise<void>;
  /** The clock that never steps, ms. */
  monotonicMs(): number;
  destroy(): Promise<void>;
}

/** A new, empty folder; nothing is opened yet. */
export async function makeTempRocksdb(leaseMs: number): Promise<TempRocksdb> {
  const folder = await mkdtemp(join(tmpdir(), 'su-rocksdb-'));
  let now = 1_700_000_000_000;
  let passedMs = 0;
  const monotonicMs = (): number => passedMs;
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
      openRocksdbStore({ folder, leaseMs, clock: () => now, monotonicMs, log, ...options }),
    pass: async (ms) => {
      now += ms;
      passedMs += ms;
    },
    setClock: async (byMs) => {
      now += byMs;
    },
    monotonicMs,
    destroy: () => rm(folder, { recursive: true, force: true }),
  };
}
