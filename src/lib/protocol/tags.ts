import { SuError } from '../errors.js';

/** A name and a value on a data item. Names may repeat; order matters. */
export interface Tag {
  readonly name: string;
  readonly value: string;
}

/**
 * Whose limits hold: `posted` for what a client sends us, `stored` for what comes out of a store or from a
 * gateway, which may be older than the limits and gets the structural checks only.
 */
export type Limits = 'posted' | 'stored';

export const TAGS_MAX = 128;
export const TAG_BYTES_MAX = 4096;
export const TAG_NAME_BYTES_MAX = 1024;
export const TAG_VALUE_BYTES_MAX = 3072;

/** A zig-zag varint of 64 bits has at most ten bytes. */
const VARINT_BYTES_MAX = 10;

/** Two empty strings: no record is shorter, which bounds what a block may claim to hold. */
const RECORD_BYTES_MIN = 2;

/** `ignoreBOM` keeps a leading U+FEFF, which is part of the text; without it decoding would lose it. */
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What the decoder refuses. */
function refuse(reason: string): never {
  throw new SuError('invalid-data-item', `the tags of the data item are malformed: ${reason}`);
}

/**
 * Reads the Avro primitives that tags are made of. The position never passes the end: each read checks first, so
 * no length or count in the bytes can make it run or allocate more than the bytes themselves allow.
 */
class TagReader {
  readonly #bytes: Uint8Array;
  readonly #isPosted: boolean;
  #position = 0;

  constructor(bytes: Uint8Array, limits: Limits) {
    this.#bytes = bytes;
    this.#isPosted = limits === 'posted';
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  /**
   * One `long`. Beyond 2^53 the value is approximate, which is harmless: every caller refuses numbers larger
   * than the bytes that are left.
   */
  readLong(): number {
    let unsigned = 0;
    let weight = 1;
    for (let read = 0; read < VARINT_BYTES_MAX; read += 1) {
      const byte = this.#bytes[this.#position];
      if (byte === undefined) refuse('they end within a number');
      this.#position += 1;
      unsigned += (byte & 0x7f) * weight;
      if (byte < 0x80) return unsigned % 2 === 0 ? unsigned / 2 : -(unsigned + 1) / 2;
      weight *= 128;
    }
    return refuse('a number has more than ten bytes');
  }

  /** One record. */
  readTag(): Tag {
    const name = this.#readText('name', TAG_NAME_BYTES_MAX);
    if (this.#isPosted && name === '') refuse('a tag has an empty name');
    return { name, value: this.#readText('value', TAG_VALUE_BYTES_MAX) };
  }

  /** One length-prefixed UTF-8 text; `postedBytesMax` is its limit in what is posted. */
  #readText(what: 'name' | 'value', postedBytesMax: number): string {
    const length = this.readLong();
    if (length < 0) refuse(`a ${what} has a negative length`);
    if (length > this.remaining) refuse(`a ${what} is longer than the tag bytes`);
    if (this.#isPosted && length > postedBytesMax) {
      refuse(`a ${what} has ${length} bytes, at most ${postedBytesMax} are allowed`);
    }
    const start = this.#position;
    this.#position += length;
    try {
      return utf8.decode(this.#bytes.subarray(start, this.#position));
    } catch {
      return refuse(`a ${what} is not UTF-8`);
    }
  }
}

/**
 * The records of one block. A negative count announces the block's size in bytes, which must then be true.
 * Returns false at the block that ends the array.
 */
function readBlock(reader: TagReader, into: Tag[], declaredCount: number): boolean {
  const announced = reader.readLong();
  if (announced === 0) return false;
  const count = Math.abs(announced);
  const size = announced < 0 ? reader.readLong() : undefined;
  if (count > reader.remaining / RECORD_BYTES_MIN)
    refuse('a block claims more tags than fit in it');
  if (into.length + count > declaredCount) {
    refuse(`there are more tags than the ${declaredCount} declared`);
  }
  const start = reader.position;
  for (let index = 0; index < count; index += 1) into.push(reader.readTag());
  if (size !== undefined && reader.position - start !== size) refuse('a block has a wrong size');
  return true;
}

/**
 * Decodes the tag bytes of a data item: an Avro array of records {name: string, value: string}, in one block or
 * several, with or without block sizes (ANS-104 §2.1, Avro 1.8 "Arrays"). Time and memory are bounded by
 * the bytes, whatever numbers they contain; the bytes are not yet authenticated when this runs.
 *
 * @param declaredCount the number of tags that the data item states before its tag bytes
 * @throws SuError `invalid-data-item`
 */
export function decodeTags(raw: Uint8Array, declaredCount: number, limits: Limits): readonly Tag[] {
  if (limits === 'posted') {
    if (declaredCount > TAGS_MAX) refuse(`${declaredCount} tags, at most ${TAGS_MAX} are allowed`);
    if (raw.length > TAG_BYTES_MAX) {
      refuse(`${raw.length} tag bytes, at most ${TAG_BYTES_MAX} are allowed`);
    }
  }
  // No tags at all are no bytes; an empty Avro array, the single byte 00, is the other legal form.
  if (raw.length === 0) {
    if (declaredCount !== 0) refuse(`${declaredCount} tags are declared and none are there`);
    return [];
  }
  const reader = new TagReader(raw, limits);
  const tags: Tag[] = [];
  while (readBlock(reader, tags, declaredCount));
  if (reader.remaining !== 0) refuse(`${reader.remaining} bytes follow their end`);
  if (tags.length !== declaredCount) {
    refuse(`there are ${tags.length} tags where ${declaredCount} are declared`);
  }
  return tags;
}

/** Bytes that the varint of a non-negative number takes. */
function longBytes(value: number): number {
  let bytes = 1;
  for (let rest = value * 2; rest >= 128; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Writes the zig-zag varint of a non-negative number and returns the position behind it. */
function writeLong(into: Buffer, position: number, value: number): number {
  let rest = value * 2;
  let next = position;
  for (; rest >= 128; rest = Math.floor(rest / 128)) {
    into[next] = (rest % 128) | 0x80;
    next += 1;
  }
  into[next] = rest;
  return next + 1;
}

/**
 * Tags as an Avro array in the form that every library of the field writes: one block with a positive count,
 * and no bytes at all for no tags. The limits are not checked here; a lone surrogate becomes U+FFFD.
 */
export function encodeTags(tags: readonly Tag[]): Uint8Array {
  if (tags.length === 0) return new Uint8Array(0);
  const texts = tags
    .flatMap(({ name, value }) => [name, value])
    .map((text) => ({ text, length: Buffer.byteLength(text) }));
  let size = longBytes(tags.length) + 1;
  for (const { length } of texts) size += longBytes(length) + length;
  const bytes = Buffer.allocUnsafe(size);
  let position = writeLong(bytes, 0, tags.length);
  for (const { text, length } of texts) {
    position = writeLong(bytes, position, length);
    position += bytes.write(text, position, 'utf8');
  }
  bytes[position] = 0;
  return bytes;
}

/** The value of the first tag that has one of these names, exactly as spelled; undefined without one. */
export function findTag(tags: readonly Tag[], ...names: readonly string[]): string | undefined {
  return tags.find((tag) => names.includes(tag.name))?.value;
}
