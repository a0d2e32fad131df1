import type { CopyWatermark, LogPlace } from '../../migrator/ports.js';
import { readAssignment } from '../../protocol/assignment.js';
import { parseMessageBundle } from '../../protocol/bundle.js';
import type { DataItem } from '../../protocol/data-item.js';
import type { Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import { comparePlaces } from './disk-rows.js';
import {
  entryFloor,
  entryRange,
  placeOfEntryKey,
  placeOfTimeKey,
  spawnKey,
  timeRange,
} from './keys.js';
import { decodeSpawn } from './rows.js';

const KEYS_A_LOOK = 10_000;

interface Settled {
  readonly watermark: CopyWatermark;
  /** The last entry; undefined: the process itself. */
  readonly last: LogPlace | undefined;
  readonly assignment: DataItem | undefined;
}

/**
 * How far a log is complete once all its rows below a place are there: its last entry below that place. Undefined when
 * the watermark stands there already, or the process is not on the disk.
 */
export function settleWatermark(
  database: Database,
  log: {
    readonly processId: Id;
    readonly below: LogPlace | undefined;
    readonly stored: CopyWatermark | undefined;
  },
): Settled | undefined {
  const { processId, below, stored } = log;
  const { gte, lt } = entryRange(processId);
  const end = below === undefined ? lt : entryFloor(processId, below.epoch, below.nonce);
  const [row] = database.readFew('nodes', {
    gte,
    lt: end,
    reverse: true,
    limit: 1,
    values: false,
  });
  if (row === undefined) return stored === undefined ? settleSpawn(database, processId) : undefined;
  const [key] = row;
  const last = placeOfEntryKey(key);
  if (stored !== undefined && comparePlaces(last, stored) <= 0) return undefined;
  const assignment = readLastAssignment(database, key);
  const times = scanTimes(database, { processId, last, stored });
  const hashChain = assignment === undefined ? '' : chainOf(assignment);
  return { watermark: { ...last, ...times, hashChain }, last, assignment };
}

/** A log without messages is complete with its process. */
function settleSpawn(database: Database, processId: Id): Settled | undefined {
  const value = database.read('default', spawnKey(processId));
  if (value === undefined) return undefined;
  const { hasAssignment, epoch, nonce } = decodeSpawn(value);
  const place = { epoch, nonce: hasAssignment ? nonce : -1 };
  const watermark = { ...place, timestamp: 0, hashChain: '', isOrdered: true };
  return { watermark, last: undefined, assignment: undefined };
}

function readLastAssignment(database: Database, key: Buffer): DataItem | undefined {
  const bundle = database.read('bundles', key);
  try {
    return bundle && parseMessageBundle(bundle).assignment;
  } catch {
    // A damaged row is not on the disk; the watermark then has no chain to be recognised by.
    return undefined;
  }
}

function chainOf(assignment: DataItem): string {
  try {
    return readAssignment(assignment).hashChain;
  } catch {
    return '';
  }
}

/** Whether timestamps rise from the stored watermark to `last`: keys of the index by time, a bounded number at a time. */
function scanTimes(
  database: Database,
  { processId, last, stored }: { processId: Id; last: LogPlace; stored: CopyWatermark | undefined },
): { readonly timestamp: number; readonly isOrdered: boolean } {
  let isOrdered = stored?.isOrdered ?? true;
  let timestamp = stored?.timestamp ?? 0;
  let previous: LogPlace = stored ?? { epoch: -1, nonce: -1 };
  // From the beginning when the order is not known to hold: entries behind the watermark may be earlier than it.
  const { gte, lt } = timeRange(processId, undefined);
  let from: { gt: Buffer } | { gte: Buffer } = { gte };
  for (;;) {
    const rows = database.readFew('default', { ...from, lt, values: false, limit: KEYS_A_LOOK });
    for (const [key] of rows) {
      const place = placeOfTimeKey(key);
      if (comparePlaces(place, last) > 0) continue;
      const time = timeOfKey(key);
      if (stored !== undefined && comparePlaces(place, stored) <= 0) continue;
      isOrdered &&= comparePlaces(place, previous) > 0 && time > timestamp;
      timestamp = Math.max(timestamp, time);
      previous = place;
    }
    const end = rows.at(-1);
    if (end === undefined || rows.length < KEYS_A_LOOK) return { timestamp, isOrdered };
    from = { gt: end[0] };
  }
}

/** The timestamp in a key of the index by time. */
function timeOfKey(key: Buffer): number {
  return key.readUInt32BE(33) * 2 ** 32 + key.readUInt32BE(37);
}
