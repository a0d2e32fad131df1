import { invariant } from '../../errors.js';
import type { CopyWatermark, LogPlace } from '../../migrator/ports.js';
import { LONG_BYTES, readLong, writeLong } from './keys.js';

/*
 * What a disk copy keeps beside the rows of a store: how far the copy of each log is complete. An entry behind that place may
 * be there already, while a migration runs or after one was stopped, and nobody is shown it.
 */

const IS_DISORDERED = 1;
const WATERMARK_FIXED_BYTES = 1 + 3 * LONG_BYTES;

/** A watermark as it is stored. */
export function encodeWatermark(mark: CopyWatermark): Buffer {
  const chain = Buffer.from(mark.hashChain, 'latin1');
  const value = Buffer.alloc(WATERMARK_FIXED_BYTES + chain.length);
  value[0] = mark.isOrdered ? 0 : IS_DISORDERED;
  let offset = writeLong(value, mark.epoch, 1);
  offset = writeLong(value, mark.nonce + 1, offset);
  offset = writeLong(value, mark.timestamp, offset);
  value.set(chain, offset);
  return value;
}

/** Reads what `encodeWatermark` wrote. */
export function decodeWatermark(value: Buffer): CopyWatermark {
  invariant(value.length >= WATERMARK_FIXED_BYTES, 'a stored watermark is cut short');
  return {
    epoch: readLong(value, 1),
    nonce: readLong(value, 1 + LONG_BYTES) - 1,
    timestamp: readLong(value, 1 + 2 * LONG_BYTES),
    hashChain: value.toString('latin1', WATERMARK_FIXED_BYTES),
    isOrdered: (value[0] ?? 0) !== IS_DISORDERED,
  };
}

/** The end of a span of copied rows, as it is stored. */
export function encodeRowId(rowId: number): Buffer {
  const value = Buffer.alloc(LONG_BYTES);
  writeLong(value, rowId, 0);
  return value;
}

/** Below 0 when `one` comes before `other` in a log, 0 when they are the same place. */
export function comparePlaces(one: LogPlace, other: LogPlace): number {
  return one.epoch - other.epoch || one.nonce - other.nonce;
}
