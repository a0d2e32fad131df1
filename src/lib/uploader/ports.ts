import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';

/** Something of an entry that is still to be published. The row names the entry, it holds no copy of its bytes. */
export interface OutboxRow {
  /** Names the row within its store; opaque. */
  readonly key: string;
  readonly processId: Id;
  /** The message's or assigned transaction's id, or the process id. */
  readonly messageId: Id;
  /** Undefined for a process (with or without an assignment of its own). */
  readonly assignmentId: Id | undefined;
  /** UPLOAD_* bits that are still to be uploaded. */
  readonly parts: number;
  readonly attempts: number;
}

/** One upload: a data item's bytes. */
export interface Upload {
  /** The UPLOAD_* bit. */
  readonly part: number;
  readonly id: Id;
  readonly bytes: Uint8Array;
}

/**
 * No lease and no delay of a row is longer, ms. A stored time further ahead was written before the clock was set back,
 * and counts as due: else publication would stand still for as long as the step was.
 */
export const DUE_AHEAD_MAX_MS = 120_000;

/** What became of a row's uploads. */
export type Settlement =
  | { readonly key: string; readonly status: 'done' }
  | {
      readonly key: string;
      readonly status: 'retry';
      readonly parts: number;
      readonly delayMs: number;
      readonly reason: string;
    }
  | {
      readonly key: string;
      readonly status: 'parked';
      readonly parts: number;
      readonly reason: string;
    };

/** Only some settlements of a call were not written, those that it names. */
export class NotSettledError extends SuError {
  readonly unwritten: readonly Settlement[];

  constructor(unwritten: readonly Settlement[], cause: unknown) {
    super('store-unavailable', `${unwritten.length} outcomes of uploads were not written`, {
      cause,
    });
    this.unwritten = unwritten;
  }
}

/** A row as `su outbox:list` shows it. */
export interface OutboxListing extends OutboxRow {
  readonly state: 'pending' | 'parked';
  /** Why the last try failed, undefined before the first. */
  readonly reason: string | undefined;
  /** Milliseconds since the epoch when the row was queued. */
  readonly queuedAt: number;
}

export interface OutboxCounts {
  readonly pending: number;
  readonly parked: number;
}

/**
 * The durable queue of uploads. Rows are put in by `ScheduleStore.append`, in the commit of their entry, and leave
 * only by `settle`. A row given out by `append` or `claim` is leased: nobody else gets it for `leaseMs`, so that
 * several servers on one database share the work; a lease that runs out (its server died) makes it due again.
 * All methods throw SuError `store-unavailable`.
 */
export interface Outbox {
  /** Rows that are due, oldest first, leased to the caller. */
  claim(limit: number): Promise<readonly OutboxRow[]>;
  /** The bytes of what is left to upload of a row. */
  readUploads(row: OutboxRow): Promise<readonly Upload[]>;
  /**
   * Records what became of rows: removed, due again after a delay, or parked. A lost settlement means a second upload,
   * never a lost one. @throws NotSettledError when the others were written; after any other error all are tried again
   */
  settle(settlements: readonly Settlement[]): Promise<void>;
  /** Rows after `afterKey` in key order, at most `limit`. */
  list(query: {
    readonly state: 'pending' | 'parked' | 'all';
    readonly afterKey: string | undefined;
    readonly limit: number;
  }): Promise<readonly OutboxListing[]>;
  /** Makes parked rows due now: those named, or all. Answers how many. */
  retry(keys: readonly string[] | 'all'): Promise<number>;
  counts(): Promise<OutboxCounts>;
}

/** Sends one item to the bundler. */
export interface UploaderClient {
  upload(bytes: Uint8Array, signal?: AbortSignal): Promise<UploadResult>;
}

export type UploadResult =
  | { readonly status: 'accepted' }
  /** The bundler refuses the item for its content: 400, 409, 413, 415, 422. */
  | { readonly status: 'refused'; readonly reason: string }
  /** A fault of account or address: 401, 402, 403, 404 and the rest that are neither 2xx, 408, 425, 429 nor 5xx. */
  | { readonly status: 'misconfigured'; readonly reason: string }
  /** Worth trying again: no answer, 408, 425, 429, 5xx. */
  | {
      readonly status: 'failed';
      readonly reason: string;
      readonly retryAfterMs: number | undefined;
    };
