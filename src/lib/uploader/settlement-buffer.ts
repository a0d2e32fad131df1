import type { Delay } from './delay.js';
import { NotSettledError, type Settlement } from './ports.js';

export interface SettlementBufferOptions {
  readonly settle: (settlements: readonly Settlement[]) => Promise<void>;
  readonly delay: Delay;
  /** How long the first settlement of a batch waits for others. */
  readonly waitMs: number;
  readonly batchRows: number;
  /** Kept while the store is away; beyond it the oldest are forgotten. */
  readonly keptMax: number;
  /** Between two tries while the store is away. */
  readonly retryMs: number;
  /** Called once when the store begins to refuse, and with undefined once when it takes settlements again. */
  readonly onTrouble: (error: unknown) => void;
}

/**
 * Collects settlements, so that many rows cost the store one write. One write at a time.
 *
 * Settlements that the store does not take are kept and tried again, up to a bound. Beyond the bound the oldest are
 * forgotten: their rows come back when their leases run out and are uploaded a second time, which is harmless.
 */
export class SettlementBuffer {
  readonly #options: SettlementBufferOptions;
  #waiting: Settlement[] = [];
  #running: Promise<void> | undefined;
  readonly #closing = new AbortController();
  #inTrouble = false;

  constructor(options: SettlementBufferOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.length;
  }

  add(settlement: Settlement): void {
    this.#waiting.push(settlement);
    if (this.#waiting.length > this.#options.keptMax) this.#waiting.shift();
    this.#runWhenNeeded();
  }

  /** Writes what is waiting, without a wait and without a second try; what the store refuses now is forgotten. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    while (this.#waiting.length > 0 && (await this.#writeBatch()));
  }

  #runWhenNeeded(): void {
    if (this.#running !== undefined || this.#closing.signal.aborted) return;
    this.#running = this.#run().then(() => {
      this.#running = undefined;
      // What was added after the loop saw nothing more and before this line.
      if (this.#waiting.length > 0) this.#runWhenNeeded();
    });
  }

  /** Never rejects: `#writeBatch` does not. */
  async #run(): Promise<void> {
    let pauseMs = this.#options.waitMs;
    while (this.#waiting.length > 0 && !this.#closing.signal.aborted) {
      if (this.#waiting.length < this.#options.batchRows || this.#inTrouble) {
        await this.#options.delay(pauseMs, this.#closing.signal);
      }
      const written = await this.#writeBatch();
      pauseMs = written ? this.#options.waitMs : this.#options.retryMs;
    }
  }

  /** False when the store took nothing of it; never throws. */
  async #writeBatch(): Promise<boolean> {
    const batch = this.#waiting.splice(0, this.#options.batchRows);
    try {
      await this.#options.settle(batch);
      if (this.#inTrouble) this.#options.onTrouble(undefined);
      this.#inTrouble = false;
      return true;
    } catch (error) {
      const unwritten = error instanceof NotSettledError ? error.unwritten : batch;
      this.#putBack(unwritten);
      if (!this.#inTrouble) this.#options.onTrouble(error);
      this.#inTrouble = true;
      return unwritten.length < batch.length;
    }
  }

  /** At the end, so that what one tenant's store refuses is not in the way of the others. */
  #putBack(unwritten: readonly Settlement[]): void {
    const excess = this.#waiting.length + unwritten.length - this.#options.keptMax;
    // These are the oldest of all, wherever they stand.
    this.#waiting.push(...unwritten.slice(Math.max(0, excess)));
  }
}
