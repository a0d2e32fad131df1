/** How much the outbox worker does at once, holds and waits. */
export interface OutboxLimits {
  /** Uploads in flight. */
  readonly uploadsMax: number;
  /** Rows just committed that wait in memory, and their bytes. */
  readonly freshRowsMax: number;
  readonly freshBytesMax: number;
  /** How long a row may wait in memory; well below the outbox's lease. */
  readonly holdMs: number;
  readonly claimRows: number;
  /** Between two looks into the table when nothing was due. */
  readonly pollMs: number;
  /** While messages are being written: at most so many rows of the table are begun in so many milliseconds. */
  readonly pacedRows: number;
  readonly paceMs: number;
  readonly retryFirstMs: number;
  readonly retryLongestMs: number;
  /** Failures in a row, of more than one item, after which the bundler counts as down. */
  readonly failuresMax: number;
  readonly settleWaitMs: number;
  readonly settleRows: number;
  readonly settlementsKeptMax: number;
  /** Uploads to the cache in flight; what comes beyond is not sent there. */
  readonly cacheUploadsMax: number;
}

/** The limits of production. */
export const OUTBOX_LIMITS: OutboxLimits = {
  uploadsMax: 16,
  freshRowsMax: 2_000,
  freshBytesMax: 32 * 1_048_576,
  holdMs: 20_000,
  claimRows: 64,
  pollMs: 1_000,
  pacedRows: 8,
  paceMs: 50,
  retryFirstMs: 1_000,
  retryLongestMs: 32_000,
  failuresMax: 8,
  settleWaitMs: 25,
  settleRows: 100,
  settlementsKeptMax: 10_000,
  cacheUploadsMax: 8,
};
