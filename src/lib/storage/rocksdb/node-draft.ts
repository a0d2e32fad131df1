import type { Id } from '../../protocol/ids.js';
import type { BatchPuts } from './batch-puts.js';
import type { BlobWriter } from './blob-writer.js';
import type { Database } from './database.js';
import { entryFloor, entryKey, stretchKey } from './keys.js';
import { decodeNode, encodeNode, encodeStretchedNode, type Placed } from './rows.js';
import {
  encodeStretch,
  encodeStretchRef,
  firstOfStretch,
  STRETCH_ENTRIES,
  type StretchEntry,
} from './stretch.js';

/** What a batch writes of the entries of one stretch. */
interface Piece {
  readonly processId: Id;
  readonly epoch: number;
  readonly first: number;
  readonly entries: StretchEntry[];
  /** All entries go to the end of their log: no stretch can hold their places yet. */
  isAtHead: boolean;
}

/**
 * The entries that one batch writes into the column `nodes`, and the stretches that they complete. Nothing of it is in the batch
 * before `finish`.
 *
 * A stretch is made by the entry that is its last, when all of the others are there, each once, with its JSON or too large to have
 * it stored; by then those of earlier batches are read back. What is written into the places of a stretch otherwise takes the
 * stretch away. When what is there cannot be read, or the stretch not be stored, the entries are written as they are: that must not
 * stop new ones.
 */
export class NodeDraft {
  readonly #database: Database;
  readonly #puts: BatchPuts;
  readonly #blobs: BlobWriter;
  readonly #pieces = new Map<string, Piece>();
  /** Logs of which this batch removes entries that the database still shows. */
  readonly #forgotten = new Set<Id>();

  constructor(database: Database, puts: BatchPuts, blobs: BlobWriter) {
    this.#database = database;
    this.#puts = puts;
    this.#blobs = blobs;
  }

  /** Draws an entry. @param json undefined: it is rendered at each read */
  put(place: Placed, json: Uint8Array | undefined, options: { readonly isAtHead: boolean }): void {
    const piece = this.#pieceOf(place);
    piece.entries.push({ place, json });
    piece.isAtHead &&= options.isAtHead;
  }

  /** Takes back what was drawn of a log whose entries are removed by this batch. */
  forget(processId: Id): void {
    this.#forgotten.add(processId);
    for (const [name, piece] of this.#pieces) {
      if (piece.processId === processId) this.#pieces.delete(name);
    }
  }

  /** Puts everything into the batch. */
  finish(): void {
    for (const piece of this.#pieces.values()) this.#finish(piece);
    this.#pieces.clear();
  }

  #pieceOf({ processId, epoch, nonce }: Placed): Piece {
    const first = firstOfStretch(nonce);
    const name = `${processId}${epoch}.${first}`;
    const known = this.#pieces.get(name);
    if (known !== undefined) return known;
    const piece = { processId, epoch, first, entries: [], isAtHead: true };
    this.#pieces.set(name, piece);
    return piece;
  }

  #finish(piece: Piece): void {
    const { processId, epoch, first, entries } = piece;
    const key = stretchKey({ processId, epoch, nonce: first });
    const joined = this.#join(piece);
    if (joined === undefined) {
      if (!piece.isAtHead) this.#puts.remove('nodes', key);
      for (const { place, json } of entries) {
        this.#puts.put('nodes', entryKey(place), encodeNode(place, json));
      }
      return;
    }
    this.#puts.put('nodes', key, joined.value);
    for (const { place, json } of joined.entries) {
      const row = json === undefined ? encodeNode(place, undefined) : encodeStretchedNode(place);
      this.#puts.put('nodes', entryKey(place), row);
    }
  }

  /** The stretch that the piece completes. */
  #join(
    piece: Piece,
  ): { readonly value: Uint8Array; readonly entries: readonly StretchEntry[] } | undefined {
    const { processId, first, entries } = piece;
    const last = first + STRETCH_ENTRIES - 1;
    if (this.#forgotten.has(processId) || !entries.some(({ place }) => place.nonce === last)) {
      return undefined;
    }
    const others = this.#readOthers(piece);
    if (others === undefined) return undefined;
    const all = [...others, ...entries].toSorted(
      (one, other) => one.place.nonce - other.place.nonce,
    );
    const isWhole = all.every(({ place }, index) => place.nonce === first + index);
    if (all.length !== STRETCH_ENTRIES || !isWhole) return undefined;
    const value = this.#append(encodeStretch(all));
    return value && { value, entries: all };
  }

  /** What stands in the database for a stretch; undefined when the file system does not take it. */
  #append(stretch: Buffer | undefined): Buffer | undefined {
    if (stretch === undefined) return undefined;
    try {
      return encodeStretchRef(this.#blobs.append(stretch));
    } catch {
      // Intended, see above.
      return undefined;
    }
  }

  /**
   * What the database has in these places and the batch does not write again; undefined when it cannot be read, or when the JSON
   * of one stands in the stretch that this batch takes away.
   */
  #readOthers({ processId, epoch, first, entries }: Piece): readonly StretchEntry[] | undefined {
    const written = new Set(entries.map(({ place }) => `${place.nonce}.${place.suffix}`));
    try {
      const rows = this.#database.readFew('nodes', {
        gte: entryFloor(processId, epoch, first),
        lt: entryFloor(processId, epoch, first + STRETCH_ENTRIES),
        // One more than there should be tells that a place is taken twice.
        limit: STRETCH_ENTRIES + 1,
      });
      const others = rows
        .map(([, value]) => decodeNode(value))
        .filter(({ nonce, suffix }) => !written.has(`${nonce}.${suffix}`));
      if (others.some(({ isInStretch }) => isInStretch)) return undefined;
      return others.map(({ json, ...place }) => ({ place: { ...place, processId }, json }));
    } catch {
      // Intended, see above.
      return undefined;
    }
  }
}
