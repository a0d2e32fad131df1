import { SuError, invariant } from '../errors.js';
import { formatBlockHeight, parseDecimal } from './assignment.js';
import { encodeDataItem, parseDataItem, type DataItem } from './data-item.js';
import { signatureMessage } from './deep-hash.js';
import { asBuffer, idFromBytes, idToBytes, quoteBounded } from './ids.js';
import { findTag, type Tag } from './tags.js';

/** What a bundle of the SU is made of. */
export interface NewBundle {
  /** The RSA modulus of the SU's wallet, 512 bytes. */
  readonly owner: Uint8Array;
  /** 32 random bytes. */
  readonly anchor: Uint8Array;
  /** All tags of the wrapper; without them the two that say it is a bundle. */
  readonly tags?: readonly Tag[];
  /** 512 bytes; without it 512 zeros, which say that the wrapper was never signed. */
  readonly signature?: Uint8Array;
  /** What is inside, in order. */
  readonly items: readonly DataItem[];
}

/**
 * How a stored bundle says which item has which place: the assignment is inside, before its message or its
 * process; or the wrapper itself is the assignment (the oldest messages); or it is inside alone, for a transaction
 * that is stored elsewhere; or there is none (a process that takes no nonce).
 */
export type BundleForm =
  'inner-assignment' | 'outer-assignment' | 'assignment-only' | 'process-alone';

/** A stored bundle, taken apart. All bytes are views of the bundle's. */
export interface StoredBundle {
  readonly form: BundleForm;
  readonly wrapper: DataItem;
  readonly assignment: DataItem | undefined;
  /** The message or the process. */
  readonly item: DataItem | undefined;
}

/** When a process without an assignment was spawned. */
export interface SpawnPlace {
  readonly blockHeight: number;
  /** Milliseconds. */
  readonly timestamp: number;
}

const BUNDLE_TAGS: readonly Tag[] = [
  { name: 'Bundle-Format', value: 'binary' },
  { name: 'Bundle-Version', value: '2.0.0' },
];

/** A 256-bit little-endian number, and the size of an id. */
const WORD_BYTES = 32;
const SIGNATURE_BYTES = 512;
const SIGNATURE_OFFSET = 2;
/** No stored entry has more: an assignment and what it places. */
const ITEMS_MAX = 2;
const UNSIGNED = new Uint8Array(SIGNATURE_BYTES);

/** The wrapper's tags for a process without an assignment: they hold what its assignment would. */
export function processWrapperTags(blockHeight: number, timestamp: number): readonly Tag[] {
  return [
    ...BUNDLE_TAGS,
    { name: 'Block-Height', value: formatBlockHeight(blockHeight) },
    { name: 'Timestamp', value: String(timestamp) },
  ];
}

/** The content of a bundle (ANS-104 "Bundle format"): count, a length and an id for each item, the items. */
function encodeItems(items: readonly DataItem[]): Uint8Array {
  const headBytes = WORD_BYTES * (1 + 2 * items.length);
  const size = items.reduce((sum, item) => sum + item.bytes.length, headBytes);
  const content = Buffer.alloc(size);
  content.writeUInt32LE(items.length, 0);
  let head = WORD_BYTES;
  let body = headBytes;
  for (const item of items) {
    content.writeUInt32LE(item.bytes.length, head);
    content.set(idToBytes(item.id), head + WORD_BYTES);
    content.set(item.bytes, body);
    head += 2 * WORD_BYTES;
    body += item.bytes.length;
  }
  return content;
}

/**
 * The SU's wrapper around an entry's items: what storage keeps of the entry.
 *
 * @throws SuError `invariant` when signature, owner or anchor have a wrong length
 */
export function encodeBundle(bundle: NewBundle): Uint8Array {
  const { owner, anchor, tags = BUNDLE_TAGS, signature = UNSIGNED, items } = bundle;
  invariant(items.length > 0 && items.length <= ITEMS_MAX, 'a bundle holds one item or two');
  return encodeDataItem({ signatureType: 1, signature, owner, anchor, tags }, encodeItems(items));
}

/** What the SU's wallet signs to publish a wrapper, 48 bytes; `wrapper` is what `encodeBundle` made. */
export async function bundleSignatureMessage(wrapper: Uint8Array): Promise<Uint8Array> {
  return signatureMessage(parseDataItem(wrapper, 'stored'));
}

/**
 * A copy of the wrapper with this signature.
 *
 * @throws SuError `invariant` when the signature does not have 512 bytes
 */
export function sealBundle(wrapper: Uint8Array, signature: Uint8Array): Uint8Array {
  invariant(signature.length === SIGNATURE_BYTES, `a seal has ${SIGNATURE_BYTES} bytes`);
  const sealed = Buffer.from(wrapper);
  sealed.set(signature, SIGNATURE_OFFSET);
  return sealed;
}

function refuse(reason: string): never {
  throw new SuError('invalid-data-item', `the bytes are not a stored bundle: ${reason}`);
}

/** A 256-bit number that is at most `max`, which is below 2^32. */
function readWord(content: Buffer, offset: number, max: number): number {
  const value = content.readUInt32LE(offset);
  let rest = 0;
  for (let index = offset + 4; index < offset + WORD_BYTES; index += 4) {
    rest |= content.readUInt32LE(index);
  }
  return rest === 0 && value <= max ? value : Number.POSITIVE_INFINITY;
}

/** The items of a bundle's content. Nothing may be missing, follow, or carry another id than the one announced. */
function parseItems(data: Uint8Array): DataItem[] {
  const content = asBuffer(data);
  if (content.length < WORD_BYTES) refuse('the item count is missing');
  const count = readWord(content, 0, ITEMS_MAX);
  if (count === 0 || count > ITEMS_MAX) refuse(`it does not hold between 1 and ${ITEMS_MAX} items`);
  let head = WORD_BYTES;
  let body = WORD_BYTES * (1 + 2 * count);
  if (content.length < body) refuse(`the lengths of its ${count} items are cut short`);
  const items: DataItem[] = [];
  for (; items.length < count; head += 2 * WORD_BYTES) {
    const length = readWord(content, head, content.length - body);
    if (length > content.length - body) refuse('an item is longer than what is left of it');
    const item = parseDataItem(content.subarray(body, body + length), 'stored');
    const announced = idFromBytes(content.subarray(head + WORD_BYTES, head + 2 * WORD_BYTES));
    if (item.id !== announced) refuse(`item ${item.id} is announced as ${announced}`);
    items.push(item);
    body += length;
  }
  if (body !== content.length) refuse(`${content.length - body} bytes follow its items`);
  return items;
}

/**
 * Takes apart a bundle of the log: a message with its assignment, or the assignment of a transaction that is
 * stored elsewhere. A wrapper with a tag `Epoch` is itself the assignment of the one message that it holds: so all
 * messages were stored before the assignment moved inside.
 *
 * @throws SuError `invalid-data-item`
 */
export function parseMessageBundle(bytes: Uint8Array): StoredBundle {
  const wrapper = parseDataItem(bytes, 'stored');
  const [first, second] = parseItems(wrapper.data);
  if (findTag(wrapper.tags, 'Epoch') !== undefined) {
    if (second !== undefined) refuse('its wrapper is an assignment, yet it holds two items');
    return { form: 'outer-assignment', wrapper, assignment: wrapper, item: first };
  }
  const form = second === undefined ? 'assignment-only' : 'inner-assignment';
  return { form, wrapper, assignment: first, item: second };
}

/**
 * Takes apart the bundle of a process: with its assignment, or alone.
 *
 * @throws SuError `invalid-data-item`
 */
export function parseProcessBundle(bytes: Uint8Array): StoredBundle {
  const wrapper = parseDataItem(bytes, 'stored');
  const [first, second] = parseItems(wrapper.data);
  return second === undefined
    ? { form: 'process-alone', wrapper, assignment: undefined, item: first }
    : { form: 'inner-assignment', wrapper, assignment: first, item: second };
}

/**
 * When a process was spawned: its assignment says so, or without one the wrapper.
 *
 * @throws SuError `invalid-data-item` when neither says it
 */
export function readSpawnPlace(bundle: StoredBundle): SpawnPlace {
  const { tags } = bundle.assignment ?? bundle.wrapper;
  const read = (name: string): number => {
    const text = findTag(tags, name) ?? refuse(`the process's ${name} is missing`);
    return parseDecimal(text) ?? refuse(`the process's ${name} is ${quoteBounded(text)}`);
  };
  return { blockHeight: read('Block-Height'), timestamp: read('Timestamp') };
}
