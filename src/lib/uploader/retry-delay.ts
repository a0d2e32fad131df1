/** Bounds of the wait between two tries, in milliseconds. */
export interface RetryBounds {
  readonly firstMs: number;
  readonly longestMs: number;
}

/**
 * How long to wait after the try number `attempts` (0 for the first) failed: doubling from `firstMs` up to
 * `longestMs`, of which the upper half is random, so that what failed together does not come back together.
 *
 * @param random a number from 0 up to, not including, 1
 */
export function retryDelayMs(attempts: number, bounds: RetryBounds, random: number): number {
  // 2 ** 1100 is Infinity, which `min` turns into the longest wait, so no number of tries overflows.
  const ceilingMs = Math.min(bounds.longestMs, bounds.firstMs * 2 ** attempts);
  return Math.round(ceilingMs * (0.5 + random / 2));
}
