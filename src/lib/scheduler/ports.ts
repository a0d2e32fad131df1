import { SuError } from '../errors.js';
import type { DataItem } from '../protocol/data-item.js';
import type { StoredEdge } from '../protocol/edge.js';
import type { Id } from '../protocol/ids.js';

/**
 * Where a process's chain stands: what the next assignment continues.
 * A process without an assignment of its own and without messages stands at nonce -1, with neither
 * assignment nor hash chain.
 */
export interface Head {
  readonly epoch: number;
  readonly nonce: number;
  /** Milliseconds; the next entry's is strictly greater. */
  readonly timestamp: number;
  /** The next entry's is not smaller. */
  readonly blockHeight: number;
  /** base64url */
  readonly hashChain: string | undefined;
  readonly assignmentId: Id | undefined;
}

export type EntryKind = 'process' | 'message' | 'assigned-transaction';

/** What of an entry is published, as bits of one number: each is one upload. */
export const UPLOAD_ITEM = 1;
export const UPLOAD_ASSIGNMENT = 2;
export const UPLOAD_BUNDLE = 4;

/** A signed entry that is ready to be stored. */
export interface NewEntry {
  readonly kind: EntryKind;
  readonly processId: Id;
  /** The message's item id, the assigned transaction's id, or the process id. */
  readonly messageId: Id;
  /** The posted item; undefined for an assigned transaction. */
  readonly item: DataItem | undefined;
  /** Undefined only for a process without an assignment. */
  readonly assignment: DataItem | undefined;
  /** The chain's head once this entry is stored (its epoch, nonce, timestamp, hash chain, assignment id). */
  readonly head: Head;
  /** The wrapper's bytes: what storage keeps (CONTRACT "Bundle"). */
  readonly bundle: Uint8Array;
  /** UPLOAD_* bits. */
  readonly uploads: number;
  /** How a second posting of the same thing is recognised, checked again inside the commit. */
  readonly identity: ReceiptQuery;
  /** By what the same content under another signature is recognised, in the commit too; undefined: not asked for. */
  readonly deepHashes?: DeepHashes | undefined;
}

/** The hashes of a message's content (protocol/deep-hash.ts), as base64url. */
export interface DeepHashes {
  /** Hashes of different versions are not compared. */
  readonly version: string;
  /** The one that is stored with the entry. */
  readonly stored: string;
  /** With any of these stored for the process, by another message, the entry is a duplicate. */
  readonly matches: readonly string[];
}

/** Consecutive entries of one process, in order. */
export interface Run {
  readonly processId: Id;
  /** The head that the first entry continues; undefined when the first entry is the process itself. */
  readonly onto: Head | undefined;
  readonly entries: readonly NewEntry[];
}

export type RunOutcome =
  /** All entries are durable and readable. One outbox key per entry, in order. */
  | {
      readonly status: 'appended';
      readonly outboxKeys: readonly string[];
      /** How the store orders the rows of one place, an entry each; undefined where it does not, and for a process. */
      readonly rowIds?: readonly (number | undefined)[];
    }
  /** Nothing written: the stored head is not `onto`, or an entry's identity is already stored. */
  | { readonly status: 'moved' }
  /** Nothing of the run written: the store refuses entry `index` for its content. */
  | { readonly status: 'refused'; readonly index: number; readonly error: SuError }
  /** The run may or may not have been written: look it up before anything else. */
  | { readonly status: 'unknown'; readonly error: SuError };

/**
 * Why an entry with deep hashes is refused: for good when its content is stored, for now when the same content stands
 * in the same run, where it may still fail.
 */
export function duplicateError(first: Id | undefined): SuError {
  return first === undefined
    ? new SuError('process-busy', 'the same message is being stored: send it again', {
        retryAfterSeconds: 1,
      })
    : new SuError('duplicate-message', `the same message was scheduled before, as ${first}`, {
        details: { first },
      });
}

/** What makes two postings the same one. */
export type ReceiptQuery =
  | {
      readonly kind: 'process' | 'message';
      readonly id: Id;
      /** Where to look, for a store that keeps processes apart; it decides nothing. */
      readonly processId?: Id | undefined;
    }
  | {
      readonly kind: 'assign';
      readonly processId: Id;
      readonly transactionId: Id;
      /** The values of the assignment's `Exclude` tags, in order. */
      readonly exclude: readonly string[];
      /** Only assignments with a timestamp (ms) of at least this count as the same. */
      readonly since: number;
      /** When given, only these assignments count: those that were signed for this very posting. */
      readonly attempts?: readonly Id[] | undefined;
    };

/** What a client gets for a posted item or assign. */
export interface Receipt {
  /** The item's id; of an assign, the assignment's id. */
  readonly id: Id;
  /** The entry's own timestamp, ms. */
  readonly timestamp: number;
}

/**
 * Which of several stores a process lies in, where a store is made of them. What is asked of one, and written to it, waits and
 * fails apart from the others. Never throws; undefined, or a process of none: some group.
 */
export type GroupOf = (processId: Id | undefined) => string;

/** The writer's side of a store. All answers come from where the truth is, never from a replica. */
export interface ScheduleStore {
  /**
   * Writes each run whole or not at all, durably, with its outbox rows in the same commit, and only onto
   * the head it was made for and only if none of its entries' identities is stored yet. At most one run
   * per process in a call. Answers per run, in the order given. Does not throw for trouble of the store:
   * the runs concerned are `unknown`.
   */
  append(runs: readonly Run[]): Promise<readonly RunOutcome[]>;
  /**
   * The stored heads of these processes, undefined for a process that is not known.
   * @throws SuError `store-unavailable`
   */
  readHeads(processIds: readonly Id[]): Promise<readonly (Head | undefined)[]>;
  /**
   * The receipts of what was stored before, in the order asked; a `message` is found only as a message,
   * not as an assigned transaction.
   * @throws SuError `store-unavailable`
   */
  findReceipts(queries: readonly ReceiptQuery[]): Promise<readonly (Receipt | undefined)[]>;
  /** The tags of a process's item (for `Settlement-Depth`), undefined when not known. */
  findProcessTags(processId: Id): Promise<readonly { name: string; value: string }[] | undefined>;
}

/** Where an entry stands within its log. */
export interface Position {
  readonly epoch: number;
  readonly nonce: number;
}

/** An entry's deep hash, to be stored after the entry itself. */
export interface OldDeepHash extends Position {
  readonly hash: string;
  readonly messageId: Id;
}

/** How far the deep hashes of a log reach back without a gap. */
export interface DeepHashCoverage {
  readonly version: string;
  /** Every entry up to here was looked at; undefined: there was none. */
  readonly through: Position | undefined;
}

/**
 * The hashes by which repeated content is recognised. Those of new entries are written by `ScheduleStore.append`, in
 * the commit of their entry and only there; here are the look-up before it, and what entries that were stored without a
 * hash need. A hash never stands without its entry. All methods throw SuError `store-unavailable`.
 */
export interface DeepHashStore {
  /** The first message with one of the hashes, for each query; undefined where there is none. */
  findDuplicates(
    queries: readonly { readonly processId: Id; readonly hashes: DeepHashes }[],
  ): Promise<readonly (Id | undefined)[]>;
  /** Undefined when the process's entries were never looked at. */
  findCoverage(processId: Id): Promise<DeepHashCoverage | undefined>;
  /** Bundles of messages and assigned transactions, newest first, a few at a time; those below `below` when it is given. */
  readNewest(
    processId: Id,
    below: Position | undefined,
  ): Promise<readonly (Position & { readonly bundle: Uint8Array })[]>;
  /**
   * Stores hashes of entries that are stored already; where a hash is there the earlier entry's stays. In one commit
   * with `coverage` when it is given.
   */
  addOldHashes(
    processId: Id,
    hashes: { readonly version: string; readonly hashes: readonly OldDeepHash[] },
    coverage?: DeepHashCoverage,
  ): Promise<void>;
}

/** One entry of a log as a page shows it. */
export interface LogEntry {
  readonly epoch: number;
  readonly nonce: number;
  readonly timestamp: number;
  /** The node's JSON, UTF-8: `{"message":…,"assignment":…}`. */
  readonly node: Uint8Array;
  /** The whole edge with the nonce as cursor (protocol/edge.ts), where a store has it; neighbours may lie in one buffer. */
  readonly edge?: StoredEdge | undefined;
}

/** A process as the reads need it. */
export interface LogProcess {
  readonly processId: Id;
  /** The process's own entry; undefined when it has no assignment. */
  readonly entry: LogEntry | undefined;
  /** JSON of `GET /processes/{id}`. */
  readonly record: Uint8Array;
}

export interface RangeQuery extends ReadOptions {
  readonly processId: Id;
  readonly by: 'nonce' | 'timestamp';
  /** Exclusive. */
  readonly from: number | undefined;
  /** Inclusive. */
  readonly to: number | undefined;
  /** Entries wanted at most. */
  readonly limit: number;
  /** An assignment's anchor that is not UTF-8 is base64url instead of null. */
  readonly showAnchor: boolean;
}

/** What whoever looks something up may say besides. */
export interface ReadOptions {
  /** False once nobody waits for the answer any more: what costs much is not begun then. */
  readonly isWanted?: (() => boolean) | undefined;
}

/** The reading side of a store. It never misses an entry whose ack was given before the call. */
export interface LogReader {
  /** @throws SuError `store-unavailable`, `scheduler-busy` (too many large entries are read) (all methods) */
  findProcess(
    processId: Id,
    options?: ReadOptions & { readonly showAnchor: boolean },
  ): Promise<LogProcess | undefined>;
  /**
   * The messages and assigned transactions of a process in order of (epoch, nonce), never the process's own entry, in pieces bounded in
   * bytes, each read only when asked for; the cost of a piece does not depend on its depth in the log.
   */
  readRange(query: RangeQuery): AsyncIterable<readonly LogEntry[]>;
  /**
   * Where the log ends at this moment, without reading the entry: the highest place of a message. A log without messages
   * has none, or the process's own.
   */
  findHeadPlace(processId: Id): Promise<Position | undefined>;
  /** The entry with the highest (epoch, nonce), undefined when there is no message. */
  findLatest(processId: Id, options?: ReadOptions): Promise<LogEntry | undefined>;
  /**
   * The entry whose message has this id (lowest epoch and nonce), else the entry whose assignment has it;
   * only within `processId` when it is given. An assigned transaction is found by its assignment id alone.
   */
  findEntry(
    id: Id,
    processId: Id | undefined,
    options?: ReadOptions,
  ): Promise<LogEntry | undefined>;
}

/** The SU's wallet. */
export interface Signer {
  /** base64url(SHA-256(owner)) */
  readonly address: Id;
  /** The RSA modulus, 512 bytes. */
  readonly owner: Uint8Array;
  /** RSA-PSS over SHA-256 of `message`, longest salt; 512 bytes; off the event loop. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** What the SU asks of Arweave. All throw SuError `gateway-unavailable` or `gateway-timeout` when it cannot be asked. */
export interface Gateway {
  /** The network's block height now. */
  fetchBlockHeight(signal?: AbortSignal): Promise<number>;
  /**
   * Confirmations of a transaction on the base layer.
   * @throws SuError `unknown-transaction` (404), `not-enough-confirmations` (a status that is not JSON: pending)
   */
  fetchConfirmations(transactionId: Id): Promise<number>;
  /** True when GraphQL knows the transaction. */
  fetchTransactionExists(transactionId: Id): Promise<boolean>;
  /**
   * Hands what a transaction says to `use`, for its deep hash; undefined when GraphQL or the node does not know it. Few large ones
   * are in memory at a time, so whoever uses one keeps nothing of it.
   * @throws SuError `body-too-large`, `scheduler-busy`; what `use` throws
   */
  fetchTransaction<Result>(
    transactionId: Id,
    use: (content: TransactionContent) => Promise<Result>,
  ): Promise<Result | undefined>;
  /** True when one of the gateways of ARWEAVE_URL_LIST has the id, where its redirects lead. */
  fetchIdAnswers(id: Id): Promise<boolean>;
}

/** The parts of a transaction that its deep hash is made of. Absent target and anchor are empty. */
export interface TransactionContent {
  readonly target: Uint8Array;
  readonly anchor: Uint8Array;
  readonly tags: readonly { readonly name: string; readonly value: string }[];
  readonly data: Uint8Array;
}

/** Where a router says that a process is. */
export type PlacedProcess =
  | { readonly status: 'unknown' }
  /** On the SU with this URL. */
  | { readonly status: 'placed'; readonly url: string }
  /** On an SU that the router does not name. */
  | { readonly status: 'elsewhere' };

/** The router in front of this SU. */
export interface RouterPort {
  /** @throws SuError `gateway-unavailable`, `gateway-timeout` */
  fetchPlace(processId: Id): Promise<PlacedProcess>;
}

/** Wall-clock milliseconds. */
export type Clock = () => number;
