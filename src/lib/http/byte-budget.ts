/** Who holds bytes of a budget. */
export interface Holder {
  /** What keeping this one costs the others; whoever costs most is cut off first, and nobody who costs 0. */
  readonly cost: () => number;
  /** Gives up what is held. */
  readonly evict: () => void;
}

/** What one holder has of the budget. */
export interface Share {
  readonly bytes: () => number;
  /**
   * Counts more bytes, and cuts off others when that is too much.
   *
   * @returns false when it still is too much: the holder itself should give up
   */
  add(bytes: number): boolean;
  remove(bytes: number): void;
  /** May be called twice. */
  release(): void;
}

export interface ByteBudgetOptions {
  readonly bytesMax: number;
  /** A quarter of the budget is kept for those who hold no more than this. */
  readonly smallBytesMax: number;
}

/** What the large ones may have of the budget together. */
const LARGE_PART = 0.75;

interface Held extends Holder {
  bytes: number;
}

/**
 * Bounds what many holders keep in memory together, so that a few who never finish cannot keep out everybody else:
 * a newcomer is refused only when there is nobody to cut off for it.
 */
export class ByteBudget {
  readonly #bytesMax: number;
  readonly #smallBytesMax: number;
  readonly #holders = new Set<Held>();
  #bytes = 0;
  #largeBytes = 0;

  constructor({ bytesMax, smallBytesMax }: ByteBudgetOptions) {
    this.#bytesMax = bytesMax;
    this.#smallBytesMax = smallBytesMax;
  }

  /** Bytes that are held now. */
  get bytes(): number {
    return this.#bytes;
  }

  join(holder: Holder): Share {
    const held: Held = { ...holder, bytes: 0 };
    this.#holders.add(held);
    return {
      bytes: () => held.bytes,
      add: (bytes) => this.#add(held, bytes),
      remove: (bytes) => this.#change(held, -Math.min(bytes, held.bytes)),
      release: () => this.#release(held),
    };
  }

  #add(held: Held, bytes: number): boolean {
    if (!this.#holders.has(held)) return false;
    this.#change(held, bytes);
    while (this.#isTooMuch(held)) {
      const victim = this.#costliest(held);
      if (victim === undefined || victim === held) return false;
      this.#release(victim);
      victim.evict();
    }
    return true;
  }

  #isLarge({ bytes }: Held): boolean {
    return bytes > this.#smallBytesMax;
  }

  #isTooMuch(held: Held): boolean {
    if (this.#bytes > this.#bytesMax) return true;
    return this.#isLarge(held) && this.#largeBytes > LARGE_PART * this.#bytesMax;
  }

  /** Cutting off small ones would not make room for a large one. */
  #costliest(held: Held): Held | undefined {
    const onlyLarge = this.#isLarge(held);
    let costliest: Held | undefined;
    let most = 0;
    for (const candidate of this.#holders) {
      if (onlyLarge && !this.#isLarge(candidate)) continue;
      const cost = candidate.cost();
      if (cost <= most) continue;
      most = cost;
      costliest = candidate;
    }
    return costliest;
  }

  #change(held: Held, bytes: number): void {
    if (!this.#holders.has(held)) return;
    if (this.#isLarge(held)) this.#largeBytes -= held.bytes;
    held.bytes += bytes;
    this.#bytes += bytes;
    if (this.#isLarge(held)) this.#largeBytes += held.bytes;
  }

  #release(held: Held): void {
    this.#change(held, -held.bytes);
    this.#holders.delete(held);
  }
}
