import { isSuError, SuError } from '../errors.js';
import type { DiskCopy, RowSource, RowSpan } from './disk-ports.js';
import type { StoredMessage } from './ports.js';

/** A part of a range that one worker copies. */
export interface Segment extends RowSpan {
  /** Rows in it. */
  readonly count: number;
}

export interface SegmentParts {
  readonly source: Pick<RowSource, 'readRows'>;
  readonly copy: Pick<DiskCopy, 'writeRows'>;
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

/**
 * Copies the rows of a segment, the next fetch under way while a batch is written. Each batch carries how far the segment
 * is copied, so that whatever ends it, at most one batch is read twice.
 *
 * @returns true when all is copied, false when the signal stopped it at a batch's end
 * @throws SuError `store-unavailable` after a batch failed several times
 */
export async function migrateSegment(segment: Segment, parts: SegmentParts): Promise<boolean> {
  const { source, copy, batchRows, signal, onBatch } = parts;
  const fetchBehind = (after: number): ReturnType<RowSource['readRows']> => {
    const span = { after, through: segment.through };
    const fetched = retried(parts, () => source.readRows(span, batchRows));
    // It may fail before anybody waits for it; whoever does gets the failure.
    fetched.catch(() => undefined);
    return fetched;
  };
  let next = fetchBehind(segment.after);
  for (;;) {
    if (signal.aborted) {
      await settled(next);
      return false;
    }
    const { rows, isEnd } = await next;
    const last = rows.at(-1);
    const ended = isEnd || last === undefined;
    if (!ended) next = fetchBehind(last.rank);
    try {
      // A segment that ends with its last row may lie before numbers that no row has.
      const through = ended ? segment.through : last.rank;
      await retried(parts, () => copy.writeRows(rows, { after: segment.after, through }));
    } catch (error) {
      await settled(next);
      throw error;
    }
    onBatch(rows.length, bytesOf(rows));
    if (ended) return true;
  }
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

/** A fetch that nobody needs any more must not fail unheard. */
async function settled(work: Promise<unknown>): Promise<void> {
  await work.catch(() => undefined);
}

function bytesOf(rows: readonly StoredMessage[]): number {
  return rows.reduce((sum, { bundle }) => sum + bundle.length, 0);
}
