import type { LentBuffer } from '../lent-buffer.js';

/*
 * How a page shows an entry: `,{"node":…,"cursor":"…"}`, with the comma that comes before all edges but the first. Stores that keep
 * entries for pages by nonce keep them like that, so that pages send stored bytes.
 */

/** An edge that a store keeps, from `begin` to `end` of bytes that may hold more. */
export interface StoredEdge {
  readonly lent: LentBuffer;
  readonly begin: number;
  readonly end: number;
}

/** What comes before the node. */
export const EDGE_HEAD = Buffer.from(',{"node":', 'latin1');

/** What comes behind the node. */
export function edgeTail(cursor: number): string {
  return `,"cursor":"${cursor}"}`;
}

/** Bytes of an edge. @param node its JSON */
export function edgeBytes(node: Uint8Array, cursor: number): number {
  return EDGE_HEAD.length + node.length + edgeTail(cursor).length;
}

/** Writes an edge at a place, where there must be room; returns where it ends. */
export function writeEdge(
  into: Buffer,
  { node, cursor }: { readonly node: Uint8Array; readonly cursor: number },
  start: number,
): number {
  into.set(EDGE_HEAD, start);
  into.set(node, start + EDGE_HEAD.length);
  const tail = start + EDGE_HEAD.length + node.length;
  return tail + into.write(edgeTail(cursor), tail, 'latin1');
}

const DIGIT_0 = 0x30;
const CURSOR_HEAD = Buffer.from(',"cursor":"', 'latin1');
const CURSOR_TAIL = Buffer.from('"}', 'latin1');

/** True when an edge begins and ends as the one of this cursor does. Read byte by byte: a page does it a thousand times. */
export function isEdgeOf({ lent, begin, end }: StoredEdge, cursor: number): boolean {
  const buffer = lent.bytes;
  let at = end - CURSOR_TAIL.length - 1;
  let rest = cursor;
  do {
    if (buffer[at] !== DIGIT_0 + (rest % 10)) return false;
    rest = Math.floor(rest / 10);
    at -= 1;
  } while (rest > 0);
  const headEnd = begin + EDGE_HEAD.length;
  const tailBegin = at + 1 - CURSOR_HEAD.length;
  return (
    headEnd <= tailBegin &&
    end <= buffer.length &&
    isAt(buffer, EDGE_HEAD, begin) &&
    isAt(buffer, CURSOR_HEAD, tailBegin) &&
    isAt(buffer, CURSOR_TAIL, end - CURSOR_TAIL.length)
  );
}

/** The node of an edge. */
export function nodeOfEdge({ lent, begin, end }: StoredEdge, cursor: number): Buffer {
  return lent.bytes.subarray(begin + EDGE_HEAD.length, end - edgeTail(cursor).length);
}

function isAt(buffer: Buffer, text: Buffer, begin: number): boolean {
  for (let at = 0; at < text.length; at += 1) {
    if (buffer[begin + at] !== text[at]) return false;
  }
  return true;
}
