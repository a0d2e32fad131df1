import { SuError } from '../errors.js';
import type { DiskCopy, RowSource, RowSpan } from './disk-ports.js';
import type { StoredMessage } from './ports.js';

const FAULTS_SHOWN = 5;

/** What a comparison found. */
export interface VerifiedRows {
  readonly rows: number;
  readonly faultCount: number;
  /** The first few. */
  readonly faults: readonly string[];
}

/**
 * Reads every row of a span in the database again and compares it with the disk.
 *
 * @throws SuError `store-unavailable`, `interrupted`
 */
export async function verifyRows(
  span: RowSpan,
  parts: {
    readonly source: Pick<RowSource, 'readRows'>;
    readonly copy: Pick<DiskCopy, 'compareRows'>;
    readonly batchRows: number;
    readonly signal: AbortSignal;
    readonly events: { verified(rows: number): void };
  },
): Promise<VerifiedRows> {
  const { source, copy, batchRows, signal, events } = parts;
  const faults: string[] = [];
  let faultCount = 0;
  let count = 0;
  for (let { after } = span; ;) {
    if (signal.aborted) throw new SuError('interrupted', `stopped; ${count} rows were compared`);
    const rows: StoredMessage[] = [];
    const rest = { after, through: span.through };
    const { isEnd } = await source.readRows(rest, batchRows, (row) => {
      rows.push({ ...row, bundle: Uint8Array.from(row.bundle) });
    });
    const found = await copy.compareRows(rows);
    faultCount += found.length;
    faults.push(...found.slice(0, FAULTS_SHOWN - faults.length));
    count += rows.length;
    events.verified(rows.length);
    const last = rows.at(-1);
    if (isEnd || last === undefined) return { rows: count, faultCount, faults };
    after = last.rank;
  }
}
