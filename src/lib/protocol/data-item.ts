import { hash } from 'node:crypto';
import { SuError, invariant } from '../errors.js';
import { idFromBytes, sha256, type Id } from './ids.js';
import { SIGNATURE_TYPES, isSignatureType, type SignatureType } from './signature-types.js';
import { decodeTags, encodeTags, type Limits, type Tag } from './tags.js';

/**
 * A signed ANS-104 unit. All bytes are views of `bytes`: nothing is copied, so whoever holds a part holds the
 * whole, and nobody may write into any of them.
 */
export interface DataItem {
  readonly bytes: Uint8Array;
  readonly signatureType: SignatureType;
  readonly signature: Uint8Array;
  readonly owner: Uint8Array;
  /** 32 bytes, or empty when absent. */
  readonly target: Uint8Array;
  /** 32 bytes, or empty when absent. */
  readonly anchor: Uint8Array;
  /** The tag bytes as they came: what is signed, stored and uploaded. */
  readonly rawTags: Uint8Array;
  readonly tags: readonly Tag[];
  readonly data: Uint8Array;
  /** The SHA-256 of the signature. */
  readonly id: Id;
}

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
    const end = this.#position + length;
    if (end > this.#bytes.length) {
      refuse(`its ${this.#bytes.length} bytes end within the ${what}`);
    }
    const view = this.#bytes.subarray(this.#position, end);
    this.#position = end;
    return view;
  }

  /** A presence byte and, when it says so, 32 bytes. */
  takeOptional(what: string): Uint8Array {
    const presence = this.take(1, `${what}'s presence byte`)[0];
    if (presence === 0) return EMPTY;
    if (presence !== 1) refuse(`the ${what}'s presence byte is ${presence}, not 0 or 1`);
    return this.take(REFERENCE_BYTES, what);
  }

  /** A little-endian number of 64 bits; nothing that fits in memory needs more than 32 of them. */
  takeLong(what: string): number {
    const bytes = this.take(LONG_BYTES, what);
    const view = new DataView(bytes.buffer, bytes.byteOffset, LONG_BYTES);
    if (view.getUint32(4, true) !== 0) refuse(`the ${what} exceeds what any item can hold`);
    return view.getUint32(0, true);
  }

  takeRest(): Uint8Array {
    return this.#bytes.subarray(this.#position);
  }
}

function takeSignatureType(reader: FieldReader): SignatureType {
  const [low = 0, high = 0] = reader.take(TYPE_BYTES, 'signature type');
  const signatureType = low + 256 * high;
  if (!isSignatureType(signatureType)) refuse(`signature type ${signatureType} is unknown`);
  return signatureType;
}

/**
 * Parses a data item (ANS-104 §2) without verifying its signature. Cheap and bounded on hostile bytes: it
 * copies nothing but the text of the tags, and follows no number further than the bytes reach.
 *
 * @param limits `posted` for what a client sent, `stored` for what a store or a gateway holds
 * @throws SuError `invalid-data-item`
 */
export function parseDataItem(bytes: Uint8Array, limits: Limits): DataItem {
  const reader = new FieldReader(bytes);
  const signatureType = takeSignatureType(reader);
  const { signatureBytes, ownerBytes } = SIGNATURE_TYPES[signatureType];
  const signature = reader.take(signatureBytes, 'signature');
  const owner = reader.take(ownerBytes, 'owner');
  const target = reader.takeOptional('target');
  const anchor = reader.takeOptional('anchor');
  const tagCount = reader.takeLong('tag count');
  const rawTags = reader.take(reader.takeLong('length of the tags'), 'tags');
  const tags = decodeTags(rawTags, tagCount, limits);
  const data = reader.takeRest();
  const id = signatureId(signature);
  return { bytes, signatureType, signature, owner, target, anchor, rawTags, tags, data, id };
}

/** One call for hash and text: a third of the time that two take, and every item of a page pays it. */
function signatureId(signature: Uint8Array): Id {
  return hash('sha256', signature, 'base64url') as Id;
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
  return encodeDataItem({ ...fields, signature: new Uint8Array(signatureBytes) }, data);
}

/** The address of the wallet that signed: the SHA-256 of its owner bytes, for every signature type. */
export function ownerAddress(item: { readonly owner: Uint8Array }): Id {
  return idFromBytes(sha256(item.owner));
}
