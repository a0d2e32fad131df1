import { encodeBundle } from '../../src/lib/protocol/bundle.js';
import type { DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink } from '../../src/lib/protocol/hash-chain.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { tagsOf } from './item-factory.js';

/** What an old wrapper says of its message; the rest is fixed. */
export interface OldPlace {
  readonly processId: Id;
  readonly nonce: number;
  readonly timestamp: number;
  /** base64url; the first link of the process when left out */
  readonly hashChain?: string;
}

/**
 * A bundle in the oldest form, of which no recording exists: the protocol tags stand on the wrapper, which is
 * the assignment, and the bundle holds the message alone.
 */
export function oldMessageBundle(item: DataItem, place: OldPlace): Uint8Array {
  const { processId, nonce, timestamp, hashChain = firstLink(processId) } = place;
  return encodeBundle({
    owner: new Uint8Array(512).fill(7),
    anchor: new Uint8Array(32).fill(0xff),
    tags: tagsOf(
      ['Bundle-Format', 'binary'],
      ['Bundle-Version', '2.0.0'],
      ['Process', processId],
      ['Message', item.id],
      ['Epoch', '0'],
      ['Nonce', String(nonce)],
      ['Hash-Chain', hashChain],
      ['Block-Height', '000001393008'],
      ['Timestamp', String(timestamp)],
    ),
    signature: new Uint8Array(512).fill(nonce + 1),
    items: [item],
  });
}
