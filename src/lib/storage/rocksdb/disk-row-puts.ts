import { readAssignment, type AssignmentFields } from '../../protocol/assignment.js';
import { parseMessageBundle, type StoredBundle } from '../../protocol/bundle.js';
import { idToBytes, type Id } from '../../protocol/ids.js';
import { renderNodeBytes } from '../../protocol/wire.js';
import type { DiskRow } from './disk-request.js';
import { comparePlaces } from './disk-rows.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  entryKey,
  NO_VALUE,
  timeKey,
  type ColumnName,
} from './keys.js';
import { encodePlaces, STORED_JSON_BYTES_MAX, type Placed } from './rows.js';

/**
 * A copy is there for its pages, so it stores twice as long JSON as the store itself: each bundle that has to be looked up
 * for a page costs 1.4 ms when the disk has to be asked, where JSON beside its neighbours costs 0.2.
 */
const COPIED_JSON_BYTES_MAX = 2 * STORED_JSON_BYTES_MAX;

/** Takes what is stored of rows. */
export interface RowPuts {
  put(column: ColumnName, key: Uint8Array, value: Uint8Array): void;
  /** @param json undefined: it is rendered at each read; it may be part of a larger buffer */
  putNode(key: Uint8Array, place: Placed, json: Uint8Array | undefined): void;
  /** A message may stand in an old log more than once: its places are joined. */
  putMessagePlace(messageId: Id, place: Placed): void;
}

/** Everything that a disk copy keeps of a row. */
export function drawDiskRow(row: Omit<DiskRow, 'hashChain'>, into: RowPuts): void {
  const { processId, epoch, nonce, rank, timestamp } = row;
  const place: Placed = { processId, epoch, nonce, suffix: rank, timestamp };
  const key = entryKey(place);
  const parsed = readBundle(row);
  // What cannot be read is left out, so that whoever reads it asks the database, which says what is wrong.
  into.putNode(key, place, parsed && renderJson(parsed));
  if (parsed !== undefined) into.put('bundles', key, row.bundle);
  into.put('default', timeKey(place, timestamp), NO_VALUE);
  if (parsed === undefined || parsed.item !== undefined) into.putMessagePlace(row.messageId, place);
  const assignmentId = row.assignmentId ?? parsed?.assignment?.id;
  if (assignmentId === undefined) return;
  into.put('default', assignmentKey(assignmentId), encodePlaces([place]));
  const fields = parsed?.item === undefined ? fieldsOf(parsed) : undefined;
  if (fields === undefined) return;
  const digest = assignDigest({
    processId,
    transactionId: row.messageId,
    exclude: fields.exclude,
  });
  into.put('default', assignKey(digest, timestamp, nonce), idToBytes(assignmentId));
}

/** The places of a message, in order, each once. */
export function joinPlaces(known: readonly Placed[], more: readonly Placed[]): readonly Placed[] {
  const others = known.filter((one) => !more.some((other) => isSame(one, other)));
  return [...others, ...more].toSorted(
    (one, other) => comparePlaces(one, other) || one.suffix - other.suffix,
  );
}

function isSame(one: Placed, other: Placed): boolean {
  return (
    comparePlaces(one, other) === 0 &&
    one.suffix === other.suffix &&
    one.processId === other.processId
  );
}

/** Undefined for a bundle that cannot be read, or that belongs to another entry: the database does not show it either. */
function readBundle(row: Omit<DiskRow, 'hashChain'>): StoredBundle | undefined {
  let bundle: StoredBundle;
  try {
    bundle = parseMessageBundle(row.bundle);
  } catch {
    // Whatever is wrong with it, it is for the database's reader to say.
    return undefined;
  }
  const isForeign =
    (row.assignmentId !== undefined && bundle.assignment?.id !== row.assignmentId) ||
    (bundle.form === 'inner-assignment' && bundle.item?.id !== row.messageId);
  return isForeign ? undefined : bundle;
}

/** Undefined where it would be large: it is rendered when it is read. */
function renderJson(parsed: StoredBundle): Uint8Array | undefined {
  if ((parsed.item?.data.length ?? 0) > COPIED_JSON_BYTES_MAX) return undefined;
  const json = renderNodeBytes(parsed);
  return json.length > COPIED_JSON_BYTES_MAX ? undefined : json;
}

function fieldsOf(parsed: StoredBundle | undefined): AssignmentFields | undefined {
  try {
    return parsed?.assignment && readAssignment(parsed.assignment);
  } catch {
    // Assignments of the first months lack tags; retried assigns are looked up in the database in any case.
    return undefined;
  }
}
