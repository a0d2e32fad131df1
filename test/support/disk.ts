import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { migrateDisk, type MigrationSummary } from '../../src/lib/migrator/migrate-disk.js';
import type { MigrationParts } from '../../src/lib/migrator/migrate-disk.js';
import { parseRange } from '../../src/lib/migrator/range.js';
import {
  openCopySources,
  type PostgresCopySources,
} from '../../src/lib/storage/postgres/copy-source.js';
import { openDiskCopy, type OpenDiskCopy } from '../../src/lib/storage/rocksdb/disk-copy.js';
import { silentLog } from './postgres.js';

/** A folder for a disk copy of a database, and what a migration needs. */
export interface TestDisk {
  readonly folder: string;
  readonly sources: PostgresCopySources;
  /** Opens the copy, if it is not open. */
  open(): Promise<OpenDiskCopy>;
  close(): Promise<void>;
  migrate(range: string, options?: MigrateOptions): Promise<MigrationSummary>;
  destroy(): Promise<void>;
}

interface MigrateOptions extends Partial<Pick<MigrationParts, 'source' | 'copy' | 'signal'>> {
  readonly segments?: number;
  readonly verify?: boolean;
  readonly restart?: boolean;
  readonly batchRows?: number;
  readonly onBatch?: (rows: number) => void;
}

export async function makeTestDisk(url: string): Promise<TestDisk> {
  const folder = await mkdtemp(join(tmpdir(), 'su-disk-'));
  const sources = openCopySources({ url, connections: 6, clock: Date.now, log: silentLog });
  let opened: OpenDiskCopy | undefined;
  const open = async (): Promise<OpenDiskCopy> =>
    (opened ??= await openDiskCopy({ folder, log: silentLog }));
  const close = async (): Promise<void> => {
    await opened?.close();
    opened = undefined;
  };
  return {
    folder,
    sources,
    open,
    close,
    async migrate(range, options = {}) {
      const { segments = 2, verify = false, restart = false, batchRows = 100 } = options;
      return migrateDisk(
        { range: parseRange(range), segments, verify, restart },
        {
          source: options.source ?? sources.rows,
          copy: options.copy ?? (await open()).copy,
          batchRows,
          delay: async () => undefined,
          signal: options.signal ?? new AbortController().signal,
          monotonicMs: () => performance.now(),
          events: {
            planned: () => undefined,
            batch: (_segment, rows) => options.onBatch?.(rows),
            retried: () => undefined,
            phase: () => undefined,
            verified: () => undefined,
          },
        },
      );
    },
    async destroy() {
      await close();
      await sources.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
