import type { LogPlace } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';

/** A message or assigned transaction of the database; what the bundle says is read in the writer thread. */
export interface DiskRow extends LogPlace {
  readonly processId: Id;
  readonly messageId: Id;
  readonly assignmentId: Id | undefined;
  /** The row id. */
  readonly rank: number;
  readonly timestamp: number;
  readonly hashChain: string;
  readonly bundle: Uint8Array;
}

/** A process whose bundle tells all that reads show of it. */
export interface DiskProcess {
  readonly processId: Id;
  readonly bundle: Uint8Array;
}

/**
 * Rows that were taken apart by whoever asks. What is put lies in one buffer, each key before its value; `lengths` has three
 * numbers for each put: what it is, the bytes of its key, the bytes of its value.
 */
export interface PackedPuts {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: Uint32Array;
}

/** The watermark of one log moves, when it stands at `from`. */
export interface DiskStep {
  readonly processId: Id;
  readonly from: LogPlace | undefined;
  readonly to: LogPlace;
}

/** What the writer thread does for a disk copy. */
export type DiskRequest =
  | {
      readonly kind: 'disk-rows';
      readonly processes: readonly DiskProcess[];
      readonly rows: readonly DiskRow[];
      /** More rows, which no step counts. */
      readonly packed: PackedPuts | undefined;
      /** The rows are then all of this log between its two places. */
      readonly step: DiskStep | undefined;
      readonly span: { readonly after: number; readonly through: number } | undefined;
    }
  | {
      readonly kind: 'disk-settle';
      readonly processId: Id;
      readonly below: LogPlace | undefined;
    }
  /** Removes a bounded part of a log, its watermark first. */
  | { readonly kind: 'disk-forget'; readonly processId: Id }
  /** All rows will come again: removes these of the column `default`, and what comes goes into new blob files. */
  | { readonly kind: 'disk-restart'; readonly removals: readonly Uint8Array[] };

export type DiskAnswer =
  /** `moved` is false when the watermark stood elsewhere. */
  | { readonly kind: 'disk-rows'; readonly moved: boolean }
  | { readonly kind: 'disk-settle' }
  | { readonly kind: 'disk-restart' }
  | { readonly kind: 'disk-forget'; readonly done: boolean };
