import type { Id } from '../protocol/ids.js';
import type { RowPosition, StoredMessage, StoredProcess } from './ports.js';

/** Where an entry stands within its log. */
export interface LogPlace {
  readonly epoch: number;
  /** -1: before the first message of a process without an assignment. */
  readonly nonce: number;
}

/** How far the copy of a log is complete: nothing up to this place is missing. */
export interface CopyWatermark extends LogPlace {
  /** The latest timestamp of a message up to there, ms; 0 where there is none. */
  readonly timestamp: number;
  /** Of the entry at this place; it names everything before it. Empty where there is none. */
  readonly hashChain: string;
  /** Whether timestamps rise along the log up to there, as they do in all but old logs. */
  readonly isOrdered: boolean;
}

/** Rows of the database's table of messages behind one row and up to another, by row id. */
export interface RowSpan {
  /** Exclusive. */
  readonly after: number;
  /** Inclusive. */
  readonly through: number;
}

/** A process of the database, with what decides whether a copy can answer for it. */
export interface CopiedProcess extends StoredProcess {
  /** True when its bundle alone tells what reads show: in the oldest rows a part of it stands in columns. */
  readonly isPlain: boolean;
}

/** The last message of a process. */
export interface LogHead extends LogPlace {
  readonly hashChain: string;
}

/** What a copy of a log asks of the database that holds it. All methods throw SuError `store-unavailable`. */
export interface LogSource {
  findProcess(processId: Id): Promise<CopiedProcess | undefined>;
  /** The messages of a process behind `after`, in the order of (epoch, nonce, rank), in pieces of bounded size. */
  readMessages(
    processId: Id,
    after: RowPosition | undefined,
  ): AsyncIterable<readonly StoredMessage[]>;
  /** The hash chain of the message at a place, undefined when there is none. */
  findHashChain(processId: Id, place: LogPlace): Promise<string | undefined>;
  /** All processes behind `afterRow` in row order, each with its last message. */
  readHeads(afterRow: number): AsyncIterable<readonly ProcessHead[]>;
  /** Which processes the rows behind `afterRow` are of, a bounded number of rows, in row order. */
  readNewRows(afterRow: number): Promise<readonly NewRow[]>;
  /** The highest row id of a message that can be seen now. */
  readLastRow(): Promise<number>;
  /** Messages of a process up to a place. */
  countMessages(processId: Id, through: LogPlace): Promise<number>;
}

export interface ProcessHead {
  readonly rank: number;
  readonly processId: Id;
  /** Undefined for a process without messages. */
  readonly head: LogHead | undefined;
}

export interface NewRow extends LogPlace {
  readonly rank: number;
  readonly processId: Id;
}

/** What a migration asks of the database, by row id. All methods throw SuError `store-unavailable`. */
export interface RowSource {
  /**
   * The highest row id below which nothing can appear any more: what was being written when it was asked for is waited for.
   * @throws SuError `store-unavailable` when a transaction stays open, `interrupted`
   */
  readHorizon(signal: AbortSignal): Promise<number>;
  /** Names the database by its first message, undefined when it has none. */
  readIdentity(): Promise<string | undefined>;
  countRows(span: RowSpan): Promise<number>;
  /** The id of the `count`-th row of a span, undefined when it has fewer. */
  findRow(span: RowSpan, count: number): Promise<number | undefined>;
  /**
   * Hands over the first rows of a span: as many as `rowsMax` and the bytes allow, at least one. Fewer does not mean the
   * end. The bytes of a bundle are there only during the call.
   */
  readRows(
    span: RowSpan,
    rowsMax: number,
    take: (row: StoredMessage) => void,
  ): Promise<{ readonly isEnd: boolean }>;
  readProcesses(afterRow: number): AsyncIterable<readonly CopiedProcess[]>;
  /** The lowest place of each process among the rows behind `afterRow`. */
  readFloors(afterRow: number): Promise<ReadonlyMap<Id, LogPlace>>;
  readProcessIds(afterRow: number): AsyncIterable<readonly { rank: number; processId: Id }[]>;
}

/** Rows of one log that follow each other without a gap. */
export interface LogPiece {
  readonly processId: Id;
  /** Undefined when the copy has it already. */
  readonly process: CopiedProcess | undefined;
  readonly messages: readonly StoredMessage[];
  /** Where the copy must stand for the piece to continue it; undefined: nowhere yet. */
  readonly from: LogPlace | undefined;
  /** Where the copy stands after it. */
  readonly to: LogPlace;
}

/** Rows on their way to the disk, taken apart in the thread that brings them. */
export interface PreparedRows {
  add(row: StoredMessage): void;
}

/** A copy of logs on the local disk. All methods throw SuError `store-unavailable`. */
export interface DiskCopy {
  findWatermark(processId: Id): Promise<CopyWatermark | undefined>;
  /** Writes the piece and moves the watermark; false when the copy stands elsewhere: then it stays there. */
  writePiece(piece: LogPiece): Promise<boolean>;
  /** Begins a batch of rows of any logs. */
  prepareRows(): PreparedRows;
  /** Writes the rows, once, and in the same batch that their span is copied. No watermark moves. */
  writeRows(rows: PreparedRows, span: RowSpan): Promise<void>;
  writeProcesses(processes: readonly CopiedProcess[]): Promise<void>;
  /**
   * Moves watermarks to the last entry that is there, below a place when one is given. The caller knows that nothing
   * below is missing.
   */
  settle(logs: readonly { processId: Id; below: LogPlace | undefined }[]): Promise<void>;
  /** Removes everything of a process. */
  forget(processId: Id): Promise<void>;
  /** Messages of a process on the disk, up to a place. */
  countMessages(processId: Id, through: LogPlace): Promise<number>;
  /** What of these rows is not on the disk as the database has it: a sentence for each. */
  compareRows(rows: readonly StoredMessage[]): Promise<readonly string[]>;
  /** The spans of rows that were copied, in order, joined where they meet. */
  readSpans(): Promise<readonly RowSpan[]>;
  /** Forgets which spans were copied; the rows stay until they are copied again. */
  clearSpans(): Promise<void>;
  /** Gives room back that removed and replaced rows took, as far as it can be; in bytes. */
  removeUnused(): Promise<number>;
  /** What the copy is a copy of, undefined while nobody has said it. */
  readIdentity(): Promise<string | undefined>;
  writeIdentity(identity: string): Promise<void>;
}

/** What is wrong with the copy of a log; `behind` is no fault: it is read from the database meanwhile. */
export type DiskFault = 'behind' | 'incomplete' | 'other-log' | 'unreadable';

export interface DiskFinding {
  readonly processId: Id;
  readonly fault: DiskFault;
  /** For the reader. */
  readonly sentence: string;
  readonly isRepaired: boolean;
}

/** What a part of the check has seen. */
export interface DiskCheckPart {
  readonly processes: number;
  readonly entries: number;
  readonly findings: readonly DiskFinding[];
  /** The row of the last process; undefined: there are no more. */
  readonly nextRow: number | undefined;
}
