import { invariant } from '../../errors.js';
import { EDGE_HEAD, edgeTail } from '../../protocol/edge.js';
import type { Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import { readLong, stretchKey, writeLong } from './keys.js';
import type { Placed, StoredNode } from './rows.js';

/*
 * A stretch: the JSON of 32 entries of one log as one value, because a page of 1000 values of 4 KB costs as much as everything
 * else about it. They stand there as the edges of a page by nonce, which are sent as they are. Entries are first stored one by one; the one that completes a stretch moves the JSON of all into it, in the
 * same batch (node-draft.ts).
 *
 * Promises:
 * - stretches begin at the nonces 1, 33, 65 and so on, since 0 is mostly the process's own, and hold the JSON of all entries of
 *   32 nonces, of which each has one; whatever breaks that takes the stretch away;
 * - an entry's own row stays, without the JSON, and its bundle is small: without the stretch every entry can be rendered, so
 *   losing one costs time and nothing else;
 * - what came before stretches, and stores without them, are read as before.
 */

/** Entries of a stretch. */
export const STRETCH_ENTRIES = 32;
/** Longer ones are not made, so that a piece of a range stays small. */
export const STRETCH_BYTES_MAX = 1024 * 1024;

const VERSION = 1;
const LONG_BYTES = 8;
const HEAD_BYTES = 1 + 2 * LONG_BYTES;
/** Suffix, timestamp, end of the edge. */
const ENTRY_BYTES = 2 * LONG_BYTES + 4;
const FIXED_BYTES = HEAD_BYTES + STRETCH_ENTRIES * ENTRY_BYTES;

/** A stretch as it is read. */
export interface Stretch {
  readonly epoch: number;
  /** The nonce of its first entry. */
  readonly first: number;
  /** In order; their JSON are views of the value. */
  readonly nodes: readonly StoredNode[];
}

/** The nonce at which the stretch of an entry begins; nonce 0 is in none. */
export function firstOfStretch(nonce: number): number {
  return nonce === 0 ? 0 : nonce - ((nonce - 1) % STRETCH_ENTRIES);
}

/** What goes into a stretch of one entry. */
export interface StretchEntry {
  readonly place: Placed;
  readonly json: Uint8Array;
}

/** A stretch as it is stored; undefined when it would be too long. @param entries all of one stretch, in order */
export function encodeStretch(entries: readonly StretchEntry[]): Buffer | undefined {
  const [begin] = entries;
  invariant(
    begin !== undefined && entries.length === STRETCH_ENTRIES,
    'a stretch has all its entries',
  );
  const tails = entries.map(({ place }) => edgeTail(place.nonce));
  const size = entries.reduce(
    (sum, { json }, index) => sum + EDGE_HEAD.length + json.length + (tails[index]?.length ?? 0),
    FIXED_BYTES,
  );
  if (size > STRETCH_BYTES_MAX) return undefined;
  const value = Buffer.allocUnsafe(size);
  value[0] = VERSION;
  writeLong(value, begin.place.nonce, writeLong(value, begin.place.epoch, 1));
  let end = FIXED_BYTES;
  for (const [index, { place, json }] of entries.entries()) {
    value.set(EDGE_HEAD, end);
    value.set(json, end + EDGE_HEAD.length);
    end += EDGE_HEAD.length + json.length;
    end += value.write(tails[index] ?? '', end, 'latin1');
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    value.writeUInt32BE(end, writeLong(value, place.timestamp, writeLong(value, place.suffix, at)));
  }
  return value;
}

/** Reads what `encodeStretch` wrote. */
export function decodeStretch(value: Buffer): Stretch {
  invariant(value.length >= FIXED_BYTES && value[0] === VERSION, 'a stored stretch is cut short');
  const epoch = readLong(value, 1);
  const first = readLong(value, 1 + LONG_BYTES);
  let begin = FIXED_BYTES;
  const nodes = Array.from({ length: STRETCH_ENTRIES }, (_, index) => {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    const end = value.readUInt32BE(at + 2 * LONG_BYTES);
    const edge = value.subarray(begin, end);
    begin = end;
    const nonce = first + index;
    return {
      epoch,
      nonce,
      suffix: readLong(value, at),
      timestamp: readLong(value, at + LONG_BYTES),
      json: edge.subarray(EDGE_HEAD.length, edge.length - edgeTail(nonce).length),
      edge,
      isInStretch: true,
    };
  });
  invariant(begin === value.length, 'a stored stretch ends where it says');
  return { epoch, first, nodes };
}

interface NodeOfLog extends StoredNode {
  readonly processId: Id;
}

/**
 * The entries with the JSON that stretches have of them: for those who compare what is shown with what is stored. An entry whose
 * stretch is gone has none.
 *
 * @throws SuError `store-unavailable`
 */
export function withStretched(
  database: Database,
  nodes: readonly (NodeOfLog | undefined)[],
): readonly (NodeOfLog | undefined)[] {
  const stretches = new Map<string, NodeOfLog>();
  for (const node of nodes) {
    if (node?.isInStretch === true) stretches.set(stretchNameOf(node), node);
  }
  if (stretches.size === 0) return nodes;
  const values = database.readMany('nodes', [...stretches.values()].map(stretchKeyOf));
  const texts = new Map<string, Buffer | undefined>();
  for (const [index, name] of [...stretches.keys()].entries()) {
    const value = values[index];
    for (const { nonce, suffix, json } of value === undefined ? [] : decodeStretch(value).nodes) {
      texts.set(`${name} ${nonce} ${suffix}`, json);
    }
  }
  return nodes.map((node) =>
    node?.isInStretch === true
      ? { ...node, json: texts.get(`${stretchNameOf(node)} ${node.nonce} ${node.suffix}`) }
      : node,
  );
}

function stretchKeyOf(node: NodeOfLog): Buffer {
  return stretchKey({ ...node, nonce: firstOfStretch(node.nonce) });
}

function stretchNameOf({ processId, epoch, nonce }: NodeOfLog): string {
  return `${processId} ${epoch} ${firstOfStretch(nonce)}`;
}
