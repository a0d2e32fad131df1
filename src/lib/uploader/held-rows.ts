import type { OutboxRow, Upload } from './ports.js';

/** A row whose lease is ours, with its bytes when they are still in memory. */
export interface HeldRow {
  readonly row: OutboxRow;
  readonly uploads: readonly Upload[] | undefined;
  /** Not to be started after this moment (by a clock that never steps, ms): its lease would not last until its end. */
  readonly untilMs: number;
}

/** An entry's row together with the bytes to upload, right after its commit. */
export interface FreshRow {
  readonly row: OutboxRow;
  readonly uploads: readonly Upload[];
}

export interface HeldLimits {
  /** Fresh rows, and their bytes. */
  readonly freshRowsMax: number;
  readonly freshBytesMax: number;
  /** From the begin of its lease. */
  readonly holdMs: number;
}

/**
 * The rows that wait in memory for an upload: those just committed, whose bytes are at hand, and those claimed
 * from the table. Bounded; what does not fit or grows old is let go, since the table still has it.
 */
export class HeldRows {
  readonly #limits: HeldLimits;
  readonly #monotonicMs: () => number;
  #fresh: HeldRow[] = [];
  #claimed: HeldRow[] = [];
  readonly #keys = new Set<string>();
  #freshBytes = 0;
  #lastWasFresh = false;

  constructor(limits: HeldLimits, monotonicMs: () => number) {
    this.#limits = limits;
    this.#monotonicMs = monotonicMs;
  }

  get size(): number {
    return this.#fresh.length + this.#claimed.length;
  }

  get freshCount(): number {
    return this.#fresh.length;
  }

  get claimedCount(): number {
    return this.#claimed.length;
  }

  /**
   * False when there is no room: the row stays in the table alone.
   *
   * @param leasedAtMs no later than the begin of its lease, by the clock of this program
   */
  addFresh({ row, uploads }: FreshRow, leasedAtMs: number): boolean {
    const bytes = byteLengthOf(uploads);
    const { freshRowsMax, freshBytesMax, holdMs } = this.#limits;
    if (this.#fresh.length >= freshRowsMax || this.#freshBytes + bytes > freshBytesMax)
      return false;
    this.#freshBytes += bytes;
    this.#keys.add(row.key);
    this.#fresh.push({ row, uploads, untilMs: leasedAtMs + holdMs });
    return true;
  }

  /** @param leasedAtMs as for `addFresh` */
  addClaimed(row: OutboxRow, leasedAtMs: number): void {
    if (this.#keys.has(row.key)) return;
    this.#keys.add(row.key);
    this.#claimed.push({ row, uploads: undefined, untilMs: leasedAtMs + this.#limits.holdMs });
  }

  /**
   * The next row to upload: fresh and claimed ones in turn, so that neither waits for the end of the other.
   *
   * @param claimedToo false leaves the claimed ones where they are
   */
  take(claimedToo: boolean): HeldRow | undefined {
    const fromClaimed = (): HeldRow | undefined =>
      claimedToo ? this.#next(this.#claimed) : undefined;
    const fromFresh = (): HeldRow | undefined => this.#next(this.#fresh);
    const held = this.#lastWasFresh
      ? (fromClaimed() ?? fromFresh())
      : (fromFresh() ?? fromClaimed());
    this.#lastWasFresh = held?.uploads !== undefined;
    return held;
  }

  /** False when the row is to be left to the table. */
  mayBegin({ untilMs }: HeldRow): boolean {
    return untilMs > this.#monotonicMs();
  }

  /** All rows, which are then no longer held. */
  takeAll(): readonly HeldRow[] {
    const all = [...this.#fresh, ...this.#claimed];
    this.#fresh = [];
    this.#claimed = [];
    this.#keys.clear();
    this.#freshBytes = 0;
    return all;
  }

  #next(queue: HeldRow[]): HeldRow | undefined {
    for (let held = queue.shift(); held !== undefined; held = queue.shift()) {
      this.#keys.delete(held.row.key);
      if (held.uploads !== undefined) this.#freshBytes -= byteLengthOf(held.uploads);
      if (this.mayBegin(held)) return held;
    }
    return undefined;
  }
}

function byteLengthOf(uploads: readonly Upload[]): number {
  return uploads.reduce((sum, upload) => sum + upload.bytes.byteLength, 0);
}
