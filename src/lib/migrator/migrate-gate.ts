/**
 * Lets a number of batches be in memory at a time, whatever the number of segments: more of them do not make it faster once
 * one is read, one made ready and one written.
 */
export class BatchGate {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(batchesMax: number) {
    this.#free = batchesMax;
  }

  /** Waits until there is room for one more; first come, first served. */
  async enter(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** The batch is written, or given up. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
