/** Wall clock, ms: what assignments say. */
export const clock = (): number => Date.now();

/** A clock that never steps, ms: how long things take. */
export const monotonicMs = (): number => performance.now();
