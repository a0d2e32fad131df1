import { retryDelayMs } from './retry-delay.js';
import type { RetryBounds } from './retry-delay.js';
import type { UploadResult } from './ports.js';

/** What one more answer changed. */
export type BundlerChange =
  | { readonly now: 'down'; readonly reason: string }
  | { readonly now: 'misconfigured'; readonly reason: string }
  | { readonly now: 'up' }
  | { readonly now: 'configured' };

export interface BundlerStateOptions {
  /** Failures in a row, without one answer that shows the bundler alive, after which it counts as down. */
  readonly failuresMax: number;
  readonly bounds: RetryBounds;
  readonly clock: () => number;
  readonly random: () => number;
}

/**
 * What the bundler's last answers say about the bundler itself, apart from the items.
 *
 * Down: several tries in a row failed, whatever the reason. Then only one probe at a time is sent, at growing
 * distances: with 100,000 rows waiting, trying each of them against a dead address would cost as many
 * connections and as many writes to the store, for nothing. One accepted or refused item ends it.
 *
 * Misconfigured: an answer spoke of the account or the address. That alone does not take the bundler down,
 * because bundlers that are free up to a size answer 402 to the larger items only and take the rest.
 */
export class BundlerState {
  readonly #options: BundlerStateOptions;
  #down = false;
  #failures = 0;
  #probes = 0;
  #probeAt = 0;
  #misconfiguredAt: number | undefined;

  constructor(options: BundlerStateOptions) {
    this.#options = options;
  }

  get down(): boolean {
    return this.#down;
  }

  get misconfigured(): boolean {
    return this.#misconfiguredAt !== undefined;
  }

  /** Milliseconds until the next probe may be sent; 0 when it may be now. For use while `down`. */
  probeInMs(): number {
    return Math.max(0, this.#probeAt - this.#options.clock());
  }

  /** A probe is on its way: the one after it comes later. */
  probeSent(): void {
    this.#probes += 1;
    this.#planProbe();
  }

  /** Takes note of an answer and tells what it changed. */
  note(result: UploadResult): readonly BundlerChange[] {
    return result.status === 'accepted' || result.status === 'refused'
      ? this.#noteAlive(result.status === 'accepted')
      : this.#noteFailure(result.status, result.reason);
  }

  #noteFailure(status: 'failed' | 'misconfigured', reason: string): readonly BundlerChange[] {
    const { clock, failuresMax } = this.#options;
    const changes: BundlerChange[] = [];
    this.#failures += 1;
    if (status === 'misconfigured') {
      if (this.#misconfiguredAt === undefined) changes.push({ now: 'misconfigured', reason });
      this.#misconfiguredAt = clock();
    }
    if (!this.#down && this.#failures >= failuresMax) {
      this.#down = true;
      this.#probes = 0;
      this.#planProbe();
      changes.push({ now: 'down', reason });
    }
    return changes;
  }

  #noteAlive(accepted: boolean): readonly BundlerChange[] {
    const { clock, bounds } = this.#options;
    const changes: BundlerChange[] = [];
    const wasDown = this.#down;
    this.#failures = 0;
    this.#down = false;
    if (wasDown) changes.push({ now: 'up' });
    if (this.#misconfiguredAt !== undefined && accepted) {
      // Where only some items meet the fault, others go on being accepted: it is over when none met it for a while.
      const quiet = clock() - this.#misconfiguredAt > 2 * bounds.longestMs;
      if (wasDown || quiet) {
        this.#misconfiguredAt = undefined;
        changes.push({ now: 'configured' });
      }
    }
    return changes;
  }

  #planProbe(): void {
    const { bounds, clock, random } = this.#options;
    const waitMs = this.misconfigured
      ? bounds.longestMs
      : retryDelayMs(this.#probes, bounds, random());
    this.#probeAt = clock() + waitMs;
  }
}
