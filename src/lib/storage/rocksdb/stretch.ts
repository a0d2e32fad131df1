import { invariant } from '../../errors.js';
import { LentBuffer } from '../../lent-buffer.js';
import {
  edgeBytes,
  isEdgeOf,
  nodeOfEdge,
  writeEdge,
  type StoredEdge,
} from '../../protocol/edge.js';
import type { Id } from '../../protocol/ids.js';
import type { LogEntry } from '../../scheduler/ports.js';
import { BLOB_REF_BYTES, readBlobRef, writeBlobRef, type BlobRef } from './blob-files.js';
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
/** In its place in the database, a stretch is a reference to a blob; written by earlier versions it stands there itself. */
const IS_BLOB = 2;
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

/** Bytes of a stretch that nobody wants back. */
export function ownBytes(bytes: Buffer): LentBuffer {
  return new LentBuffer(bytes, undefined);
}

/** What stands in the database for a stretch whose bytes are a blob. */
export function encodeStretchRef(ref: BlobRef): Buffer {
  const value = Buffer.allocUnsafe(1 + BLOB_REF_BYTES);
  value[0] = IS_BLOB;
  writeBlobRef(value, ref, 1);
  return value;
}

/** The blob that a stored value stands for; undefined when it is the stretch itself. */
export function stretchRefOf(value: Buffer): BlobRef | undefined {
  return value[0] === IS_BLOB && value.length === 1 + BLOB_REF_BYTES
    ? readBlobRef(value, 1)
    : undefined;
}

/**
 * Reads what `encodeStretch` wrote for this place.
 *
 * @throws SuError `invariant` when it is not that
 */
export function decodeStretch(
  lent: LentBuffer,
  { epoch, nonce: first }: { readonly epoch: number; readonly nonce: number },
): Stretch {
  const value = lent.bytes;
  invariant(value.length >= FIXED_BYTES && value[0] === VERSION, 'a stored stretch is cut short');
  const isHere = readLong(value, 1) === epoch && readLong(value, 1 + LONG_BYTES) === first;
  invariant(isHere, 'a stored stretch is of another place');
  const nodes: StoredNode[] = [];
  let begin = FIXED_BYTES;
  for (let index = 0; index < STRETCH_ENTRIES; index += 1) {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    const end = value.readUInt32BE(at + 2 * LONG_BYTES);
    const nonce = first + index;
    const suffix = readLong(value, at);
    const timestamp = readLong(value, at + LONG_BYTES);
    const place = { epoch, nonce, suffix, timestamp };
    if (end === begin) {
      nodes.push({ ...place, json: undefined, isInStretch: false });
      continue;
    }
    const edge = { lent, begin, end };
    invariant(isEdgeOf(edge, nonce), 'a stored stretch has an edge that is none', place);
    nodes.push(new StretchedNode(place, edge));
    begin = end;
  }
  invariant(begin === value.length, 'a stored stretch ends where it says');
  return { first, nodes };
}

/** An entry of a stretch, as rows and as pages know it. Its JSON is a view that is only made for those who want it. */
export class StretchedNode implements StoredNode, LogEntry {
  readonly epoch: number;
  readonly nonce: number;
  readonly suffix: number;
  readonly timestamp: number;
  readonly edge: StoredEdge;
  readonly isInStretch = true;

  constructor(place: Omit<Placed, 'processId'>, edge: StoredEdge) {
    this.epoch = place.epoch;
    this.nonce = place.nonce;
    this.suffix = place.suffix;
    this.timestamp = place.timestamp;
    this.edge = edge;
  }

  get json(): Buffer {
    return nodeOfEdge(this.edge, this.nonce);
  }

  get node(): Buffer {
    return this.json;
  }
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
    const stretch = value && readableStretch(database, value, place);
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
function readableStretch(
  database: Database,
  value: Buffer,
  { epoch, nonce }: NodeOfLog,
): Stretch | undefined {
  try {
    const ref = stretchRefOf(value);
    const stretch = ref === undefined ? value : database.readBlob(ref);
    return decodeStretch(ownBytes(stretch), { epoch, nonce: firstOfStretch(nonce) });
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
