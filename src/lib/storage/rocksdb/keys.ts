import { idFromBytes, idToBytes, sha256, type Id } from '../../protocol/ids.js';

/*
 * Where everything lies. Ids are their 32 bytes and numbers are big-endian, so that keys sort as what they mean.
 *
 * column `nodes`    process 01 epoch nonce suffix → an entry as pages show it (rows.ts)
 *                   process 00                    → a process as reads show it
 *                   process 02 epoch nonce        → the JSON of a stretch of entries, the first of which this is (stretch.ts)
 * column `bundles`  the same keys                 → the stored bundle
 * column `default`  one letter and
 *   c                                  → counters of the outbox
 *   b                                  → where the blobs end that a reference names (blob-files.ts)
 *   h process                          → the head of its chain; its presence says that the process is known
 *   s process                          → how the process was spawned
 *   m message                          → where it stands in the log, once for each place
 *   a assignment                       → where it stands; not for a process's own
 *   r digest timestamp nonce           → the assignment of a transaction, for retried assigns; the digest is over
 *                                        process, transaction and exclude list
 *   t process timestamp epoch nonce suffix → nothing: pages by time begin here
 *   d process version hash             → the first message with this deep hash; the version as eight bytes of its SHA-256
 *   v process                          → how far back the deep hashes of the process reach
 *   l, p, q                            → what a router keeps (route-rows.ts)
 *   w process                          → in a disk copy: how far the copy of this log is complete (disk-rows.ts)
 *   k row                              → in a disk copy: all rows of the database behind this one are copied, up to the value
 *   u                                  → nothing: in a disk copy there may be blob files that nothing names (unused-blobs.ts)
 *   o sequence                         → a row of the outbox that is still to be uploaded
 *   x sequence                         → a row that is parked
 *
 * Epoch, nonce and timestamp have eight bytes each. The suffix, eight bytes too, keeps apart entries with the same place,
 * which copies of old databases may hold: it is zero for what was scheduled here, and the row id for what comes from a database.
 */

export const COLUMN_NAMES = ['default', 'nodes', 'bundles'] as const;
export type ColumnName = (typeof COLUMN_NAMES)[number];

export const ID_BYTES = 32;
/** Of a number in keys and values. */
export const LONG_BYTES = 8;
const WORD = 2 ** 32;

/** Where an entry stands: what its keys are made of. */
export interface Location {
  readonly processId: Id;
  readonly epoch: number;
  readonly nonce: number;
  readonly suffix: number;
}

/** Writes a safe integer of at least 0 as eight big-endian bytes; returns the position behind it. */
export function writeLong(into: Buffer, value: number, offset: number): number {
  into.writeUInt32BE(Math.floor(value / WORD), offset);
  return into.writeUInt32BE(value % WORD, offset + 4);
}

/** Reads what `writeLong` wrote. */
export function readLong(from: Buffer, offset: number): number {
  return from.readUInt32BE(offset) * WORD + from.readUInt32BE(offset + 4);
}

/** Writes the 32 bytes of an id; returns the position behind them. */
export function writeId(into: Buffer, id: Id, offset: number): number {
  into.set(idToBytes(id), offset);
  return offset + ID_BYTES;
}

/** Reads the id whose bytes begin at `offset`. */
export function readId(from: Buffer, offset: number): Id {
  return idFromBytes(from.subarray(offset, offset + ID_BYTES));
}

/** The value of keys that say everything by being there. */
export const NO_VALUE = new Uint8Array(0);

function letterKey(letter: string, ...parts: readonly (Uint8Array | number)[]): Buffer {
  const size = parts.reduce<number>(
    (sum, part) => sum + (typeof part === 'number' ? LONG_BYTES : part.length),
    1,
  );
  const key = Buffer.allocUnsafe(size);
  let offset = key.write(letter, 0, 'latin1');
  for (const part of parts) {
    if (typeof part === 'number') {
      offset = writeLong(key, part, offset);
    } else {
      key.set(part, offset);
      offset += part.length;
    }
  }
  return key;
}

export const COUNTERS_KEY = letterKey('c');

/** Key of where the blobs end. */
export const BLOB_END_KEY = letterKey('b');

/** Key of what says that there may be blob files which nothing names. */
export const UNUSED_KEY = letterKey('u');

/** Key of a process's head. */
export const headKey = (processId: Id): Buffer => letterKey('h', idToBytes(processId));

/** Key of how a process was spawned. */
export const spawnKey = (processId: Id): Buffer => letterKey('s', idToBytes(processId));

/** Key of the places of a message. */
export const messageKey = (messageId: Id): Buffer => letterKey('m', idToBytes(messageId));

/** Key of the place of an assignment. */
export const assignmentKey = (assignmentId: Id): Buffer => letterKey('a', idToBytes(assignmentId));

/** Key of an outbox row that is pending. */
export const pendingKey = (sequence: number): Buffer => letterKey('o', sequence);

/** Key of an outbox row that is parked. */
export const parkedKey = (sequence: number): Buffer => letterKey('x', sequence);

/** The sequence number at the end of an outbox row's key. */
export const sequenceOf = (key: Buffer): number => readLong(key, 1);

/** What makes two assigns of a transaction the same, but for their time. */
export interface AssignIdentity {
  readonly processId: Id;
  readonly transactionId: Id;
  readonly exclude: readonly string[];
}

/** Names an assign; JSON, because exclude values may hold any separator. */
export function assignDigest({ processId, transactionId, exclude }: AssignIdentity): Uint8Array {
  const text = Buffer.from(JSON.stringify(exclude), 'utf8');
  return sha256(idToBytes(processId), idToBytes(transactionId), text);
}

/** Key of one assign; with nonce 0 it is the lowest key of its timestamp. */
export const assignKey = (digest: Uint8Array, timestamp: number, nonce: number): Buffer =>
  letterKey('r', digest, timestamp, nonce);

/** The timestamp in a key of `assignKey`. */
export const timestampOfAssignKey = (key: Buffer): number => readLong(key, 1 + ID_BYTES);

/** Key of an entry in the index by time. */
export const timeKey = ({ processId, epoch, nonce, suffix }: Location, timestamp: number): Buffer =>
  letterKey('t', idToBytes(processId), timestamp, epoch, nonce, suffix);

/** The entry that a key of `timeKey` names. */
export function locationOfTimeKey(key: Buffer): Location {
  const base = 1 + ID_BYTES + LONG_BYTES;
  return {
    processId: readId(key, 1),
    epoch: readLong(key, base),
    nonce: readLong(key, base + LONG_BYTES),
    suffix: readLong(key, base + 2 * LONG_BYTES),
  };
}

/** The place in a key of `timeKey`, without the process, which takes most of the time. */
export function placeOfTimeKey(key: Buffer): { epoch: number; nonce: number } {
  const base = 1 + ID_BYTES + LONG_BYTES;
  return { epoch: readLong(key, base), nonce: readLong(key, base + LONG_BYTES) };
}

/** The order of the log between two keys of `timeKey` of one process, whatever their times. */
export function comparePlaces(one: Buffer, other: Buffer): number {
  const base = 1 + ID_BYTES + LONG_BYTES;
  return one.compare(other, base, other.length, base, one.length);
}

/** Keys of the index by time that belong to a process and lie after `from` (exclusive, ms). */
export function timeRange(processId: Id, from: number | undefined): { gte: Buffer; lt: Buffer } {
  const id = idToBytes(processId);
  const begin = from === undefined || from < 0 ? 0 : from + 1;
  // No timestamp reaches 2^64 - 1, so eight bytes of ff are above all of them.
  return { gte: letterKey('t', id, begin), lt: letterKey('t', id, Buffer.alloc(LONG_BYTES, 0xff)) };
}

/** All keys that begin with this letter. */
export function letterRange(letter: 'k' | 'o' | 'x'): { gte: Buffer; lt: Buffer } {
  return { gte: letterKey(letter), lt: Buffer.from([letter.charCodeAt(0) + 1]) };
}

/** Key of a deep hash, whose bytes these are. */
export const deepHashKey = (processId: Id, version: string, hash: Uint8Array): Buffer =>
  letterKey('d', idToBytes(processId), sha256(Buffer.from(version)).subarray(0, LONG_BYTES), hash);

/** Key of how far back the deep hashes of a process reach. */
export const deepHashCoverageKey = (processId: Id): Buffer => letterKey('v', idToBytes(processId));

/** Key of how far the copy of a process's log is complete. */
export const watermarkKey = (processId: Id): Buffer => letterKey('w', idToBytes(processId));

/** Key of a span of copied rows, which begins behind this row of the database. */
export const spanKey = (afterRow: number): Buffer => letterKey('k', afterRow);

/** The row behind which the span of this key begins. */
export const rowOfSpanKey = (key: Buffer): number => readLong(key, 1);

/** Key of a process in `nodes` and `bundles`. */
export function processKey(processId: Id): Buffer {
  const key = Buffer.alloc(ID_BYTES + 1);
  writeId(key, processId, 0);
  return key;
}

/** Key of an entry in `nodes` and `bundles`. */
export function entryKey({ processId, epoch, nonce, suffix }: Location): Buffer {
  const key = entryPrefix(processId, 3 * LONG_BYTES);
  writeLong(key, suffix, writeLong(key, nonce, writeLong(key, epoch, ID_BYTES + 1)));
  return key;
}

/** Keys below all of a process's entries of an epoch from `nonce` on, whatever their suffix. */
export function entryFloor(processId: Id, epoch: number, nonce: number): Buffer {
  const key = entryPrefix(processId, 2 * LONG_BYTES);
  writeLong(key, nonce, writeLong(key, epoch, ID_BYTES + 1));
  return key;
}

/** The place in a key of `entryKey`. */
export function placeOfEntryKey(key: Buffer): { epoch: number; nonce: number } {
  return {
    epoch: readLong(key, ID_BYTES + 1),
    nonce: readLong(key, ID_BYTES + 1 + LONG_BYTES),
  };
}

/** Key of the stretch that begins at a place. */
export function stretchKey({ processId, epoch, nonce }: Omit<Location, 'suffix'>): Buffer {
  const key = entryFloor(processId, epoch, nonce);
  key[ID_BYTES] = 2;
  return key;
}

/** The bounds of all stretches of the process that a key of `nodes` belongs to. */
export function stretchRange(key: Buffer): { gte: Buffer; lt: Buffer } {
  const processId = key.subarray(0, ID_BYTES);
  return {
    gte: Buffer.concat([processId, Buffer.from([2])]),
    lt: Buffer.concat([processId, Buffer.from([3])]),
  };
}

/** A key of `nodes` above all of the process that a key belongs to. */
export function afterProcess(key: Buffer): Buffer {
  return Buffer.concat([key.subarray(0, ID_BYTES), Buffer.from([0xff])]);
}

/** The bounds of all entries of a process. */
export function entryRange(processId: Id): { gte: Buffer; lt: Buffer } {
  const gte = entryPrefix(processId, 0);
  const lt = entryPrefix(processId, 0);
  lt[ID_BYTES] = 2;
  return { gte, lt };
}

function entryPrefix(processId: Id, more: number): Buffer {
  const key = Buffer.alloc(ID_BYTES + 1 + more);
  writeId(key, processId, 0);
  key[ID_BYTES] = 1;
  return key;
}
