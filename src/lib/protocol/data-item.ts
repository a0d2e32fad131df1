import { SuError, invariant } from '../errors.js';
import { sha256Id, type Id } from './ids.js';
import { SIGNATURE_TYPES, isSignatureType, type SignatureType } from './signature-types.js';
import { checkTags, decodeTags, encodeTags, type Limits, type Tag } from './tags.js';

/** What a data item is made of, before or after it is signed. */
export interface UnsignedFields {
  readonly signatureType: SignatureType;
  readonly owner: Uint8Array;
  /** 32 bytes; empty or undefined: absent */
  readonly target?: Uint8Array | undefined;
  /** 32 bytes; empty or undefined: absent */
  readonly anchor?: Uint8Array | undefined;
  readonly tags: readonly Tag[];
  /** In place of the usual encoding of `tags`, which it must be another spelling of. */
  readonly rawTags?: Uint8Array | undefined;
}

/** The parts of a data item with its signature. */
export interface DataItemFields extends UnsignedFields {
  readonly signature: Uint8Array;
}

const TYPE_BYTES = 2;
const REFERENCE_BYTES = 32;
const LONG_BYTES = 8;
const EMPTY = new Uint8Array(0);

function refuse(reason: string): never {
  throw new SuError('invalid-data-item', `the body is not a data item: ${reason}`);
}

/** Walks over the fixed fields of a data item and checks the end before each. */
class FieldReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  take(length: number, what: string): Uint8Array {
    const start = this.#pass(length, what);
    return this.#bytes.subarray(start, start + length);
  }

  /** A presence byte and, when it says so, 32 bytes. */
  takeOptional(what: string): Uint8Array {
    const presence = this.#byte(this.#pass(1, `${what}'s presence byte`));
    if (presence === 0) return EMPTY;
    if (presence !== 1) refuse(`the ${what}'s presence byte is ${presence}, not 0 or 1`);
    return this.take(REFERENCE_BYTES, what);
  }

  /** A little-endian number of 64 bits; nothing that fits in memory needs more than 32 of them. */
  takeLong(what: string): number {
    const start = this.#pass(LONG_BYTES, what);
    if (this.#readWord(start + 4) !== 0) refuse(`the ${what} exceeds what any item can hold`);
    return this.#readWord(start);
  }

  takeSignatureType(): SignatureType {
    const start = this.#pass(TYPE_BYTES, 'signature type');
    const signatureType = this.#byte(start) + 256 * this.#byte(start + 1);
    if (!isSignatureType(signatureType)) refuse(`signature type ${signatureType} is unknown`);
    return signatureType;
  }

  takeRest(): Uint8Array {
    return this.#bytes.subarray(this.#position);
  }

  /** Passes over so many bytes and returns where they begin. */
  #pass(length: number, what: string): number {
    const start = this.#position;
    if (start + length > this.#bytes.length) {
      refuse(`its ${this.#bytes.length} bytes end within the ${what}`);
    }
    this.#position = start + length;
    return start;
  }

  #readWord(start: number): number {
    const low = this.#byte(start) + 256 * this.#byte(start + 1);
    return low + 65_536 * (this.#byte(start + 2) + 256 * this.#byte(start + 3));
  }

  /** A byte that was passed, so it is there. */
  #byte(at: number): number {
    return this.#bytes[at] as number;
  }
}

/**
 * A signed ANS-104 unit, made only by `parseDataItem`. All bytes are views of `bytes`: nothing is copied, so whoever holds a
 * part holds the whole, and nobody may write into any of them. Tags and id are made when they are asked for: of a page's
 * thousand wrappers nobody wants either. They are not copied by `...`.
 */
export class DataItem {
  readonly bytes: Uint8Array;
  readonly signatureType: SignatureType;
  readonly signature: Uint8Array;
  readonly owner: Uint8Array;
  /** 32 bytes, or empty when absent. */
  readonly target: Uint8Array;
  /** 32 bytes, or empty when absent. */
  readonly anchor: Uint8Array;
  readonly tagCount: number;
  /** The tag bytes as they came: what is signed, stored and uploaded. */
  readonly rawTags: Uint8Array;
  readonly data: Uint8Array;
  #tags: readonly Tag[] | undefined;
  #id: Id | undefined;

  constructor(bytes: Uint8Array, limits: Limits) {
    const reader = new FieldReader(bytes);
    this.bytes = bytes;
    this.signatureType = reader.takeSignatureType();
    const { signatureBytes, ownerBytes } = SIGNATURE_TYPES[this.signatureType];
    this.signature = reader.take(signatureBytes, 'signature');
    this.owner = reader.take(ownerBytes, 'owner');
    this.target = reader.takeOptional('target');
    this.anchor = reader.takeOptional('anchor');
    this.tagCount = reader.takeLong('tag count');
    this.rawTags = reader.take(reader.takeLong('length of the tags'), 'tags');
    // What is posted is judged by its tags; what is stored is mostly passed on.
    if (limits === 'posted') this.#tags = decodeTags(this.rawTags, this.tagCount, limits);
    else checkTags(this.rawTags, this.tagCount, limits);
    this.data = reader.takeRest();
  }

  get tags(): readonly Tag[] {
    return (this.#tags ??= decodeTags(this.rawTags, this.tagCount, 'stored'));
  }

  /** The SHA-256 of the signature. */
  get id(): Id {
    return (this.#id ??= sha256Id(this.signature));
  }
}

/**
 * Parses a data item (ANS-104 §2) without verifying its signature. Cheap and bounded on hostile bytes: it
 * copies nothing but the text of the tags, and follows no number further than the bytes reach.
 *
 * @param limits `posted` for what a client sent, `stored` for what a store or a gateway holds
 * @throws SuError `invalid-data-item`
 */
export function parseDataItem(bytes: Uint8Array, limits: Limits): DataItem {
  return new DataItem(bytes, limits);
}

/** Writes a presence byte and the 32 bytes when there are any; returns the position behind them. */
function writeOptional(into: Buffer, position: number, value: Uint8Array): number {
  into[position] = value.length === 0 ? 0 : 1;
  into.set(value, position + 1);
  return position + 1 + value.length;
}

/**
 * The bytes of a data item (ANS-104 §2).
 *
 * @throws SuError `invariant` when a part has a length that its signature type does not allow
 */
export function encodeDataItem(fields: DataItemFields, data: Uint8Array = EMPTY): Uint8Array {
  const { signatureType, signature, owner, target = EMPTY, anchor = EMPTY, tags } = fields;
  const { name, signatureBytes, ownerBytes } = SIGNATURE_TYPES[signatureType];
  invariant(
    signature.length === signatureBytes,
    `a signature of ${name} has ${signatureBytes} bytes`,
  );
  invariant(owner.length === ownerBytes, `an owner of ${name} has ${ownerBytes} bytes`);
  for (const part of [target, anchor]) {
    const allowed = part.length === 0 || part.length === REFERENCE_BYTES;
    invariant(allowed, `a target or an anchor has ${REFERENCE_BYTES} bytes or none`);
  }
  const rawTags = fields.rawTags ?? encodeTags(tags);
  const headBytes = TYPE_BYTES + signatureBytes + ownerBytes + 2 + 2 * LONG_BYTES;
  const size = headBytes + target.length + anchor.length + rawTags.length + data.length;
  const bytes = Buffer.allocUnsafe(size);
  let position = bytes.writeUInt16LE(signatureType, 0);
  bytes.set(signature, position);
  bytes.set(owner, position + signatureBytes);
  position = writeOptional(bytes, position + signatureBytes + ownerBytes, target);
  position = writeOptional(bytes, position, anchor);
  position = bytes.writeBigUInt64LE(BigInt(tags.length), position);
  position = bytes.writeBigUInt64LE(BigInt(rawTags.length), position);
  bytes.set(rawTags, position);
  bytes.set(data, position + rawTags.length);
  return bytes;
}

/**
 * The bytes of a data item that is not signed yet: zeros where the signature goes.
 *
 * @throws SuError `invariant` when a part has a length that its signature type does not allow
 */
export function encodeUnsigned(fields: UnsignedFields, data: Uint8Array = EMPTY): Uint8Array {
  const { signatureBytes } = SIGNATURE_TYPES[fields.signatureType];
  const { signatureType, owner, target, anchor, tags, rawTags } = fields;
  const signature = new Uint8Array(signatureBytes);
  return encodeDataItem({ signatureType, signature, owner, target, anchor, tags, rawTags }, data);
}

/** The address of the wallet that signed: the SHA-256 of its owner bytes, for every signature type. */
export function ownerAddress(item: { readonly owner: Uint8Array }): Id {
  return sha256Id(item.owner);
}
