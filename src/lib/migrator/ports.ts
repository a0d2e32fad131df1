import type { Id } from '../protocol/ids.js';

export type * from './disk-ports.js';

/** A place in a log that also tells entries with the same nonce apart (old databases hold such). */
export interface RowPosition {
  readonly epoch: number;
  readonly nonce: number;
  /** Rises with the order of writing among rows of one epoch and nonce: the row id, or 0 where there is none. */
  readonly rank: number;
}

/** A process as it is stored, unread: what an audit looks at and a copy carries over. */
export interface StoredProcess {
  readonly processId: Id;
  readonly rank: number;
  /** The last four are undefined for a process without an assignment of its own. */
  readonly epoch: number | undefined;
  readonly nonce: number | undefined;
  readonly timestamp: number | undefined;
  readonly hashChain: string | undefined;
  readonly bundle: Uint8Array;
  /** The stored JSON (`process_data`, or what the embedded store keeps for pages), undefined where none is kept. */
  readonly json: string | undefined;
}

/** A message or an assigned transaction as it is stored, unread. */
export interface StoredMessage extends RowPosition {
  readonly processId: Id;
  readonly messageId: Id;
  /** Null in the oldest rows: the wrapper's id is the assignment's then. */
  readonly assignmentId: Id | undefined;
  readonly timestamp: number;
  readonly hashChain: string;
  readonly bundle: Uint8Array;
  readonly json: string | undefined;
}

/**
 * A store's rows as they stand, without judging them: pieces bounded in bytes and rows, in key order, at a cost that
 * does not depend on the depth. Rows that arrive while it is read may or may not be seen.
 * All methods throw SuError `store-unavailable`.
 */
export interface RawLogReader {
  countProcesses(): Promise<number>;
  /** Processes with an id above `afterId`, in the order of their ids. */
  readProcesses(afterId: Id | undefined): AsyncIterable<readonly StoredProcess[]>;
  /** The messages of a process behind `after`, in the order of (epoch, nonce, rank). */
  readMessages(
    processId: Id,
    after: RowPosition | undefined,
  ): AsyncIterable<readonly StoredMessage[]>;
  /** Ids of messages and processes that have uploads outstanding, of one process: message id → UPLOAD_* bits. */
  readOutstanding(processId: Id): Promise<ReadonlyMap<Id, number>>;
}

/** Takes rows over from another store, byte for byte. */
export interface RawLogWriter {
  /**
   * Writes a process (unless it is there) and messages of it, all or nothing, durably. Rows that are there already with the
   * same bytes are left alone.
   * @throws SuError `refused-by-store` when another row has one of their places, `store-unavailable`
   */
  writeRows(process: StoredProcess, messages: readonly StoredMessage[]): Promise<void>;
}

/** An entry with uploads to be made, as the outbox names it. */
export interface QueuedUpload {
  readonly processId: Id;
  readonly messageId: Id;
  /** Undefined for a process. */
  readonly assignmentId: Id | undefined;
  /** UPLOAD_* bits. */
  readonly parts: number;
}

/** Puts entries that are stored already into the outbox, due at once. */
export interface UploadQueue {
  /** @throws SuError `store-unavailable` */
  queueUploads(rows: readonly QueuedUpload[]): Promise<void>;
}

/** The signature that a stored wrapper lacks. */
export interface BundleSignature {
  readonly processId: Id;
  /** Undefined: the process's own wrapper. */
  readonly place: RowPosition | undefined;
  /** 512 bytes. */
  readonly signature: Uint8Array;
}

/** Puts signatures into stored wrappers; nothing else of them changes. */
export interface BundleSealer {
  /**
   * Durably. A wrapper that is signed by now, or gone, is left alone.
   * @throws SuError `store-unavailable`
   */
  sealBundles(signatures: readonly BundleSignature[]): Promise<void>;
}
