/** How much the outbox worker does at once, holds and waits. */
export interface OutboxLimits {
  /** Uploads in flight. */
  readonly uploadsMax: number;
  /** Rows just committed that wait in memory, and their bytes. */
  readonly freshRowsMax: number;
  readonly freshBytesMax: number;
  /** How long after the begin of its lease an upload of a row may begin. */
  readonly holdMs: number;
  /** For each upload, with its wait for a connection, to the end of the answer. */
  readonly uploadTimeoutMs: number;
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
  uploadTimeoutMs: 60_000,
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

/** Until what became of an upload is recorded in the table. */
const SETTLE_MS = 10_000;

/**
 * How long a row that was given out is nobody else's: until its upload, begun at the last moment, has been given up and that is
 * recorded. Shorter, and a second server pays for the item again while the bundler is slow; it is also the time after which
 * another server takes over the rows of one that was killed.
 */
export const OUTBOX_LEASE_MS = OUTBOX_LIMITS.holdMs + OUTBOX_LIMITS.uploadTimeoutMs + SETTLE_MS;
