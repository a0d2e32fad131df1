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
