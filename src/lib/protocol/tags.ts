import { isAscii, isUtf8 } from 'node:buffer';
import { SuError } from '../errors.js';
import { asBuffer } from './ids.js';

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

/** What the decoder refuses. */
function refuse(reason: string): never {
  throw new SuError('invalid-data-item', `the tags of the data item are malformed: ${reason}`);
}

/**
 * Walks over the tags of a data item and checks them: an Avro array of records {name: string, value: string}, in one block or
 * several, with or without block sizes (ANS-104 §2.1, Avro 1.8 "Arrays"). It makes no text: where a tag lies is all that
 * checking and rendering want to know. Time and memory are bounded by the bytes, whatever numbers they contain: the position
 * never passes the end, since each read checks first. The bytes are not yet authenticated when this runs.
 */
export class TagCursor {
  /** Where the tag that `next` found lies in the bytes. */
  nameStart = 0;
  nameEnd = 0;
  valueStart = 0;
  valueEnd = 0;
  /** Without a byte above 7F there is no text that is not UTF-8. */
  readonly isAscii: boolean;
  readonly #bytes: Uint8Array;
  readonly #declaredCount: number;
  readonly #isPosted: boolean;
  #position = 0;
  #count = 0;
  #blockLeft = 0;
  /** Where the block must end; undefined when it does not say. */
  #blockEnd: number | undefined;

  /**
   * @param declaredCount the number of tags that the data item states before its tag bytes
   * @throws SuError `invalid-data-item` beyond the limits
   */
  constructor(raw: Uint8Array, declaredCount: number, limits: Limits) {
    this.#bytes = raw;
    this.#declaredCount = declaredCount;
    this.#isPosted = limits === 'posted';
    this.isAscii = isAscii(raw);
    if (!this.#isPosted) return;
    if (declaredCount > TAGS_MAX) refuse(`${declaredCount} tags, at most ${TAGS_MAX} are allowed`);
    if (raw.length > TAG_BYTES_MAX) {
      refuse(`${raw.length} tag bytes, at most ${TAG_BYTES_MAX} are allowed`);
    }
  }

  /**
   * Finds the next tag; false behind the last one, when all that the bytes say has proved true.
   *
   * @throws SuError `invalid-data-item`
   */
  next(): boolean {
    if (this.#blockLeft === 0 && !this.#openBlock()) return false;
    this.#findText('name', TAG_NAME_BYTES_MAX);
    this.nameStart = this.valueStart;
    this.nameEnd = this.valueEnd;
    if (this.#isPosted && this.nameStart === this.nameEnd) refuse('a tag has an empty name');
    this.#findText('value', TAG_VALUE_BYTES_MAX);
    this.#blockLeft -= 1;
    if (
      this.#blockLeft === 0 &&
      this.#blockEnd !== undefined &&
      this.#position !== this.#blockEnd
    ) {
      refuse('a block has a wrong size');
    }
    return true;
  }

  /**
   * Reads what a block begins with. A negative count announces the block's size in bytes, which must then be true.
   * Returns false at the block that ends the array.
   */
  #openBlock(): boolean {
    // No tags at all are no bytes; an empty Avro array, the single byte 00, is the other legal form.
    if (this.#bytes.length === 0) {
      if (this.#declaredCount !== 0) {
        refuse(`${this.#declaredCount} tags are declared and none are there`);
      }
      return false;
    }
    const announced = this.#readLong();
    if (announced === 0) {
      this.#checkEnd();
      return false;
    }
    const count = Math.abs(announced);
    const size = announced < 0 ? this.#readLong() : undefined;
    if (count > (this.#bytes.length - this.#position) / RECORD_BYTES_MIN) {
      refuse('a block claims more tags than fit in it');
    }
    this.#count += count;
    if (this.#count > this.#declaredCount) {
      refuse(`there are more tags than the ${this.#declaredCount} declared`);
    }
    this.#blockLeft = count;
    this.#blockEnd = size === undefined ? undefined : this.#position + size;
    return true;
  }

  #checkEnd(): void {
    const remaining = this.#bytes.length - this.#position;
    if (remaining !== 0) refuse(`${remaining} bytes follow their end`);
    if (this.#count !== this.#declaredCount) {
      refuse(`there are ${this.#count} tags where ${this.#declaredCount} are declared`);
    }
  }

  /**
   * One `long`. Beyond 2^53 the value is approximate, which is harmless: every caller refuses numbers larger
   * than the bytes that are left.
   */
  #readLong(): number {
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

  /** One length-prefixed UTF-8 text, which becomes the value; `postedBytesMax` is its limit in what is posted. */
  #findText(what: 'name' | 'value', postedBytesMax: number): void {
    const length = this.#readLong();
    if (length < 0) refuse(`a ${what} has a negative length`);
    if (length > this.#bytes.length - this.#position) {
      refuse(`a ${what} is longer than the tag bytes`);
    }
    if (this.#isPosted && length > postedBytesMax) {
      refuse(`a ${what} has ${length} bytes, at most ${postedBytesMax} are allowed`);
    }
    const start = this.#position;
    const end = start + length;
    if (!this.isAscii && !isTextUtf8(this.#bytes, start, end)) refuse(`a ${what} is not UTF-8`);
    this.#position = end;
    this.valueStart = start;
    this.valueEnd = end;
  }
}

/** Most texts are ASCII, which is seen here faster than a view of one is made for `isUtf8`. */
function isTextUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    if ((bytes[at] as number) >= 0x80) return isUtf8(bytes.subarray(start, end));
  }
  return true;
}

/**
 * Checks the tag bytes of a data item as `decodeTags` does, and makes nothing of them.
 *
 * @throws SuError `invalid-data-item`
 */
export function checkTags(raw: Uint8Array, declaredCount: number, limits: Limits): void {
  const cursor = new TagCursor(raw, declaredCount, limits);
  while (cursor.next());
}

/**
 * Decodes the tag bytes of a data item, as strictly as `TagCursor` says.
 *
 * @param declaredCount the number of tags that the data item states before its tag bytes
 * @throws SuError `invalid-data-item`
 */
export function decodeTags(raw: Uint8Array, declaredCount: number, limits: Limits): readonly Tag[] {
  const cursor = new TagCursor(raw, declaredCount, limits);
  const bytes = asBuffer(raw);
  // Texts of their own, not parts of one long text, which each of them would keep in memory.
  const encoding = cursor.isAscii ? 'latin1' : 'utf8';
  const tags: Tag[] = [];
  while (cursor.next()) {
    const name = bytes.toString(encoding, cursor.nameStart, cursor.nameEnd);
    const value = bytes.toString(encoding, cursor.valueStart, cursor.valueEnd);
    tags.push({ name, value });
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
