import { rm, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDisk } from '../../src/lib/wiring/disk.js';
import { openLog } from '../../src/lib/observability/log.js';
import { openPostgresStore } from '../../src/lib/storage/postgres/open-store.js';
import type { LogReader, ScheduleStore } from '../../src/lib/scheduler/ports.js';
import type { Outbox } from '../../src/lib/uploader/ports.js';
import type { DiskState } from '../../src/lib/observability/disk-metrics.js';
import { silentLog } from './postgres.js';
import { waitFor } from './su-process.js';

/** A PostgreSQL store with a disk copy beside it, as a server opens it. */
export interface DiskedTestStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  /** The same without the disk. */
  readonly plain: LogReader;
  readonly outbox: Outbox;
  readonly folder: string;
  /** Reads by where their answer came from. */
  readonly reads: Record<'disk' | 'database' | 'both', number>;
  /** What was logged as an error. */
  readonly errors: readonly string[];
  failures(): number;
  state(): DiskState;
  /** Until the copy is open and nothing is known to be missing. */
  settled(): Promise<void>;
  close(): Promise<void>;
}

/** A folder for `openDiskedStore`. */
export const makeFolder = (): Promise<string> => mkdtemp(join(tmpdir(), 'su-disked-'));

export const removeFolder = (folder: string): Promise<void> =>
  rm(folder, { recursive: true, force: true });

export async function openDiskedStore(
  url: string,
  folder: string,
  leaseMs = 1000,
): Promise<DiskedTestStore> {
  const store = openPostgresStore({
    writerUrl: url,
    writeConnections: 4,
    readConnections: 4,
    leaseMs,
    clock: Date.now,
    log: silentLog,
  });
  await store.ensureMigrated().catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  const reads = { disk: 0, database: 0, both: 0 };
  const errors: string[] = [];
  let failures = 0;
  let state: () => DiskState = () => ({ isOpen: false });
  const log = openLog({
    destination: {
      write: (line) => {
        const { level, msg } = JSON.parse(line) as { level: string; msg: string };
        if (level === 'error') errors.push(msg);
      },
    },
  });
  try {
    const disked = await openDisk(
      { folder, socketPath: join(folder, 'su.sock') },
      {
        store: store.store,
        reader: store.reader,
        databaseUrl: url,
        isReady: () => store.isReady(),
        metrics: {
          read: (from) => (reads[from] += 1),
          failed: () => (failures += 1),
          watch: (read) => {
            state = read;
            return () => undefined;
          },
        },
        log,
      },
    );
    return {
      ...disked,
      plain: store.reader,
      outbox: store.outbox,
      folder,
      reads,
      errors,
      failures: () => failures,
      state: () => state(),
      settled: async () => {
        await waitFor(
          () => (isSettled(state()) ? true : undefined),
          () => `the disk is not settled: ${JSON.stringify(state())} ${errors.join()}`,
        );
      },
      close: async () => {
        await disked.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

function isSettled(state: DiskState): boolean {
  return state.isCaughtUp === true && state.logsBehind === 0 && state.queueBytes === 0;
}
