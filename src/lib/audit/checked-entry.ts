import type { RowPosition } from '../migrator/ports.js';
import type { Remark } from './findings.js';

/** What an assignment leaves for the next one to continue. */
export interface Link {
  readonly assignmentId: string;
  readonly hashChain: string;
}

/** An entry whose own bytes were checked: what is left is its place among the others. Small, and can be sent between threads. */
export interface CheckedEntry {
  readonly subject: 'process' | 'message';
  /** Where its source keeps it. */
  readonly row: RowPosition;
  /** What it says of its place: its assignment where that can be trusted, else its row. Undefined: it takes no nonce. */
  readonly place: { readonly epoch: number; readonly nonce: number } | undefined;
  /** Milliseconds. */
  readonly timestamp: number | undefined;
  /** The assignment's; undefined when it cannot be told. */
  readonly hashChain: string | undefined;
  /** What the next entry may continue: one, or several when bytes and row disagree, or none when nothing can be told. */
  readonly links: readonly Link[];
  readonly assignmentId: string | undefined;
  /** The address of the assignment's owner, when that can be trusted. */
  readonly owner: string | undefined;
  readonly remarks: readonly Remark[];
  /** Signatures that were verified. */
  readonly signatures: number;
  /** Signatures that could not be, since not all signed bytes are known. */
  readonly unverified: number;
}
