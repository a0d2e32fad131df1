import { isSuError, SuError } from '../errors.js';
import { claimIdentity } from './claim-identity.js';
import type { DiskCopy, LogPlace, RowSource, RowSpan } from './disk-ports.js';
import { BatchGate } from './migrate-gate.js';
import { migrateSegment, type SegmentParts } from './migrate-segment.js';
import { planSegments, type MigrationPlan } from './plan-segments.js';
import { formatRange, type RowRange } from './range.js';
import { coveredFromStart } from './spans.js';
import { verifyRows } from './verify-rows.js';

/*
 * `su migrate-disk`: from the database to the disk, in the order of the rows.
 *
 *   find the ends of the range ─▶ copy the processes ─▶ copy the segments, side by side ─▶ move the watermarks ─▶ compare
 *
 * Rows go in by row id, and a log is shown only as far as nothing of it can be missing: once all rows from the first one on
 * are there, up to the lowest place that a later row has. What was copied is noted as spans of rows, in the batch
 * that copies it. So a range may be run in parts, in any order, stopped at any moment, and run again.
 */

/** One is written, one is made ready, one is read; each takes about 15 MB with rows of usual size. */
const BATCHES_MAX = 3;

/** What a migration tells of itself while it runs. */
export interface MigrationEvents {
  planned(plan: MigrationPlan): void;
  batch(segment: number, rows: number, bytes: number): void;
  retried(error: SuError, attempt: number): void;
  phase(name: 'processes' | 'settling' | 'verifying'): void;
  verified(rows: number): void;
}

export interface MigrationOptions {
  readonly range: RowRange;
  readonly segments: number;
  readonly verify: boolean;
  /** Forget what earlier runs have copied, and copy it again. */
  readonly restart: boolean;
}

export interface MigrationParts extends Pick<SegmentParts, 'batchRows' | 'delay' | 'signal'> {
  readonly source: RowSource;
  readonly copy: DiskCopy;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly events: MigrationEvents;
}

export interface MigrationSummary {
  /** As the operator wrote it. */
  readonly range: string;
  /** Rows of the range. */
  readonly rows: number;
  /** Those that this run copied, and their bundles' bytes. */
  readonly rowsCopied: number;
  readonly bytesCopied: number;
  readonly processes: number;
  readonly segments: number;
  readonly durationMs: number;
  /** Everything up to this row id is on the disk. */
  readonly completeThrough: number;
  /** Undefined without `verify`. */
  readonly rowsVerified: number | undefined;
}

/**
 * Copies a range of the database's rows to the disk; see above.
 *
 * @throws SuError `interrupted` at a batch's end, `store-unavailable` when a batch failed several times,
 *   `refused-by-store` when what is on the disk differs, `folder-refused` when it is the copy of another database
 */
export async function migrateDisk(
  options: MigrationOptions,
  parts: MigrationParts,
): Promise<MigrationSummary> {
  const startedAt = parts.monotonicMs();
  const { source, copy, events } = parts;
  await claimIdentity(copy, source);
  if (options.restart) await copy.clearSpans();
  const plan = await planSegments(options.range, { ...parts, segments: options.segments });
  events.planned(plan);
  events.phase('processes');
  const processes = await copyProcesses(formatRange(options.range), parts);
  const copied = await copySegments(plan, options, parts);
  events.phase('settling');
  // After a restart the rows were there twice.
  await copy.removeUnused();
  const completeThrough = coveredFromStart(await copy.readSpans());
  await settleLogs(completeThrough, source, copy);
  let rowsVerified: number | undefined;
  if (options.verify) {
    events.phase('verifying');
    rowsVerified = plan.span === undefined ? 0 : await verify(plan.span, options, parts);
  }
  return {
    range: formatRange(options.range),
    rows: plan.rows,
    ...copied,
    processes,
    segments: plan.segments.length,
    durationMs: parts.monotonicMs() - startedAt,
    completeThrough,
    rowsVerified,
  };
}

async function copyProcesses(
  name: string,
  { source, copy, signal }: MigrationParts,
): Promise<number> {
  let count = 0;
  for await (const piece of source.readProcesses(0)) {
    if (signal.aborted)
      throw interrupted(`stopped while the processes were copied, ${count} of them are`, name);
    await copy.writeProcesses(piece);
    count += piece.length;
  }
  return count;
}

async function copySegments(
  plan: MigrationPlan,
  { range, segments }: MigrationOptions,
  parts: MigrationParts,
): Promise<{ readonly rowsCopied: number; readonly bytesCopied: number }> {
  let rowsCopied = 0;
  let bytesCopied = 0;
  const waiting = [...plan.segments.entries()];
  const failures: unknown[] = [];
  const gate = new BatchGate(BATCHES_MAX);
  let stopped = false;
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, segment] = next;
      try {
        const done = await migrateSegment(segment, {
          ...parts,
          gate,
          onBatch: (rows, bytes) => {
            rowsCopied += rows;
            bytesCopied += bytes;
            parts.events.batch(index, rows, bytes);
          },
          onRetry: (error, attempt) => parts.events.retried(error, attempt),
        });
        if (!done) stopped = true;
      } catch (error) {
        // The other segments go on: what they copy need not be copied again.
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, segments) }, work));
  const name = formatRange(range);
  const left = `${plan.rows - plan.rowsBefore - rowsCopied} of its ${plan.rows} rows are not copied`;
  if (failures.length > 0)
    throw failed(failures[0], `range ${name} is not complete, ${left}`, name);
  if (stopped) throw interrupted(`stopped; range ${name}: ${left}`, name);
  return { rowsCopied, bytesCopied };
}

function interrupted(state: string, name: string): SuError {
  return new SuError('interrupted', `${state}. su migrate-disk ${name} goes on from there`);
}

function failed(cause: unknown, state: string, name: string): unknown {
  if (!isSuError(cause, 'store-unavailable')) return cause;
  return new SuError(
    'store-unavailable',
    `${state} (${cause.message}): run su migrate-disk ${name} again, it goes on where it stopped`,
    { cause },
  );
}

/** A log is complete below the lowest place that one of its rows behind `completeThrough` has. */
async function settleLogs(
  completeThrough: number,
  source: RowSource,
  copy: DiskCopy,
): Promise<void> {
  if (completeThrough === 0) return;
  const floors: ReadonlyMap<string, LogPlace> = await source.readFloors(completeThrough);
  for await (const piece of source.readProcessIds(0)) {
    await copy.settle(piece.map(({ processId }) => ({ processId, below: floors.get(processId) })));
  }
}

async function verify(
  span: RowSpan,
  { range }: MigrationOptions,
  parts: MigrationParts,
): Promise<number> {
  const { rows, faults, faultCount } = await verifyRows(span, parts);
  if (faultCount === 0) return rows;
  const shown = faults.join('; ');
  throw new SuError(
    'refused-by-store',
    `${faultCount} of ${rows} rows are not on the disk as in the database (${shown}): ` +
      `su migrate-disk ${formatRange(range)} --restart copies them again`,
  );
}
