/*
 * How a page shows an entry: `,{"node":…,"cursor":"…"}`, with the comma that comes before all edges but the first. Stores that keep
 * entries for pages by nonce keep them like that, so that pages send stored bytes.
 */

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
