import { parseDataItem } from '../protocol/data-item.js';
import type { Id } from '../protocol/ids.js';
import { toBase64Url } from '../protocol/ids.js';
import type { Limits, Tag } from '../protocol/tags.js';

/** A data item or a transaction without its data. */
export interface Described {
  readonly id: Id;
  readonly owner: Uint8Array;
  /** base64url; empty when absent */
  readonly recipient: string;
  /** base64url; empty when absent */
  readonly anchor: string;
  readonly signature: Uint8Array;
  readonly tags: readonly Tag[];
  /** Where the data begins in the stored bytes. */
  readonly dataOffset: number;
}

/** The largest head of a data item within the limits of what is posted: 2 + 2052 + 1025 + 66 + 16 + 4096 bytes. */
export const ITEM_PREFIX_BYTES = 8_192;

/**
 * The description of a data item, from its first bytes.
 *
 * @throws SuError `invalid-data-item`
 */
export function describeItem(prefix: Uint8Array, limits: Limits): Described {
  const item = parseDataItem(prefix, limits);
  return {
    id: item.id,
    owner: item.owner,
    recipient: toBase64Url(item.target),
    anchor: toBase64Url(item.anchor),
    signature: item.signature,
    tags: item.tags,
    dataOffset: prefix.byteLength - item.data.byteLength,
  };
}
