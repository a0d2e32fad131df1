import { toBase64Url } from './ids.js';

/** Texts are parts of buffers of this size: one of its own for each would take longer than copying it. */
const SLAB_BYTES = 65_536;
/** With less room left, the next text begins a buffer. */
const ROOM_BYTES_MIN = 8192;
/** Text is escaped in pieces: most have nothing to escape and are copied whole, and room for the worst is wanted for one only. */
const PIECE_BYTES = 512;
/** JSON of a control character, of one byte, has six. */
const GROWTH_MAX = 6;
/** Shorter ones are copied faster here than by a call into the engine. */
const LOOPED_BYTES_MAX = 32;

const BACKSLASH = 0x5c;
const LETTER_U = 0x75;
const ZERO = 0x30;
const HEX_DIGITS = Buffer.from('0123456789abcdef', 'latin1');

/**
 * By byte: what stands for it, and above that whether a backslash comes first. As JSON.stringify escapes. One table without
 * branches, which in JSON within JSON nobody could predict.
 */
const ESCAPED = 0x100;
const CONTROL = 0x200;
const ESCAPES = escapeTable();

function escapeTable(): Uint16Array {
  const table = Uint16Array.from({ length: 256 }, (_, byte) =>
    byte < 0x20 ? ESCAPED + CONTROL + LETTER_U : byte,
  );
  for (const [text, letter] of ['\bb', '\tt', '\nn', '\ff', '\rr', '""', '\\\\']) {
    table[text?.charCodeAt(0) as number] = ESCAPED + (letter?.charCodeAt(0) as number);
  }
  return table;
}

/**
 * Collects the UTF-8 of JSON texts. Nothing may be awaited between `begin` and taking what was written.
 */
export class JsonWriter {
  #out = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** What lies before belongs to those who took it. */
  #begin = 0;
  #end = 0;

  /** Forgets what was written and not taken, by somebody who failed on the way. */
  begin(): this {
    if (this.#out.length - this.#begin < ROOM_BYTES_MIN) {
      this.#out = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#begin = 0;
    }
    this.#end = this.#begin;
    return this;
  }

  /** Bytes that are JSON already. */
  fragment(bytes: Uint8Array): this {
    const { length } = bytes;
    const out = this.#reserve(length);
    if (length > LOOPED_BYTES_MAX) {
      out.set(bytes, this.#end);
    } else {
      const end = this.#end;
      for (let at = 0; at < length; at += 1) out[end + at] = bytes[at] as number;
    }
    this.#end += length;
    return this;
  }

  /** ASCII text that is JSON already. */
  ascii(text: string): this {
    const out = this.#reserve(text.length);
    this.#end += out.write(text, this.#end, 'latin1');
    return this;
  }

  base64Url(bytes: Uint8Array): this {
    return this.ascii(toBase64Url(bytes));
  }

  /** A text, escaped but without its quotes: the bytes of `utf8`, which must be UTF-8, from `start` to `end`. */
  escaped(utf8: Uint8Array, start: number, end: number): this {
    for (let from = start; from < end; from += PIECE_BYTES) {
      this.#escape(utf8, from, Math.min(end, from + PIECE_BYTES));
    }
    return this;
  }

  /** What was written, as bytes that nobody writes into again. They may be part of a buffer of 64 KiB. */
  takeBytes(): Buffer {
    const bytes = this.#out.subarray(this.#begin, this.#end);
    this.#begin = this.#end;
    return bytes;
  }

  /** What was written, as text. */
  takeText(): string {
    const text = this.#out.toString('utf8', this.#begin, this.#end);
    this.#end = this.#begin;
    // What a large text needed is given back.
    if (this.#out.length > SLAB_BYTES) this.#begin = this.#out.length;
    return text;
  }

  #escape(utf8: Uint8Array, start: number, end: number): void {
    if (end - start > LOOPED_BYTES_MAX && isPlain(utf8, start, end)) {
      this.fragment(utf8.subarray(start, end));
      return;
    }
    const out = this.#reserve(GROWTH_MAX * (end - start));
    let to = this.#end;
    for (let at = start; at < end; at += 1) {
      const byte = utf8[at] as number;
      const shown = ESCAPES[byte] as number;
      out[to] = BACKSLASH;
      to += (shown >> 8) & 1;
      out[to] = shown;
      to += 1;
      if (shown < CONTROL) continue;
      out[to] = ZERO;
      out[to + 1] = ZERO;
      out[to + 2] = HEX_DIGITS[byte >> 4] as number;
      out[to + 3] = HEX_DIGITS[byte & 15] as number;
      to += 4;
    }
    this.#end = to;
  }

  /** The buffer, with room for so many more bytes. */
  #reserve(more: number): Buffer {
    if (this.#end + more > this.#out.length) {
      const written = this.#out.subarray(this.#begin, this.#end);
      this.#out = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, 2 * (written.length + more)));
      this.#out.set(written);
      this.#begin = 0;
      this.#end = written.length;
    }
    return this.#out;
  }
}

/** True when nothing in these bytes is escaped. Four at a time: a third of the time of one by one. */
function isPlain(utf8: Uint8Array, start: number, end: number): boolean {
  let at = start;
  for (; at + 3 < end; at += 4) {
    const any =
      (ESCAPES[utf8[at] as number] as number) |
      (ESCAPES[utf8[at + 1] as number] as number) |
      (ESCAPES[utf8[at + 2] as number] as number) |
      (ESCAPES[utf8[at + 3] as number] as number);
    if (any >= ESCAPED) return false;
  }
  for (; at < end; at += 1) if ((ESCAPES[utf8[at] as number] as number) >= ESCAPED) return false;
  return true;
}
