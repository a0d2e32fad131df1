import { SuError } from '../errors.js';
import type { BundleForm } from '../protocol/bundle.js';
import { parseDataItem, type DataItem } from '../protocol/data-item.js';
import { asBuffer, toBase64Url } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';

/** A stored bundle, taken apart as far as its bytes allow; views of them. */
export interface TakenApart {
  readonly form: BundleForm;
  readonly wrapper: DataItem;
  readonly assignment: DataItem | undefined;
  /** The message or the process. */
  readonly item: DataItem | undefined;
  /** The ids that the bundle announces, undefined where the wrapper itself is the assignment. */
  readonly announced: {
    readonly assignment: string | undefined;
    readonly item: string | undefined;
  };
}

interface Inner {
  readonly item: DataItem;
  readonly announced: string;
}

const WORD_BYTES = 32;
const ITEMS_MAX = 2;

/**
 * Takes apart the bundle of a message or of a process, in every form that was ever stored, without comparing anything:
 * an announced id may differ from that of the bytes, which reading for clients refuses and an audit names.
 *
 * @throws SuError `invalid-data-item` when the structure is broken
 */
export function takeApart(bytes: Uint8Array, subject: 'message' | 'process'): TakenApart {
  const wrapper = parseDataItem(bytes, 'stored');
  const [first, second] = readInner(wrapper.data);
  const isOuter = subject === 'message' && findTag(wrapper.tags, 'Epoch') !== undefined;
  if (isOuter) {
    if (second !== undefined) refuse('its wrapper is an assignment, yet it holds two items');
    return {
      form: 'outer-assignment',
      wrapper,
      assignment: wrapper,
      item: first?.item,
      announced: { assignment: undefined, item: first?.announced },
    };
  }
  if (subject === 'process' && second === undefined) {
    return {
      form: 'process-alone',
      wrapper,
      assignment: undefined,
      item: first?.item,
      announced: { assignment: undefined, item: first?.announced },
    };
  }
  return {
    form: second === undefined ? 'assignment-only' : 'inner-assignment',
    wrapper,
    assignment: first?.item,
    item: second?.item,
    announced: { assignment: first?.announced, item: second?.announced },
  };
}

function readInner(data: Uint8Array): readonly Inner[] {
  const content = asBuffer(data);
  if (content.length < WORD_BYTES) refuse('the item count is missing');
  const count = readWord(content, 0);
  if (count === 0 || count > ITEMS_MAX) refuse(`it does not hold between 1 and ${ITEMS_MAX} items`);
  let head = WORD_BYTES;
  let body = WORD_BYTES * (1 + 2 * count);
  if (content.length < body) refuse(`the lengths of its ${count} items are cut short`);
  const inner: Inner[] = [];
  for (; inner.length < count; head += 2 * WORD_BYTES) {
    const length = readWord(content, head);
    if (length > content.length - body) refuse('an item is longer than what is left of it');
    const item = parseDataItem(content.subarray(body, body + length), 'stored');
    inner.push({
      item,
      announced: toBase64Url(content.subarray(head + WORD_BYTES, head + 2 * WORD_BYTES)),
    });
    body += length;
  }
  if (body !== content.length) refuse(`${content.length - body} bytes follow its items`);
  return inner;
}

/** A 256-bit number; beyond what a bundle can hold it is infinite. */
function readWord(content: Buffer, offset: number): number {
  for (let index = offset + 4; index < offset + WORD_BYTES; index += 4) {
    if (content.readUInt32LE(index) !== 0) return Number.POSITIVE_INFINITY;
  }
  return content.readUInt32LE(offset);
}

function refuse(reason: string): never {
  throw new SuError('invalid-data-item', `the bytes are not a stored bundle: ${reason}`);
}
