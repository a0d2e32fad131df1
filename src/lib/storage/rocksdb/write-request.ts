import type { Id } from '../../protocol/ids.js';
import type { EntryKind, Head, ReceiptQuery } from '../../scheduler/ports.js';
import type { Settlement } from '../../uploader/ports.js';

/*
 * What travels between the store and its writer thread: structured clones, apart from the bytes of bundles and JSON,
 * which lie in one ArrayBuffer a request that is handed over without a copy.
 */

/** An entry with everything that is written of it. */
export interface EntryToWrite {
  readonly kind: EntryKind;
  readonly messageId: Id;
  readonly assignmentId: Id | undefined;
  readonly head: Head;
  readonly uploads: number;
  readonly identity: ReceiptQuery;
  readonly bundle: Uint8Array;
  /** The node's JSON, of a process its texts (rows.ts); undefined when it is rendered at each read. */
  readonly json: Uint8Array | undefined;
}

export interface RunToWrite {
  readonly processId: Id;
  readonly onto: Head | undefined;
  readonly entries: readonly EntryToWrite[];
}

/** A settlement whose key was parsed. */
export interface SettlementToWrite {
  readonly sequence: number;
  readonly settlement: Settlement;
}

export type WriteRequest =
  | { readonly kind: 'append'; readonly runs: readonly RunToWrite[]; readonly now: number }
  | {
      readonly kind: 'settle';
      readonly settlements: readonly SettlementToWrite[];
      readonly now: number;
    }
  | { readonly kind: 'retry'; readonly sequences: readonly number[] | 'all'; readonly now: number };

export type WrittenRun =
  | { readonly status: 'appended'; readonly sequences: readonly number[] }
  | { readonly status: 'moved' };

export type WriteAnswer =
  | { readonly kind: 'append'; readonly runs: readonly WrittenRun[] }
  | { readonly kind: 'settle' }
  /** The rows that are pending again; of 'all' a bounded number at a time. */
  | { readonly kind: 'retry'; readonly sequences: readonly number[] };

/** Requests that are written as one batch, or the end. */
export type ToWriter =
  | { readonly type: 'write'; readonly requests: readonly WriteRequest[] }
  | { readonly type: 'stop' };

export type FromWriter =
  | { readonly type: 'ready' }
  | { readonly type: 'written'; readonly answers: readonly WriteAnswer[] }
  /** Whether the batch was written is unknown, and the thread writes nothing more. */
  | { readonly type: 'failed'; readonly reason: string; readonly code: string | undefined };

/** What the writer thread starts with. */
export interface WriterData {
  readonly handle: bigint;
  /** Heads that the thread remembers. */
  readonly headsMax: number;
}
