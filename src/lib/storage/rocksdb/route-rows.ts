import { invariant } from '../../errors.js';
import { idToBytes, type Id } from '../../protocol/ids.js';
import type { Placement, StoredScheduler } from '../../router/ports.js';
import { ID_BYTES, LONG_BYTES, readId, readLong, writeLong } from './keys.js';

/*
 * What a router keeps, in the column `default`, by letters that the log does not use:
 *
 *   l row      → an SU, as JSON
 *   p process  → its row and the number of the placing
 *   q          → the next row and the next number
 *
 * Numbers have eight bytes, big-endian.
 */

/** The numbers that are given out next. */
export interface RouteCounters {
  readonly nextRow: number;
  readonly nextPlacement: number;
}

export const ROUTE_COUNTERS_KEY = Buffer.from('q');

/** All SUs. */
export const SCHEDULER_RANGE = { gte: Buffer.from('l'), lt: Buffer.from('m') };

/** The end of all placements. */
export const PLACEMENT_END = Buffer.from('q');

/** Key of an SU. */
export function schedulerKey(rowId: number): Buffer {
  const key = Buffer.alloc(1 + LONG_BYTES, 'l');
  writeLong(key, rowId, 1);
  return key;
}

/** Key of a placement. */
export function placementKey(processId: Id): Buffer {
  const key = Buffer.alloc(1 + ID_BYTES, 'p');
  key.set(idToBytes(processId), 1);
  return key;
}

/** The value of an SU; its row is in the key. */
export function encodeScheduler({ rowId: _rowId, ...scheduler }: StoredScheduler): Buffer {
  return Buffer.from(JSON.stringify(scheduler));
}

/** Reads what `encodeScheduler` wrote. */
export function decodeScheduler(key: Buffer, value: Buffer): StoredScheduler {
  const fields = JSON.parse(value.toString('utf8')) as Omit<StoredScheduler, 'rowId'>;
  return { rowId: readLong(key, 1), ...fields };
}

/** The value of a placement. */
export function encodePlacement({ rowId, key }: Placement): Buffer {
  return twoLongs(rowId, Number(key));
}

/** Reads what `encodePlacement` wrote. */
export function decodePlacement(processId: Id, value: Buffer): Placement {
  invariant(value.length === 2 * LONG_BYTES, 'a stored placement is cut short');
  return { processId, rowId: readLong(value, 0), key: String(readLong(value, LONG_BYTES)) };
}

/** The process in a key of `placementKey`. */
export function processOfPlacementKey(key: Buffer): Id {
  return readId(key, 1);
}

/** The value of the counters. */
export function encodeRouteCounters({ nextRow, nextPlacement }: RouteCounters): Buffer {
  return twoLongs(nextRow, nextPlacement);
}

/** Reads what `encodeRouteCounters` wrote; a store without any begins with 1. */
export function decodeRouteCounters(value: Buffer | undefined): RouteCounters {
  if (value === undefined) return { nextRow: 1, nextPlacement: 1 };
  return { nextRow: readLong(value, 0), nextPlacement: readLong(value, LONG_BYTES) };
}

function twoLongs(first: number, second: number): Buffer {
  const value = Buffer.alloc(2 * LONG_BYTES);
  writeLong(value, second, writeLong(value, first, 0));
  return value;
}
