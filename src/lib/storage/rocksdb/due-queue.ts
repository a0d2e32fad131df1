/** A heap of numbers: the smallest first, by `rank`. */
class Heap<T> {
  readonly #items: T[] = [];
  readonly #rank: (item: T) => number;

  constructor(rank: (item: T) => number) {
    this.#rank = rank;
  }

  get first(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as T;
      if (this.#rank(above) <= this.#rank(item)) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (last === undefined || items.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      const right = items[child + 1];
      if (right !== undefined && this.#rank(right) < this.#rank(items[child] as T)) child += 1;
      const below = items[child] as T;
      if (this.#rank(below) >= this.#rank(last)) break;
      items[at] = below;
      at = child;
    }
    items[at] = last;
    return first;
  }
}

/** In place of a time: due, and waiting to be taken. */
const READY = -1;

/**
 * When, by a clock that never steps, the outbox rows that are known in memory are due: leased ones at the end of their lease,
 * retried ones after their delay. Every step costs the logarithm of their number. Bounded: what does not fit is refused, and its
 * owner finds the row on disk again.
 */
export class DueQueue {
  readonly #max: number;
  /** The truth: sequence number → ms, or READY. The heaps may hold what no longer agrees with it, and is skipped. */
  readonly #dueAt = new Map<number, number>();
  readonly #waiting = new Heap<readonly [dueAt: number, sequence: number]>(([dueAt]) => dueAt);
  readonly #ready = new Heap<number>((sequence) => sequence);

  constructor(max: number) {
    this.#max = max;
  }

  /** Rows that are held, due or not. */
  get size(): number {
    return this.#dueAt.size;
  }

  holds(sequence: number): boolean {
    return this.#dueAt.has(sequence);
  }

  /** Holds a row until then; false when there is no room. */
  hold(sequence: number, dueAt: number): boolean {
    if (!this.#hasRoom(sequence)) return false;
    this.#dueAt.set(sequence, dueAt);
    this.#waiting.push([dueAt, sequence]);
    return true;
  }

  /** Holds a row as due now; false when there is no room. */
  holdReady(sequence: number): boolean {
    if (!this.#hasRoom(sequence)) return false;
    if (this.#dueAt.get(sequence) === READY) return true;
    this.#dueAt.set(sequence, READY);
    this.#ready.push(sequence);
    return true;
  }

  /** Forgets a row. */
  release(sequence: number): void {
    this.#dueAt.delete(sequence);
  }

  /** The lowest rows that are due, leased until then. */
  take(limit: number, now: number, leaseUntil: number): readonly number[] {
    this.#wake(now);
    const taken: number[] = [];
    while (taken.length < limit) {
      const sequence = this.#ready.pop();
      if (sequence === undefined) break;
      if (this.#dueAt.get(sequence) !== READY) continue;
      this.hold(sequence, leaseUntil);
      taken.push(sequence);
    }
    return taken;
  }

  #wake(now: number): void {
    for (
      let first = this.#waiting.first;
      first !== undefined && first[0] <= now;
      first = this.#waiting.first
    ) {
      this.#waiting.pop();
      const [dueAt, sequence] = first;
      if (this.#dueAt.get(sequence) === dueAt) this.holdReady(sequence);
    }
  }

  #hasRoom(sequence: number): boolean {
    return this.#dueAt.size < this.#max || this.#dueAt.has(sequence);
  }
}
