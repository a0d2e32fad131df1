import type { RawLogReader, RowPosition, StoredProcess } from '../migrator/ports.js';
import type { Id } from '../protocol/ids.js';
import type { StoredRow } from './check-stored.js';
import type { WireEntry } from './check-wire.js';
import type { CheckedEntry } from './checked-entry.js';
import type { Finding } from './findings.js';

/** An entry as its source has it, unchecked. */
export type RawEntry = StoredRow | WireEntry;

/** A store as an audit reads it. */
export interface AuditedStore extends RawLogReader {
  /** @throws SuError `store-unavailable` */
  findProcess(processId: Id): Promise<StoredProcess | undefined>;
  /** Uploads that wait, and those that were refused, over all processes. */
  countOutstanding(): Promise<{ readonly pending: number; readonly parked: number }>;
}

/** Where logs are read from over HTTP. */
export interface LogPages {
  /** JSON of `GET /processes/{id}`; undefined when the process is not known there. @throws SuError `store-unavailable` */
  fetchProcess(processId: Id): Promise<unknown>;
  /** JSON of a page of entries behind `afterNonce`, with all anchors. @throws SuError `store-unavailable` */
  fetchPage(processId: Id, afterNonce: number): Promise<unknown>;
  /** JSON of a page with the first entry at or after this time, ms. @throws SuError `store-unavailable` */
  fetchFirstSince(processId: Id, since: number): Promise<unknown>;
}

/** One log to audit. */
export interface AuditedLog {
  readonly processId: Id;
  /** Its entries in order, the process itself first, in pieces of bounded size, each read only when asked for. */
  readEntries(options: {
    /** Begin behind this one. */
    readonly after: RowPosition | undefined;
    /** Milliseconds: entries before then may be left out, but for the last of them. */
    readonly since: number | undefined;
  }): AsyncIterable<readonly RawEntry[]>;
  /** What there is to say of the log beyond its entries. */
  readNotes(): Promise<readonly Finding[]>;
}

/** Where an audit finds its logs. */
export interface AuditSource {
  /** Names the source in a checkpoint: another one must not continue it. */
  readonly name: string;
  countLogs(): Promise<number>;
  /** All logs behind `afterId`, in an order that does not change. */
  readLogs(afterId: Id | undefined): AsyncIterable<AuditedLog>;
  findLog(processId: Id): Promise<AuditedLog | undefined>;
  /** Uploads outstanding over all logs, undefined where that cannot be known. */
  countOutstanding(): Promise<{ readonly pending: number; readonly parked: number } | undefined>;
}

/** Checks entries by themselves, in their order; on other threads where that is worth it. */
export interface EntryChecks {
  check(
    processId: Id,
    entries: readonly RawEntry[],
    options: { readonly signatures: boolean },
  ): Promise<readonly CheckedEntry[]>;
  /** Pieces that may be under way at a time. */
  readonly parallel: number;
  close(): Promise<void>;
}

/** Where an interrupted audit left its place. */
export interface Checkpoint {
  /** Undefined when there is none. */
  read(): Promise<string | undefined>;
  /** Replaces it as a whole. */
  write(text: string): Promise<void>;
  remove(): Promise<void>;
}
