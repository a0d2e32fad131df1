import { hash, webcrypto } from 'node:crypto';
import { encodeTags, type Tag } from './tags.js';

/** Bytes, or a list of bytes and lists: what a deep hash is taken over. */
export type DeepHashChunk = Uint8Array | readonly DeepHashChunk[];

/** The parts of a data item that its signature covers. Absent target and anchor are empty. */
export interface SignedFields {
  readonly signatureType: number;
  readonly owner: Uint8Array;
  readonly target: Uint8Array;
  readonly anchor: Uint8Array;
  readonly rawTags: Uint8Array;
  readonly data: Uint8Array;
}

/** What decides whether two messages are the same one for de-duplication. */
export interface DeduplicatedFields {
  readonly target: Uint8Array;
  readonly anchor: Uint8Array;
  readonly tags: readonly Tag[];
  readonly data: Uint8Array;
}

/** The two deep hashes under which a message may already be known. */
export interface DeduplicationHashes {
  /** What is stored with a new message. */
  readonly sorted: Uint8Array;
  /** With the tags in their own order, as hashes were made before the tags were sorted. */
  readonly unsorted: Uint8Array;
}

/** Data of this many bytes or more is hashed on the thread pool. */
export const HASHED_APART_BYTES_MIN = 65_536;

const PUSHED_FOR = 'Pushed-For';

const EMPTY = new Uint8Array(0);

function sha384(bytes: Uint8Array): Buffer {
  return hash('sha384', bytes, 'buffer');
}

const HASH_BYTES = 48;

/** Two hashes side by side; filled and hashed without a pause, so one is enough. */
const PAIR = Buffer.alloc(2 * HASH_BYTES);

function sha384OfPair(first: Uint8Array, second: Uint8Array): Buffer {
  PAIR.set(first, 0);
  PAIR.set(second, HASH_BYTES);
  return sha384(PAIR);
}

/** Of this many bytes and more a blob's tag is hashed each time: shorter ones have few lengths and come again and again. */
const BLOB_TAGS_KEPT = 4096;
const blobTags: (Buffer | undefined)[] = Array.from({ length: BLOB_TAGS_KEPT });

function hashBlobTag(byteLength: number): Buffer {
  const hashTag = (): Buffer => sha384(Buffer.from(`blob${byteLength}`, 'latin1'));
  return byteLength < BLOB_TAGS_KEPT ? (blobTags[byteLength] ??= hashTag()) : hashTag();
}

/** The hash of a blob whose content hash is known. */
function taggedBlob(byteLength: number, contentHash: Uint8Array): Buffer {
  return sha384OfPair(hashBlobTag(byteLength), contentHash);
}

function hashListTag(count: number): Buffer {
  return sha384(Buffer.from(`list${count}`, 'latin1'));
}

/** The hash of a list whose parts' hashes are known. */
function taggedList(partHashes: readonly Uint8Array[]): Buffer {
  return partHashes.reduce<Buffer>(sha384OfPair, hashListTag(partHashes.length));
}

/**
 * The deep hash of Arweave: a tree of SHA-384 in which every blob is tagged with its length and every list
 * with its count, so that no two different trees have the same bytes under the hash (ANS-104 §3.1,
 * arweave-js `deepHash`). Synchronous: meant for small inputs.
 */
export function deepHash(chunk: DeepHashChunk): Uint8Array {
  if (chunk instanceof Uint8Array) return taggedBlob(chunk.length, sha384(chunk));
  return taggedList(chunk.map(deepHash));
}

/** Parts of the signed list: `dataitem`, `1`, signature type, owner, target, anchor, tags, data. */
const SIGNED_PARTS = 8;
const SIGNED_LIST_START = [Buffer.from('dataitem'), Buffer.from('1')]
  .map(deepHash)
  .reduce<Buffer>(sha384OfPair, hashListTag(SIGNED_PARTS));

/** By signature type, of which a parsed item has one of a few: the hash of the list up to and with it. */
const signedListStarts = new Map<number, Buffer>();

function startSignedList(signatureType: number): Buffer {
  const known = signedListStarts.get(signatureType);
  if (known !== undefined) return known;
  const type = Buffer.from(String(signatureType), 'latin1');
  const start = sha384OfPair(SIGNED_LIST_START, deepHash(type));
  signedListStarts.set(signatureType, start);
  return start;
}

/** The hash of the whole signed list, given the deep hash of the data, its last part. */
function signedList(fields: Omit<SignedFields, 'data'>, dataHash: Uint8Array): Buffer {
  const { owner, target, anchor, rawTags } = fields;
  const rest = [deepHash(owner), deepHash(target), deepHash(anchor), deepHash(rawTags), dataHash];
  return rest.reduce<Buffer>(sha384OfPair, startSignedList(fields.signatureType));
}

/** The hash of a blob, on the thread pool. */
async function deepHashApart(data: Uint8Array): Promise<Uint8Array> {
  return taggedBlob(data.length, new Uint8Array(await webcrypto.subtle.digest('SHA-384', data)));
}

/**
 * The 48 bytes that the owner of a data item signs (ANS-104 §3.1). Synchronous, whatever the size of the
 * data: for items that we make ourselves, which have none or little.
 */
export function signatureMessageSync(fields: SignedFields): Uint8Array {
  return signedList(fields, deepHash(fields.data));
}

/**
 * The 48 bytes that the owner of a data item signs (ANS-104 §3.1). Large data is hashed on the thread pool
 * and then the answer is a promise; for the rest that detour costs more than the hash.
 */
export function signatureMessage(fields: SignedFields): Promise<Uint8Array> | Uint8Array {
  if (fields.data.length < HASHED_APART_BYTES_MIN) return signatureMessageSync(fields);
  return deepHashApart(fields.data).then((dataHash) => signedList(fields, dataHash));
}

/** By the bytes of the name, then of the value: UTF-16 order, which JavaScript compares by, differs from it. */
function byNameThenValue(one: Tag, other: Tag): number {
  return (
    Buffer.compare(Buffer.from(one.name), Buffer.from(other.name)) ||
    Buffer.compare(Buffer.from(one.value), Buffer.from(other.value))
  );
}

/** Tags that were all left out leave an empty Avro array, the byte 00; no tags from the start are no bytes. */
function encodeKept(kept: readonly Tag[], all: readonly Tag[]): Uint8Array {
  return kept.length === 0 && all.length > 0 ? Uint8Array.of(0) : encodeTags(kept);
}

/**
 * The deep hashes under which a message counts as a copy of an earlier one: the signed list with signature
 * type 1, no owner, and without the tags `Pushed-For`, which differ between copies of one message that were
 * pushed along several ways. Large data is hashed on the thread pool, once for both.
 */
export async function deepHashForDeduplication(
  fields: DeduplicatedFields,
): Promise<DeduplicationHashes> {
  const large = fields.data.length >= HASHED_APART_BYTES_MIN;
  const dataHash = large ? await deepHashApart(fields.data) : deepHash(fields.data);
  const kept = fields.tags.filter((tag) => tag.name !== PUSHED_FOR);
  const hashWith = (tags: readonly Tag[]): Uint8Array => {
    const rawTags = encodeKept(tags, fields.tags);
    return signedList({ ...fields, signatureType: 1, owner: EMPTY, rawTags }, dataHash);
  };
  return { sorted: hashWith(kept.toSorted(byNameThenValue)), unsorted: hashWith(kept) };
}
