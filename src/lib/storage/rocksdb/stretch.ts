import { invariant } from '../../errors.js';
import { EDGE_HEAD, edgeBytes, edgeTail, writeEdge } from '../../protocol/edge.js';
import type { Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import { LONG_BYTES, readLong, stretchKey, writeLong } from './keys.js';
import type { Placed, StoredNode } from './rows.js';

/*
 * A stretch: the JSON of 32 entries of one log as one value, because a page of 1000 values of 4 KB costs as much as everything
 * else about it. They stand there as the edges of a page by nonce, which are sent as they are. Entries are first stored one by one;
 * the one that completes a stretch moves the JSON of all into it, in the same batch (node-draft.ts).
 *
 * Promises:
 * - stretches begin at the nonces 1, 33, 65 and so on, since 0 is mostly the process's own, and hold the JSON of all entries of
 *   32 nonces, of which each has one; whatever breaks that takes the stretch away;
 * - an entry whose JSON is too large to be stored has its place in the stretch and no edge: it is rendered, as it is without one;
 * - an entry's own row stays, without the JSON, and its bundle is small when the stretch has its JSON: without the stretch
 *   every entry can be rendered, so losing one costs time and nothing else;
 * - what came before stretches, and stores without them, are read as before.
 */

/** Entries of a stretch. */
export const STRETCH_ENTRIES = 32;
/** Longer ones are not made, so that a piece of a range stays small. */
export const STRETCH_BYTES_MAX = 1024 * 1024;

const VERSION = 1;
const HEAD_BYTES = 1 + 2 * LONG_BYTES;
/** Suffix, timestamp, end of the edge. */
const ENTRY_BYTES = 2 * LONG_BYTES + 4;
const FIXED_BYTES = HEAD_BYTES + STRETCH_ENTRIES * ENTRY_BYTES;

/** A stretch as it is read. */
export interface Stretch {
  /** The nonce of its first entry. */
  readonly first: number;
  /** In order; their JSON are views of the value, undefined for those that are rendered. */
  readonly nodes: readonly StoredNode[];
}

/** The nonce at which the stretch of an entry begins; nonce 0 is in none. */
export function firstOfStretch(nonce: number): number {
  return nonce === 0 ? 0 : nonce - ((nonce - 1) % STRETCH_ENTRIES);
}

/** What goes into a stretch of one entry. */
export interface StretchEntry {
  readonly place: Placed;
  /** Undefined: it is rendered at each read. */
  readonly json: Uint8Array | undefined;
}

/**
 * A stretch as it is stored; undefined when it would be too long, or hold no JSON at all.
 *
 * @param entries all of one stretch, in order
 */
export function encodeStretch(entries: readonly StretchEntry[]): Buffer | undefined {
  const [begin] = entries;
  invariant(
    begin !== undefined && entries.length === STRETCH_ENTRIES,
    'a stretch has all its entries',
  );
  const size = entries.reduce(
    (sum, { place, json }) => sum + (json === undefined ? 0 : edgeBytes(json, place.nonce)),
    FIXED_BYTES,
  );
  if (size === FIXED_BYTES || size > STRETCH_BYTES_MAX) return undefined;
  const value = Buffer.allocUnsafe(size);
  value[0] = VERSION;
  writeLong(value, begin.place.nonce, writeLong(value, begin.place.epoch, 1));
  let end = FIXED_BYTES;
  for (const [index, { place, json }] of entries.entries()) {
    if (json !== undefined) end = writeEdge(value, { node: json, cursor: place.nonce }, end);
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    value.writeUInt32BE(end, writeLong(value, place.timestamp, writeLong(value, place.suffix, at)));
  }
  return value;
}

/**
 * Reads what `encodeStretch` wrote for this place.
 *
 * @throws SuError `invariant` when it is not that
 */
export function decodeStretch(
  value: Buffer,
  { epoch, nonce: first }: { readonly epoch: number; readonly nonce: number },
): Stretch {
  invariant(value.length >= FIXED_BYTES && value[0] === VERSION, 'a stored stretch is cut short');
  const isHere = readLong(value, 1) === epoch && readLong(value, 1 + LONG_BYTES) === first;
  invariant(isHere, 'a stored stretch is of another place');
  let begin = FIXED_BYTES;
  const nodes = Array.from({ length: STRETCH_ENTRIES }, (_, index) => {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    const end = value.readUInt32BE(at + 2 * LONG_BYTES);
    const nonce = first + index;
    const suffix = readLong(value, at);
    const timestamp = readLong(value, at + LONG_BYTES);
    if (end === begin) {
      return { epoch, nonce, suffix, timestamp, json: undefined, isInStretch: false };
    }
    const json = jsonBetween(value, { begin, end, nonce });
    const edge = value.subarray(begin, end);
    begin = end;
    return { epoch, nonce, suffix, timestamp, json, edge, isInStretch: true };
  });
  invariant(begin === value.length, 'a stored stretch ends where it says');
  return { first, nodes };
}

/** The JSON in an edge of which it is checked that it is the one of this nonce. */
function jsonBetween(
  value: Buffer,
  { begin, end, nonce }: { readonly begin: number; readonly end: number; readonly nonce: number },
): Buffer {
  const tail = edgeTail(nonce);
  const jsonBegin = begin + EDGE_HEAD.length;
  const jsonEnd = end - tail.length;
  const isEdge =
    jsonBegin <= jsonEnd &&
    end <= value.length &&
    EDGE_HEAD.compare(value, begin, jsonBegin) === 0 &&
    value.toString('latin1', jsonEnd, end) === tail;
  invariant(isEdge, 'a stored stretch has an edge that is none', { nonce });
  return value.subarray(jsonBegin, jsonEnd);
}

interface NodeOfLog extends StoredNode {
  readonly processId: Id;
}

/**
 * The entries with the JSON that a page shows of them, for those who compare it with what is stored: that of the stretch, where there
 * is one, even when the entry's own row says otherwise. An entry that a stretch in its place does not hold is shown as nothing;
 * one that says it is in a stretch which is gone, or damaged, has no JSON and is rendered.
 *
 * @throws SuError `store-unavailable`
 */
export function withStretched(
  database: Database,
  nodes: readonly (NodeOfLog | undefined)[],
): readonly (NodeOfLog | undefined)[] {
  const places = new Map<string, NodeOfLog>();
  for (const node of nodes) if (node !== undefined) places.set(stretchNameOf(node), node);
  const values = database.readMany('nodes', [...places.values()].map(stretchKeyOf));
  const stretches = new Map<string, Stretch>();
  for (const [index, [name, place]] of [...places].entries()) {
    const value = values[index];
    const stretch = value && readableStretch(value, place);
    if (stretch !== undefined) stretches.set(name, stretch);
  }
  return nodes.map((node) => {
    if (node === undefined) return undefined;
    const stretch = stretches.get(stretchNameOf(node));
    if (stretch === undefined) return node;
    const held = stretch.nodes[node.nonce - stretch.first];
    return { ...node, json: held?.suffix === node.suffix ? held.json : Buffer.alloc(0) };
  });
}

/** The stretch of an entry's place; undefined when it is damaged, as its readers find too. */
function readableStretch(value: Buffer, { epoch, nonce }: NodeOfLog): Stretch | undefined {
  try {
    return decodeStretch(value, { epoch, nonce: firstOfStretch(nonce) });
  } catch {
    return undefined;
  }
}

function stretchKeyOf(node: NodeOfLog): Buffer {
  return stretchKey({ ...node, nonce: firstOfStretch(node.nonce) });
}

function stretchNameOf({ processId, epoch, nonce }: NodeOfLog): string {
  return `${processId} ${epoch} ${firstOfStretch(nonce)}`;
}
