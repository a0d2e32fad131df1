import { readAssignment } from '../../protocol/assignment.js';
import { parseMessageBundle } from '../../protocol/bundle.js';
import type { Id } from '../../protocol/ids.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  entryRange,
  headKey,
  messageKey,
  placeOfEntryKey,
  processKey,
  spawnKey,
  stretchKey,
  timeKey,
  watermarkKey,
} from './keys.js';
import { decodeNode, decodePlaces, encodePlaces } from './rows.js';
import { firstOfStretch } from './stretch.js';

const ENTRIES_A_BATCH = 500;

/**
 * Removes a bounded part of a log from a disk copy: the watermark first, so that nobody is shown the rest.
 *
 * @returns true when nothing is left
 * @throws SuError `store-unavailable` when the part cannot be read
 */
export function forgetLog(database: Database, puts: BatchPuts, processId: Id): boolean {
  puts.remove('default', watermarkKey(processId));
  puts.remove('default', headKey(processId));
  const rows = database.readFew('nodes', { ...entryRange(processId), limit: ENTRIES_A_BATCH });
  const bundles = database.readReadable(rows.map(([key]) => key));
  rows.forEach(([key, value], index) => {
    const { timestamp, suffix } = decodeNode(value);
    const place = { processId, ...placeOfEntryKey(key), suffix };
    puts.remove('nodes', key);
    puts.remove('nodes', stretchKey({ ...place, nonce: firstOfStretch(place.nonce) }));
    puts.remove('bundles', key);
    puts.remove('default', timeKey(place, timestamp));
    const bundle = bundles[index];
    if (bundle !== undefined) {
      forgetIds({ database, puts }, { processId, bundle, timestamp, nonce: place.nonce });
    }
  });
  if (rows.length === ENTRIES_A_BATCH) return false;
  puts.remove('default', spawnKey(processId));
  puts.remove('nodes', processKey(processId));
  puts.remove('bundles', processKey(processId));
  return true;
}

interface Forgotten {
  readonly processId: Id;
  readonly bundle: Uint8Array;
  readonly timestamp: number;
  readonly nonce: number;
}

/** What a bundle that cannot be read was indexed by stays; such an index names nothing, and the database is asked. */
function forgetIds(
  { database, puts }: { readonly database: Database; readonly puts: BatchPuts },
  { processId, bundle, timestamp, nonce }: Forgotten,
): void {
  try {
    const { assignment, item } = parseMessageBundle(bundle);
    if (assignment !== undefined) puts.remove('default', assignmentKey(assignment.id));
    if (item !== undefined) {
      const key = messageKey(item.id);
      const value = database.read('default', key);
      const others =
        value === undefined
          ? []
          : decodePlaces(value).filter((place) => place.processId !== processId);
      if (others.length === 0) puts.remove('default', key);
      else puts.put('default', key, encodePlaces(others));
    } else if (assignment !== undefined) {
      const { messageId, exclude } = readAssignment(assignment);
      if (messageId === undefined) return;
      const digest = assignDigest({ processId, transactionId: messageId, exclude });
      puts.remove('default', assignKey(digest, timestamp, nonce));
    }
  } catch {
    // Intended, see above.
  }
}
