import type { DiskCopy, RowSource, RowSpan } from './disk-ports.js';
import type { Segment } from './migrate-segment.js';
import type { RowRange } from './range.js';
import { subtractSpans } from './spans.js';

/** What is to be copied of a range. */
export interface MigrationPlan {
  /** The range by row id; undefined: the table has no rows there yet. */
  readonly span: RowSpan | undefined;
  readonly segments: readonly Segment[];
  /** Rows of the range, and those among them that were copied before. */
  readonly rows: number;
  readonly rowsBefore: number;
}

/**
 * Finds the rows at the ends of a range, once and by key, and cuts what is still to be copied into about as many equal
 * segments as asked for.
 *
 * Rows are counted among those that can neither appear nor vanish any more: up to the horizon. So the n-th row is the
 * same one for every instance that looks for it, and ranges that meet neither overlap nor leave a row out.
 */
export async function planSegments(
  range: RowRange,
  parts: {
    readonly source: RowSource;
    readonly copy: Pick<DiskCopy, 'readSpans'>;
    readonly segments: number;
    readonly signal: AbortSignal;
  },
): Promise<MigrationPlan> {
  const { source, copy, segments, signal } = parts;
  const horizon = await source.readHorizon(signal);
  const span = await findSpan(range, horizon, source);
  if (span === undefined) return { span, segments: [], rows: 0, rowsBefore: 0 };
  const left: Segment[] = [];
  for (const part of subtractSpans(span, await copy.readSpans())) {
    left.push({ ...part, count: await source.countRows(part) });
  }
  const rows = await source.countRows(span);
  const rowsLeft = left.reduce((sum, { count }) => sum + count, 0);
  const size = Math.max(1, Math.ceil(rowsLeft / segments));
  const cut: Segment[] = [];
  for (const part of left) cut.push(...(await cutSpan(part, size, source)));
  return { span, segments: cut, rows, rowsBefore: rows - rowsLeft };
}

async function findSpan(
  { from, to }: RowRange,
  horizon: number,
  source: RowSource,
): Promise<RowSpan | undefined> {
  const all = { after: 0, through: horizon };
  const after = from === 0 ? 0 : await source.findRow(all, from);
  if (after === undefined || after >= horizon) return undefined;
  if (to === undefined) return { after, through: horizon };
  // Fewer rows than that: the range ends with the table as it is.
  const through = (await source.findRow({ after, through: horizon }, to - from)) ?? horizon;
  return { after, through };
}

async function cutSpan(
  { after, through, count }: Segment,
  size: number,
  source: RowSource,
): Promise<readonly Segment[]> {
  const segments: Segment[] = [];
  let begin = after;
  let left = count;
  while (left > size) {
    const end = await source.findRow({ after: begin, through }, size);
    if (end === undefined) break;
    segments.push({ after: begin, through: end, count: size });
    begin = end;
    left -= size;
  }
  if (begin < through) segments.push({ after: begin, through, count: left });
  return segments;
}
