import { SuError, invariant } from '../errors.js';
import { encodeDataItem, parseDataItem, type DataItem } from './data-item.js';
import { signatureMessageSync } from './deep-hash.js';
import { isId, quoteBounded, type Id } from './ids.js';
import { TAGS_MAX, TAG_BYTES_MAX, TAG_VALUE_BYTES_MAX, encodeTags, type Tag } from './tags.js';

/** Where an entry stands in the log of its process. */
export interface Place {
  readonly processId: Id;
  readonly epoch: number;
  readonly nonce: number;
  /** base64url */
  readonly hashChain: string;
  readonly blockHeight: number;
  /** Milliseconds. */
  readonly timestamp: number;
}

/** What an assignment states. */
export interface AssignmentFields extends Place {
  /** The message or transaction that has the place; undefined: the process itself. */
  readonly messageId: Id | undefined;
  /** The parts that an evaluating unit is asked to leave out, in order. */
  readonly exclude: readonly string[];
}

/** What a new assignment is made of. */
export interface NewAssignment extends AssignmentFields {
  /** The RSA modulus of the wallet that will sign, 512 bytes. */
  readonly owner: Uint8Array;
  /** 32 random bytes. */
  readonly anchor: Uint8Array;
}

/** An assignment that lacks only its signature. */
export interface AssignmentDraft {
  /** What the wallet signs, 48 bytes. */
  readonly signatureMessage: Uint8Array;
  readonly owner: Uint8Array;
  readonly anchor: Uint8Array;
  readonly tags: readonly Tag[];
  readonly rawTags: Uint8Array;
}

const ANCHOR_BYTES = 32;
const BLOCK_HEIGHT_DIGITS = 12;
const EMPTY = new Uint8Array(0);

/** Sixteen digits reach beyond 2^53, where numbers are no longer exact, so the value is checked too. */
const DECIMAL_PATTERN = /^[0-9]{1,16}$/;

/** The number that a tag of decimal digits states; undefined when it is anything else or beyond 2^53. */
export function parseDecimal(text: string): number | undefined {
  if (!DECIMAL_PATTERN.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A block height as the wire has it: twelve decimal digits. */
export function formatBlockHeight(blockHeight: number): string {
  return String(blockHeight).padStart(BLOCK_HEIGHT_DIGITS, '0');
}

/** The values of the comma-separated `exclude` of a request: order kept, nothing trimmed, empty parts dropped. */
export function splitExclude(query: string | undefined): readonly string[] {
  return query === undefined ? [] : query.split(',').filter((part) => part !== '');
}

function assignmentTags(fields: AssignmentFields): readonly Tag[] {
  const tags = [
    { name: 'Process', value: fields.processId },
    { name: 'Epoch', value: String(fields.epoch) },
    { name: 'Nonce', value: String(fields.nonce) },
    { name: 'Hash-Chain', value: fields.hashChain },
    { name: 'Block-Height', value: formatBlockHeight(fields.blockHeight) },
    { name: 'Timestamp', value: String(fields.timestamp) },
    { name: 'Data-Protocol', value: 'ao' },
    { name: 'Type', value: 'Assignment' },
    { name: 'Variant', value: 'ao.TN.1' },
  ];
  if (fields.messageId !== undefined) tags.push({ name: 'Message', value: fields.messageId });
  for (const value of fields.exclude) tags.push({ name: 'Exclude', value });
  return tags;
}

/** Only `exclude` has no bound of its own, so whatever is too much came from there. */
function checkLimits(tags: readonly Tag[], rawTags: Uint8Array): void {
  if (tags.length > TAGS_MAX) {
    const most = TAGS_MAX - (tags.length - tags.filter(({ name }) => name === 'Exclude').length);
    throw new SuError('invalid-request', `exclude has too many values: at most ${most} fit`);
  }
  const long = tags.find(({ value }) => Buffer.byteLength(value) > TAG_VALUE_BYTES_MAX);
  if (long !== undefined) {
    const bytes = Buffer.byteLength(long.value);
    throw new SuError(
      'invalid-request',
      `a value of exclude has ${bytes} bytes, at most ${TAG_VALUE_BYTES_MAX} are allowed`,
    );
  }
  if (rawTags.length > TAG_BYTES_MAX) {
    throw new SuError(
      'invalid-request',
      `exclude is too long: the assignment would have ${rawTags.length} tag bytes, at most ${TAG_BYTES_MAX} are allowed`,
    );
  }
}

/**
 * The assignment that gives an entry its place, ready to be signed: tags in the order that all assignments
 * since `ao.TN.1` have, no target, no data. Synchronous and small, because it runs between two signatures of one process.
 *
 * @throws SuError `invalid-request` when `exclude` makes it exceed the limits that we set for posted tags
 */
export function draftAssignment(assignment: NewAssignment): AssignmentDraft {
  const { owner, anchor, epoch, nonce, blockHeight, timestamp } = assignment;
  for (const [name, value] of Object.entries({ epoch, nonce, blockHeight, timestamp })) {
    invariant(Number.isSafeInteger(value) && value >= 0, `${name} is ${value}, not a whole number`);
  }
  invariant(anchor.length === ANCHOR_BYTES, `an assignment's anchor has ${ANCHOR_BYTES} bytes`);
  const tags = assignmentTags(assignment);
  const rawTags = encodeTags(tags);
  checkLimits(tags, rawTags);
  const signatureMessage = signatureMessageSync({
    signatureType: 1,
    owner,
    target: EMPTY,
    anchor,
    rawTags,
    data: EMPTY,
  });
  return { signatureMessage, owner, anchor, tags, rawTags };
}

/**
 * The signed assignment as a data item.
 *
 * @param signature of the draft's `signatureMessage`, 512 bytes
 * @throws SuError `invariant` when signature or owner do not have the length of an RSA-4096 key
 */
export function sealAssignment(draft: AssignmentDraft, signature: Uint8Array): DataItem {
  const { owner, anchor, tags, rawTags } = draft;
  const bytes = encodeDataItem({ signatureType: 1, signature, owner, anchor, tags, rawTags });
  return parseDataItem(bytes, 'posted');
}

function refuse(item: DataItem, reason: string): never {
  throw new SuError('invalid-data-item', `${item.id} is not an assignment: ${reason}`);
}

/** The first tag of each name, which is the one that counts, and every `Exclude`. */
function firstValues(tags: readonly Tag[]): { values: Map<string, string>; exclude: string[] } {
  const values = new Map<string, string>();
  const exclude: string[] = [];
  for (const { name, value } of tags) {
    if (name === 'Exclude') exclude.push(value);
    else if (!values.has(name)) values.set(name, value);
  }
  return { values, exclude };
}

/**
 * What a stored assignment states. Reads every form since the first: tags in any order, with or without the
 * protocol tags, and a bundle's outer item that served as the assignment.
 *
 * @throws SuError `invalid-data-item` when it is no assignment or a tag has no sensible value
 */
export function readAssignment(item: DataItem): AssignmentFields {
  const { values, exclude } = firstValues(item.tags);
  const readText = (name: string): string =>
    values.get(name) ?? refuse(item, `it has no tag ${name}`);
  const readId = (name: string): Id => {
    const text = readText(name);
    return isId(text) ? text : refuse(item, `its ${name} is ${quoteBounded(text)}`);
  };
  const readNumber = (name: string): number => {
    const text = readText(name);
    return parseDecimal(text) ?? refuse(item, `its ${name} is ${quoteBounded(text)}`);
  };
  return {
    processId: readId('Process'),
    epoch: readNumber('Epoch'),
    nonce: readNumber('Nonce'),
    // A link of the chain is a SHA-256, so it has the shape of an id.
    hashChain: readId('Hash-Chain'),
    blockHeight: readNumber('Block-Height'),
    timestamp: readNumber('Timestamp'),
    messageId: values.has('Message') ? readId('Message') : undefined,
    exclude,
  };
}
