import { invariant } from '../../errors.js';
import type { StoredEdge } from '../../protocol/edge.js';
import { idToBytes, type Id } from '../../protocol/ids.js';
import type { Head } from '../../scheduler/ports.js';
import {
  ID_BYTES,
  LONG_BYTES,
  readId,
  readLong,
  writeId,
  writeLong,
  type Location,
} from './keys.js';

/*
 * The values: fixed fields first, big-endian, then text or bytes to the end. Each value that may grow a field later
 * begins with a byte of flags.
 */

/** JSON of more than this is rendered from the bundle when it is read: hostile data may have JSON of six times its size. */
export const STORED_JSON_BYTES_MAX = 64 * 1024;

// --- heads -------------------------------------------------------------------------------------------------

const HEAD_HAS_ASSIGNMENT = 1;
/** Flags, epoch, nonce + 1, assignment id: with the hash chain at the end, what a run must continue. */
const HEAD_FIXED_BYTES = 1 + 4 * LONG_BYTES + ID_BYTES;

/** The head of a chain as it is stored. */
export function encodeHead(head: Head): Buffer {
  const { assignmentId, hashChain = '' } = head;
  const chain = Buffer.from(hashChain, 'latin1');
  const value = Buffer.alloc(HEAD_FIXED_BYTES + chain.length);
  value[0] = assignmentId === undefined ? 0 : HEAD_HAS_ASSIGNMENT;
  let offset = writeLong(value, head.epoch, 1);
  // A process that has no entry yet stands at nonce -1.
  offset = writeLong(value, head.nonce + 1, offset);
  offset = writeLong(value, head.timestamp, offset);
  offset = writeLong(value, head.blockHeight, offset);
  if (assignmentId !== undefined) writeId(value, assignmentId, offset);
  value.set(chain, HEAD_FIXED_BYTES);
  return value;
}

/** Reads what `encodeHead` wrote. */
export function decodeHead(value: Buffer): Head {
  invariant(value.length >= HEAD_FIXED_BYTES, 'a stored head is cut short');
  const hashChain = value.toString('latin1', HEAD_FIXED_BYTES);
  return {
    epoch: readLong(value, 1),
    nonce: readLong(value, 1 + LONG_BYTES) - 1,
    timestamp: readLong(value, 1 + 2 * LONG_BYTES),
    blockHeight: readLong(value, 1 + 3 * LONG_BYTES),
    hashChain: hashChain === '' ? undefined : hashChain,
    assignmentId: value[0] === HEAD_HAS_ASSIGNMENT ? readId(value, 1 + 4 * LONG_BYTES) : undefined,
  };
}

/** True when a run made for `onto` continues the chain that stands at `stored`. */
export function isSameHead(onto: Head | undefined, stored: Head | undefined): boolean {
  return (
    onto?.epoch === stored?.epoch &&
    onto?.nonce === stored?.nonce &&
    onto?.assignmentId === stored?.assignmentId &&
    onto?.hashChain === stored?.hashChain
  );
}

// --- places ------------------------------------------------------------------------------------------------

/** Where an entry stands, and when. */
export interface Placed extends Location {
  readonly timestamp: number;
}

const PLACE_BYTES = ID_BYTES + 4 * LONG_BYTES;

/** Places one after the other, lowest (epoch, nonce) first. */
export function encodePlaces(places: readonly Placed[]): Buffer {
  const value = Buffer.allocUnsafe(places.length * PLACE_BYTES);
  let offset = 0;
  for (const place of places) {
    offset = writeId(value, place.processId, offset);
    for (const number of [place.epoch, place.nonce, place.suffix, place.timestamp]) {
      offset = writeLong(value, number, offset);
    }
  }
  return value;
}

/** Reads what `encodePlaces` wrote. */
export function decodePlaces(value: Buffer): readonly Placed[] {
  invariant(value.length > 0 && value.length % PLACE_BYTES === 0, 'a stored place is cut short');
  const places: Placed[] = [];
  for (let offset = 0; offset < value.length; offset += PLACE_BYTES) {
    const numbers = offset + ID_BYTES;
    places.push({
      processId: readId(value, offset),
      epoch: readLong(value, numbers),
      nonce: readLong(value, numbers + LONG_BYTES),
      suffix: readLong(value, numbers + 2 * LONG_BYTES),
      timestamp: readLong(value, numbers + 3 * LONG_BYTES),
    });
  }
  return places;
}

// --- entries as pages show them ----------------------------------------------------------------------------

const NODE_IS_STORED = 1;
const NODE_IS_IN_STRETCH = 2;
export const NODE_FIXED_BYTES = 1 + 4 * LONG_BYTES;

/** An entry of column `nodes`. */
export interface StoredNode extends Omit<Placed, 'processId'> {
  /** The node's JSON; undefined when it stands elsewhere, or is rendered from the bundle. */
  readonly json: Buffer | undefined;
  /** From a stretch: the JSON as an edge of a page. */
  readonly edge?: StoredEdge | undefined;
  /** The JSON was moved into a stretch of entries, which may be gone; the bundle is small. */
  readonly isInStretch: boolean;
}

/**
 * Writes what precedes the JSON of an entry; returns the position behind it. The value repeats its key's numbers, so that
 * pages need not read keys.
 */
export function writeNodeHead(
  into: Buffer,
  { place, isStored }: { readonly place: Placed; readonly isStored: boolean },
  begin: number,
): number {
  into[begin] = isStored ? NODE_IS_STORED : 0;
  let offset = begin + 1;
  for (const number of [place.epoch, place.nonce, place.suffix, place.timestamp]) {
    offset = writeLong(into, number, offset);
  }
  return offset;
}

/** An entry as it is stored. */
export function encodeNode(place: Placed, json: Uint8Array | undefined): Buffer {
  const value = Buffer.allocUnsafe(NODE_FIXED_BYTES + (json?.length ?? 0));
  const offset = writeNodeHead(value, { place, isStored: json !== undefined }, 0);
  if (json !== undefined) value.set(json, offset);
  return value;
}

/** An entry whose JSON stands in a stretch. */
export function encodeStretchedNode(place: Placed): Buffer {
  const value = encodeNode(place, undefined);
  value[0] = NODE_IS_IN_STRETCH;
  return value;
}

/** Reads what `encodeNode` and `encodeStretchedNode` wrote; the JSON is a view of `value`. */
export function decodeNode(value: Buffer): StoredNode {
  invariant(value.length >= NODE_FIXED_BYTES, 'a stored entry is cut short');
  return {
    epoch: readLong(value, 1),
    nonce: readLong(value, 1 + LONG_BYTES),
    suffix: readLong(value, 1 + 2 * LONG_BYTES),
    timestamp: readLong(value, 1 + 3 * LONG_BYTES),
    json: value[0] === NODE_IS_STORED ? value.subarray(NODE_FIXED_BYTES) : undefined,
    isInStretch: value[0] === NODE_IS_IN_STRETCH,
  };
}

// --- processes ---------------------------------------------------------------------------------------------

const SPAWN_HAS_ASSIGNMENT = 1;
const SPAWN_FIXED_BYTES = 1 + 4 * LONG_BYTES;

/** How a process was spawned. */
export interface Spawn {
  readonly hasAssignment: boolean;
  readonly epoch: number;
  /** 0 when there is no assignment. */
  readonly nonce: number;
  readonly timestamp: number;
  readonly blockHeight: number;
}

/** A spawn as it is stored. */
export function encodeSpawn(spawn: Spawn): Buffer {
  const value = Buffer.alloc(SPAWN_FIXED_BYTES);
  value[0] = spawn.hasAssignment ? SPAWN_HAS_ASSIGNMENT : 0;
  let offset = 1;
  for (const number of [spawn.epoch, spawn.nonce, spawn.timestamp, spawn.blockHeight]) {
    offset = writeLong(value, number, offset);
  }
  return value;
}

/** Reads what `encodeSpawn` wrote. */
export function decodeSpawn(value: Buffer): Spawn {
  invariant(value.length >= SPAWN_FIXED_BYTES, 'a stored spawn is cut short');
  return {
    hasAssignment: value[0] === SPAWN_HAS_ASSIGNMENT,
    epoch: readLong(value, 1),
    nonce: readLong(value, 1 + LONG_BYTES),
    timestamp: readLong(value, 1 + 2 * LONG_BYTES),
    blockHeight: readLong(value, 1 + 3 * LONG_BYTES),
  };
}

/** A process's JSON: its record and, when it has an assignment, its node. */
export interface ProcessTexts {
  readonly record: Uint8Array;
  readonly node: Uint8Array | undefined;
}

/** The texts of a process as they are stored: the record's length, the record, the node. */
export function encodeProcessTexts({ record, node }: ProcessTexts): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(record.length);
  return Buffer.concat([length, record, node ?? new Uint8Array(0)]);
}

/** Reads what `encodeProcessTexts` wrote. */
export function decodeProcessTexts(value: Buffer): ProcessTexts {
  const end = 4 + value.readUInt32BE(0);
  return {
    record: value.subarray(4, end),
    node: end === value.length ? undefined : value.subarray(end),
  };
}

// --- outbox ------------------------------------------------------------------------------------------------

/** A row of the outbox; its key says whether it is pending or parked. */
export interface StoredOutboxRow {
  readonly parts: number;
  readonly attempts: number;
  /** Wall clock, ms: not before then. */
  readonly dueAt: number;
  readonly queuedAt: number;
  readonly processId: Id;
  readonly messageId: Id;
  readonly assignmentId: Id | undefined;
  readonly reason: string | undefined;
}

const ROW_HAS_ASSIGNMENT = 1;
const ROW_HAS_REASON = 2;
const ROW_FIXED_BYTES = 2 + 3 * LONG_BYTES + 3 * ID_BYTES;

/** An outbox row as it is stored. */
export function encodeOutboxRow(row: StoredOutboxRow): Buffer {
  const reason = Buffer.from(row.reason ?? '', 'utf8');
  const value = Buffer.alloc(ROW_FIXED_BYTES + reason.length);
  value[0] =
    (row.assignmentId === undefined ? 0 : ROW_HAS_ASSIGNMENT) |
    (row.reason === undefined ? 0 : ROW_HAS_REASON);
  value[1] = row.parts;
  let offset = 2;
  for (const number of [row.attempts, row.dueAt, row.queuedAt]) {
    offset = writeLong(value, number, offset);
  }
  offset = writeId(value, row.messageId, writeId(value, row.processId, offset));
  if (row.assignmentId !== undefined) value.set(idToBytes(row.assignmentId), offset);
  value.set(reason, ROW_FIXED_BYTES);
  return value;
}

/** Reads what `encodeOutboxRow` wrote. */
export function decodeOutboxRow(value: Buffer): StoredOutboxRow {
  invariant(value.length >= ROW_FIXED_BYTES, 'a stored outbox row is cut short');
  const flags = value[0] ?? 0;
  const ids = 2 + 3 * LONG_BYTES;
  return {
    parts: value[1] ?? 0,
    attempts: readLong(value, 2),
    dueAt: readLong(value, 2 + LONG_BYTES),
    queuedAt: readLong(value, 2 + 2 * LONG_BYTES),
    processId: readId(value, ids),
    messageId: readId(value, ids + ID_BYTES),
    assignmentId:
      (flags & ROW_HAS_ASSIGNMENT) === 0 ? undefined : readId(value, ids + 2 * ID_BYTES),
    reason: (flags & ROW_HAS_REASON) === 0 ? undefined : value.toString('utf8', ROW_FIXED_BYTES),
  };
}

/** What the outbox holds, kept beside it so that nobody has to count. */
export interface Counters {
  /** The sequence number of the next row. */
  readonly nextSequence: number;
  readonly pending: number;
  readonly parked: number;
}

export const NO_ROWS: Counters = { nextSequence: 1, pending: 0, parked: 0 };

/** The counters as they are stored. */
export function encodeCounters(counters: Counters): Buffer {
  const value = Buffer.alloc(3 * LONG_BYTES);
  let offset = 0;
  for (const number of [counters.nextSequence, counters.pending, counters.parked]) {
    offset = writeLong(value, number, offset);
  }
  return value;
}

/** Reads what `encodeCounters` wrote; a store that never queued a row has none. */
export function decodeCounters(value: Buffer | undefined): Counters {
  if (value === undefined) return NO_ROWS;
  return {
    nextSequence: readLong(value, 0),
    pending: readLong(value, LONG_BYTES),
    parked: readLong(value, 2 * LONG_BYTES),
  };
}
