import type { BundleSignature, QueuedUpload } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import type {
  DeepHashCoverage,
  DeepHashes,
  EntryKind,
  Head,
  OldDeepHash,
  ReceiptQuery,
} from '../../scheduler/ports.js';
import type { Settlement } from '../../uploader/ports.js';
import type { DiskAnswer, DiskRequest } from './disk-request.js';

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
  readonly deepHashes: DeepHashes | undefined;
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

/** A process from another store. */
export interface CopiedProcess {
  readonly processId: Id;
  /** Where its chain stands before its first message. */
  readonly head: Head;
  readonly bundle: Uint8Array;
  /** Its texts (rows.ts); undefined when they are rendered at each read. */
  readonly json: Uint8Array | undefined;
}

/** A message or assigned transaction from another store. */
export interface CopiedMessage {
  readonly messageId: Id;
  /** Orders rows that have one place. */
  readonly rank: number;
  /** False: an assigned transaction. */
  readonly isMessage: boolean;
  readonly exclude: readonly string[];
  /** Where the chain stands behind it. */
  readonly head: Head;
  readonly bundle: Uint8Array;
  readonly json: Uint8Array | undefined;
}

export type WriteRequest =
  | DiskRequest
  | { readonly kind: 'append'; readonly runs: readonly RunToWrite[]; readonly now: number }
  | {
      readonly kind: 'settle';
      readonly settlements: readonly SettlementToWrite[];
      readonly now: number;
    }
  | { readonly kind: 'retry'; readonly sequences: readonly number[] | 'all'; readonly now: number }
  /** Rows of the column `default` that no other request touches, all at once and flushed. */
  | {
      readonly kind: 'put-rows';
      readonly puts: readonly (readonly [key: Uint8Array, value: Uint8Array])[];
      readonly removals: readonly Uint8Array[];
    }
  /** Uploads of entries that are stored already. */
  | {
      readonly kind: 'queue-uploads';
      readonly rows: readonly QueuedUpload[];
      readonly now: number;
    }
  /** Signatures of wrappers that have none. */
  | { readonly kind: 'seal'; readonly signatures: readonly BundleSignature[] }
  /** Rows of another store, whole or not at all. */
  | {
      readonly kind: 'copy';
      readonly process: CopiedProcess;
      readonly messages: readonly CopiedMessage[];
    }
  | {
      readonly kind: 'add-deep-hashes';
      readonly processId: Id;
      readonly version: string;
      readonly hashes: readonly OldDeepHash[];
      readonly coverage: DeepHashCoverage | undefined;
    };

/** An entry of a run whose content an earlier message has; `first` is undefined when that one is in the same run. */
export interface FoundDuplicate {
  readonly index: number;
  readonly first: Id | undefined;
}

export type WrittenRun =
  | { readonly status: 'appended'; readonly sequences: readonly number[] }
  | { readonly status: 'moved' }
  | ({ readonly status: 'duplicate' } & FoundDuplicate);

export type CopyAnswer =
  | { readonly kind: 'copy'; readonly status: 'written' }
  | { readonly kind: 'copy'; readonly status: 'refused'; readonly reason: string }
  /** Another request of the same batch has changed the process: ask again. */
  | { readonly kind: 'copy'; readonly status: 'again' };

export type WriteAnswer =
  | DiskAnswer
  | CopyAnswer
  | { readonly kind: 'append'; readonly runs: readonly WrittenRun[] }
  | { readonly kind: 'settle' }
  | { readonly kind: 'put-rows' }
  | { readonly kind: 'seal' }
  | { readonly kind: 'queue-uploads'; readonly sequences: readonly number[] }
  | { readonly kind: 'add-deep-hashes' }
  /** The rows that are pending again; of 'all' a bounded number at a time. */
  | { readonly kind: 'retry'; readonly sequences: readonly number[] };

/** Requests that are written as one batch, or the end. */
export type ToWriter =
  | { readonly type: 'write'; readonly requests: readonly WriteRequest[] }
  | { readonly type: 'stop' };

export type FromWriter =
  | { readonly type: 'ready' }
  /** The memory of packed rows comes back. */
  | {
      readonly type: 'written';
      readonly answers: readonly WriteAnswer[];
      readonly memory: readonly ArrayBuffer[];
    }
  /** Whether the batch was written is unknown, and the thread writes nothing more. */
  | { readonly type: 'failed'; readonly reason: string; readonly code: string | undefined };

/** What the writer thread starts with. */
export interface WriterData {
  readonly handle: bigint;
  /** Where the database lies. */
  readonly folder: string;
  /** Heads that the thread remembers. */
  readonly headsMax: number;
}
