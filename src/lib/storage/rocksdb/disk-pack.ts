import type { PreparedRows, StoredMessage } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import type { PackedPuts } from './disk-request.js';
import { drawDiskRow, joinPlaces, type RowPuts } from './disk-row-puts.js';
import { COLUMN_NAMES, messageKey, type ColumnName } from './keys.js';
import { encodePlaces, NODE_FIXED_BYTES, writeNodeHead, type Placed } from './rows.js';

/*
 * Rows on their way to the writer thread, ready to be put: a buffer of keys and values and a table of lengths, which is
 * handed over as it is. A thousand objects would have to be cloned, and the one writer thread would have to take apart and
 * render what many readers bring: then it was busy all the time, and nothing else made a migration faster.
 */

/** What stands in the table for the places of a message, which the writer joins with those that are stored. */
const MESSAGE_PLACES = COLUMN_NAMES.length;
const NUMBERS_A_PUT = 3;

/** Calls back for each put, in order; the bytes are views. */
export function readPacked(
  { bytes, lengths }: PackedPuts,
  into: {
    put(column: ColumnName, key: Uint8Array, value: Uint8Array): void;
    putMessagePlaces(key: Uint8Array, places: Uint8Array): void;
  },
): void {
  const { buffer } = bytes;
  let offset = bytes.byteOffset;
  for (let at = 0; at < lengths.length; at += NUMBERS_A_PUT) {
    const keyBytes = lengths[at + 1] ?? 0;
    const valueBytes = lengths[at + 2] ?? 0;
    const key = new Uint8Array(buffer, offset, keyBytes);
    const value = new Uint8Array(buffer, offset + keyBytes, valueBytes);
    offset += keyBytes + valueBytes;
    const column = COLUMN_NAMES[lengths[at] ?? 0];
    if (column === undefined) into.putMessagePlaces(key, value);
    else into.put(column, key, value);
  }
}

/** Rows that are packed one after the other. */
export class PackedRows implements PreparedRows {
  readonly #pack: Pack;

  /** @param memory as much as they will take, as far as it is known */
  constructor(memory: ArrayBuffer) {
    this.#pack = new Pack(memory);
  }

  add(row: StoredMessage): void {
    drawDiskRow(row, this.#pack);
  }

  /** What is to be handed over, once: its buffer belongs to the caller. */
  finish(): PackedPuts {
    return this.#pack.finish();
  }
}

/** A buffer that grows. */
class Pack implements RowPuts {
  readonly #places = new Map<Id, readonly Placed[]>();
  readonly #lengths: number[] = [];
  #bytes: Buffer<ArrayBuffer>;
  #size = 0;

  constructor(memory: ArrayBuffer) {
    this.#bytes = Buffer.from(memory);
  }

  put(column: ColumnName, key: Uint8Array, value: Uint8Array): void {
    this.#add(COLUMN_NAMES.indexOf(column), key, value);
  }

  putNode(key: Uint8Array, place: Placed, json: Uint8Array | undefined): void {
    const bytes = NODE_FIXED_BYTES + (json?.length ?? 0);
    this.#reserve(key.length + bytes);
    this.#bytes.set(key, this.#size);
    const begin = this.#size + key.length;
    const text = writeNodeHead(this.#bytes, { place, isStored: json !== undefined }, begin);
    if (json !== undefined) this.#bytes.set(json, text);
    this.#lengths.push(COLUMN_NAMES.indexOf('nodes'), key.length, bytes);
    this.#size = begin + bytes;
  }

  putMessagePlace(messageId: Id, place: Placed): void {
    const known = this.#places.get(messageId);
    this.#places.set(messageId, known === undefined ? [place] : joinPlaces(known, [place]));
  }

  finish(): PackedPuts {
    for (const [messageId, places] of this.#places) {
      this.#add(MESSAGE_PLACES, messageKey(messageId), encodePlaces(places));
    }
    return {
      bytes: this.#bytes.subarray(0, this.#size),
      lengths: Uint32Array.from(this.#lengths),
    };
  }

  #add(what: number, key: Uint8Array, value: Uint8Array): void {
    this.#reserve(key.length + value.length);
    this.#bytes.set(key, this.#size);
    this.#bytes.set(value, this.#size + key.length);
    this.#lengths.push(what, key.length, value.length);
    this.#size += key.length + value.length;
  }

  #reserve(more: number): void {
    const wanted = this.#size + more;
    if (wanted <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.ceil(1.25 * wanted));
    this.#bytes.copy(larger, 0, 0, this.#size);
    this.#bytes = larger;
  }
}
