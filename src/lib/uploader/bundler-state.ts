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
  /** Failures in a row of more than one item, without one answer that shows the bundler alive: then it counts as down. */
  readonly failuresMax: number;
  readonly bounds: RetryBounds;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly random: () => number;
}

/** One item that fails each time may be at fault itself. */
const DIFFERENT_ITEMS = 2;

/**
 * What the bundler's last answers say about the bundler itself, apart from the items.
 *
 * Down: several tries in a row failed, of more than one item, whatever the reason. Then only one probe at a time is sent, at growing
 * distances: with 100,000 rows waiting, trying each of them against a dead address would cost as many
 * connections and as many writes to the store, for nothing. One accepted or refused item ends it. An item that was just
 * scheduled need not wait for the next probe: it is one, though not sooner than `firstMs` after the one before.
 * So the items that the bundler never takes cannot hold up those that it would.
 *
 * Misconfigured: an answer spoke of the account or the address. That alone does not take the bundler down,
 * because bundlers that are free up to a size answer 402 to the larger items only and take the rest.
 */
export class BundlerState {
  readonly #options: BundlerStateOptions;
  #down = false;
  #failures = 0;
  readonly #failedIds = new Set<string>();
  #probes = 0;
  #probedAt = 0;
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

  /**
   * Milliseconds until the next probe may be sent; 0 when it may be now. For use while `down`.
   *
   * @param isFresh whether the probe is an item that was just scheduled
   */
  probeInMs(isFresh: boolean): number {
    const { bounds, monotonicMs } = this.#options;
    const at = isFresh ? Math.min(this.#probeAt, this.#probedAt + bounds.firstMs) : this.#probeAt;
    return Math.min(bounds.longestMs, Math.max(0, at - monotonicMs()));
  }

  /** A probe is on its way: the one after it comes later. */
  probeSent(): void {
    this.#probes += 1;
    this.#probedAt = this.#options.monotonicMs();
    this.#planProbe();
  }

  /** Takes note of the answer about an item and tells what it changed. */
  note(itemId: string, result: UploadResult): readonly BundlerChange[] {
    if (result.status === 'accepted' || result.status === 'refused') {
      return this.#noteAlive(result.status === 'accepted');
    }
    this.#failures += 1;
    if (this.#failedIds.size < DIFFERENT_ITEMS) this.#failedIds.add(itemId);
    return this.#noteFailure(result.status, result.reason);
  }

  #noteFailure(status: 'failed' | 'misconfigured', reason: string): readonly BundlerChange[] {
    const { monotonicMs, failuresMax } = this.#options;
    const changes: BundlerChange[] = [];
    if (status === 'misconfigured') {
      if (this.#misconfiguredAt === undefined) changes.push({ now: 'misconfigured', reason });
      this.#misconfiguredAt = monotonicMs();
    }
    if (!this.#down && this.#failures >= failuresMax && this.#failedIds.size >= DIFFERENT_ITEMS) {
      this.#down = true;
      this.#probes = 0;
      this.#probedAt = monotonicMs();
      this.#planProbe();
      changes.push({ now: 'down', reason });
    }
    return changes;
  }

  #noteAlive(accepted: boolean): readonly BundlerChange[] {
    const { monotonicMs, bounds } = this.#options;
    const changes: BundlerChange[] = [];
    const wasDown = this.#down;
    this.#failures = 0;
    this.#failedIds.clear();
    this.#down = false;
    if (wasDown) changes.push({ now: 'up' });
    if (this.#misconfiguredAt !== undefined && accepted) {
      // Where only some items meet the fault, others go on being accepted: it is over when none met it for a while.
      const quiet = monotonicMs() - this.#misconfiguredAt > 2 * bounds.longestMs;
      if (wasDown || quiet) {
        this.#misconfiguredAt = undefined;
        changes.push({ now: 'configured' });
      }
    }
    return changes;
  }

  #planProbe(): void {
    const { bounds, monotonicMs, random } = this.#options;
    const waitMs = this.misconfigured
      ? bounds.longestMs
      : retryDelayMs(this.#probes, bounds, random());
    this.#probeAt = monotonicMs() + waitMs;
  }
}
