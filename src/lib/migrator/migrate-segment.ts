import { invariant, isSuError, SuError } from '../errors.js';
import type { DiskCopy, PreparedRows, RowSource, RowSpan } from './disk-ports.js';
import type { BatchGate } from './migrate-gate.js';

/** A part of a range that one worker copies. */
export interface Segment extends RowSpan {
  /** Rows in it. */
  readonly count: number;
}

export interface SegmentParts {
  readonly source: Pick<RowSource, 'readRows'>;
  readonly copy: Pick<DiskCopy, 'prepareRows' | 'writeRows'>;
  /** For all segments together: how many batches may be in memory. */
  readonly gate: BatchGate;
  /** Rows a fetch at most; its bytes are bounded too. */
  readonly batchRows: number;
  /** Waits; it may end early when the signal is aborted. */
  readonly delay: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly signal: AbortSignal;
  /** Told after each batch that is written. */
  readonly onBatch: (rows: number, bytes: number) => void;
  readonly onRetry: (error: SuError, attempt: number) => void;
}

const ATTEMPTS_MAX = 6;
const FIRST_DELAY_MS = 250;

/** A batch that only has to be written. */
interface Batch {
  readonly prepared: PreparedRows;
  readonly rows: number;
  readonly bytes: number;
  /** The row id of its last row; undefined: it has none. */
  readonly last: number | undefined;
  readonly isEnd: boolean;
}

/**
 * Copies the rows of a segment: the next batch is read and made ready while one is written. Each batch carries how far the
 * segment is copied, so that whatever ends it, at most one batch is read twice.
 *
 * @returns true when all is copied, false when the signal stopped it at a batch's end
 * @throws SuError `store-unavailable` after a batch failed several times
 */
export async function migrateSegment(segment: Segment, parts: SegmentParts): Promise<boolean> {
  const { gate, signal, onBatch } = parts;
  const { through } = segment;
  let after = segment.after;
  let next = readAhead({ after, through }, parts);
  for (;;) {
    if (signal.aborted) {
      await abandon(next, gate);
      return false;
    }
    const batch = await next;
    const { rows, bytes, last, isEnd } = batch;
    const ended = isEnd || last === undefined;
    if (!ended) next = readAhead({ after: last, through }, parts);
    // A segment that ends with its last row may lie before numbers that no row has.
    const copied = { after: segment.after, through: ended ? through : last };
    try {
      const place = { read: { after, through }, copied };
      await writeBatch(batch, place, parts).finally(() => gate.leave());
    } catch (error) {
      if (!ended) await abandon(next, gate);
      throw error;
    }
    onBatch(rows, bytes);
    if (ended) return true;
    after = last;
  }
}

/** Whoever gets the batch has to leave the gate; a failure has left it. */
function readAhead(span: RowSpan, parts: SegmentParts): Promise<Batch> {
  const { gate } = parts;
  const read = async (): Promise<Batch> => {
    await gate.enter();
    try {
      return await retried(parts, () => readBatch(span, parts));
    } catch (error) {
      gate.leave();
      throw error;
    }
  };
  const batch = read();
  // It may fail before anybody waits for it; whoever does gets the failure.
  batch.catch(() => undefined);
  return batch;
}

async function readBatch(
  span: RowSpan,
  { source, copy, batchRows }: Pick<SegmentParts, 'source' | 'copy' | 'batchRows'>,
): Promise<Batch> {
  const prepared = copy.prepareRows();
  let rows = 0;
  let bytes = 0;
  let last: number | undefined;
  const { isEnd } = await source.readRows(span, batchRows, (row) => {
    prepared.add(row);
    rows += 1;
    bytes += row.bundle.length;
    last = row.rank;
  });
  return { prepared, rows, bytes, last, isEnd };
}

/** What failed is read again: a batch leaves this thread when it is written. */
async function writeBatch(
  batch: Batch,
  span: { readonly read: RowSpan; readonly copied: RowSpan },
  parts: SegmentParts,
): Promise<void> {
  let ready: Batch | undefined = batch;
  await retried(parts, async () => {
    const current: Batch = ready ?? (await readBatch(span.read, parts));
    ready = undefined;
    invariant(current.last === batch.last, 'rows that a migration copies do not change');
    await parts.copy.writeRows(current.prepared, span.copied);
  });
}

/** A batch that nobody needs any more must not fail unheard. */
async function abandon(batch: Promise<Batch>, gate: BatchGate): Promise<void> {
  await batch.then(
    () => gate.leave(),
    () => undefined,
  );
}

async function retried<Result>(parts: SegmentParts, work: () => Promise<Result>): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const isPassing = isSuError(error, 'store-unavailable');
      if (!isPassing || attempt === ATTEMPTS_MAX || parts.signal.aborted) throw error;
      parts.onRetry(error, attempt);
      await parts.delay(FIRST_DELAY_MS * 2 ** (attempt - 1), parts.signal);
    }
  }
}
