import type { DiskCommandConfig } from '../config/disk-config.js';
import { isSuError, SuError } from '../errors.js';
import { checkDiskPart } from '../migrator/check-disk.js';
import { claimIdentity } from '../migrator/claim-identity.js';
import {
  migrateDisk,
  type MigrationEvents,
  type MigrationOptions,
  type MigrationSummary,
} from '../migrator/migrate-disk.js';
import type { DiskFinding } from '../migrator/ports.js';
import { parseRange } from '../migrator/range.js';
import { openLog } from '../observability/log.js';
import { diskOverCalls, type CheckDisk } from '../operator/disk-calls.js';
import { callOperatorSocket, NO_SERVER } from '../operator/socket-client.js';
import { requireDataFolder } from '../storage/rocksdb/data-folder.js';
import { delayByTimer } from '../uploader/delay.js';
import { clock, monotonicMs } from './clocks.js';
import { ClosingStack } from './closing-stack.js';
import { requireMigrated } from './operator.js';

/** What `su migrate-disk` asks for, as it was written. */
export interface MigrateDiskRequest extends Omit<MigrationOptions, 'range'> {
  readonly range: string;
}

/**
 * Copies a range of the database's messages to the disk.
 *
 * @throws SuError `invalid-config`, `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`,
 *   `interrupted`, `refused-by-store`
 */
export async function migrateToDisk(
  config: DiskCommandConfig,
  request: MigrateDiskRequest,
  run: { readonly signal: AbortSignal; readonly events: MigrationEvents },
): Promise<MigrationSummary> {
  const range = parseRange(request.range);
  await requireMigrated(config.databaseUrl);
  const closing = new ClosingStack();
  try {
    const { sources, copy } = await openBoth(config, request.segments + 2, closing);
    return await migrateDisk(
      { ...request, range },
      {
        ...run,
        source: sources.rows,
        copy,
        batchRows: config.batchRows,
        delay: delayByTimer,
        monotonicMs,
      },
    );
  } finally {
    await closing.closeAll();
  }
}

/** What `su disk:check` has found. */
export interface DiskReport {
  readonly processes: number;
  readonly entries: number;
  /** Logs that are behind: read from the database meanwhile, and no fault. */
  readonly behind: number;
  /** Logs whose copy is wrong or cannot be read, and how many of those are right now. */
  readonly faults: number;
  readonly repaired: number;
  readonly complete: boolean;
}

/**
 * Compares the disk copy with the database, by the running server or on its own.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function checkDiskCopy(
  config: DiskCommandConfig,
  options: {
    readonly repair: boolean;
    readonly signal: AbortSignal;
    readonly onFinding: (finding: DiskFinding) => void;
    readonly onProgress: (processes: number) => void;
  },
): Promise<DiskReport> {
  const closing = new ClosingStack();
  try {
    const check = await openCheck(config, options.signal, closing);
    const report = { processes: 0, entries: 0, behind: 0, faults: 0, repaired: 0 };
    let afterRow: number | undefined = 0;
    while (afterRow !== undefined && !options.signal.aborted) {
      const part = await check({ afterRow, repair: options.repair });
      report.processes += part.processes;
      report.entries += part.entries;
      for (const finding of part.findings) {
        options.onFinding(finding);
        if (finding.fault === 'behind') report.behind += finding.isRepaired ? 0 : 1;
        else report.faults += 1;
        if (finding.isRepaired) report.repaired += 1;
      }
      options.onProgress(report.processes);
      afterRow = part.nextRow;
    }
    return { ...report, complete: afterRow === undefined };
  } finally {
    await closing.closeAll();
  }
}

async function openCheck(
  config: DiskCommandConfig,
  signal: AbortSignal,
  closing: ClosingStack,
): Promise<CheckDisk> {
  const call = async (name: string, params: unknown): Promise<unknown> =>
    callOperatorSocket(config.socketPath, name, params);
  // A look behind the last row, to learn whether a server answers.
  const probe = { afterRow: 2_147_483_647, repair: false };
  if ((await call('disk.check', probe)) !== NO_SERVER) return diskOverCalls(call);
  await requireDataFolder(config.folder);
  await requireMigrated(config.databaseUrl);
  const { sources, copy } = await openBoth(config, 2, closing);
  await claimIdentity(copy, sources.rows);
  return (options) => checkDiskPart(options, { source: sources.logs, copy, signal });
}

async function openBoth(config: DiskCommandConfig, connections: number, closing: ClosingStack) {
  const { openDiskCopy } = await import('../storage/rocksdb/disk-copy.js');
  const { openCopySources } = await import('../storage/postgres/copy-source.js');
  const log = openLog({ level: 'warn' });
  let opened: Awaited<ReturnType<typeof openDiskCopy>>;
  try {
    opened = closing.add(await openDiskCopy({ folder: config.folder, log }));
  } catch (error) {
    throw isSuError(error, 'folder-in-use') ? inUse(config.folder, error) : error;
  }
  const sources = closing.add(
    openCopySources({ url: config.databaseUrl, connections, clock, log }),
  );
  return { sources, copy: opened.copy };
}

function inUse(folder: string, cause: SuError): SuError {
  return new SuError(
    'folder-in-use',
    `${folder} is held by a running su serve or another su migrate-disk, and only one program can write to it: ` +
      'stop it first (a running server copies what is missing by itself), or use --segments to copy side by side in one program',
    { cause, details: cause.details },
  );
}
