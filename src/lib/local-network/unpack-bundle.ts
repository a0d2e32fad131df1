import { isSuError } from '../errors.js';
import { parseDataItem } from '../protocol/data-item.js';
import { verifyDataItem } from '../protocol/signature-types.js';
import { asBuffer, toBase64Url } from '../protocol/ids.js';
import type { Tag } from '../protocol/tags.js';

/** An item inside a bundle: its place in the bundle's data. */
export interface InnerItem {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const WORD_BYTES = 32;
const ITEMS_MAX = 1_000;

/** True for what says of itself that it is a bundle (ANS-104 §2.4). */
export function isBundle(tags: readonly Tag[]): boolean {
  const has = (name: string, value: string): boolean =>
    tags.some((tag) => tag.name === name && tag.value === value);
  return has('Bundle-Format', 'binary') && has('Bundle-Version', '2.0.0');
}

/**
 * The items of a bundle's data that parse, carry the announced id and are signed, as a gateway indexes them. Data
 * that is no bundle holds none, and an item that is not sound is left out: neither makes the upload itself wrong.
 */
export async function unpackBundle(data: Uint8Array): Promise<readonly InnerItem[]> {
  const sound: InnerItem[] = [];
  for (const { offset, bytes, id } of placesOf(data)) {
    if (await isSound(bytes, id)) sound.push({ offset, bytes });
  }
  return sound;
}

/** The items of a bundle's data at their places, unchecked. */
function placesOf(data: Uint8Array): readonly (InnerItem & { readonly id: string })[] {
  const content = asBuffer(data);
  const count = readWord(content, 0);
  if (count === undefined || count > ITEMS_MAX) return [];
  const places: (InnerItem & { readonly id: string })[] = [];
  let offset = WORD_BYTES * (1 + 2 * count);
  for (let index = 0; index < count; index += 1) {
    const head = WORD_BYTES * (1 + 2 * index);
    const length = readWord(content, head);
    if (length === undefined || offset + length > content.length) return places;
    const id = toBase64Url(content.subarray(head + WORD_BYTES, head + 2 * WORD_BYTES));
    places.push({ offset, bytes: content.subarray(offset, offset + length), id });
    offset += length;
  }
  return places;
}

/** A 256-bit little-endian number, undefined when it is missing or larger than any bundle here. */
function readWord(content: Buffer, offset: number): number | undefined {
  if (offset + WORD_BYTES > content.length) return undefined;
  const rest = content.subarray(offset + 4, offset + WORD_BYTES);
  return rest.every((byte) => byte === 0) ? content.readUInt32LE(offset) : undefined;
}

async function isSound(bytes: Uint8Array, id: string): Promise<boolean> {
  try {
    const item = parseDataItem(bytes, 'posted');
    return item.id === id && (await verifyDataItem(item));
  } catch (error) {
    if (isSuError(error, 'invalid-data-item')) return false;
    throw error;
  }
}
