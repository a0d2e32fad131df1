import type { LogPlace } from './disk-ports.js';

/** Below 0 when `one` comes before `other` in a log, 0 when they are the same place. */
export function comparePlaces(one: LogPlace, other: LogPlace): number {
  return one.epoch - other.epoch || one.nonce - other.nonce;
}
