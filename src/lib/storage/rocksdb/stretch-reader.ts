import type { Id } from '../../protocol/ids.js';
import type { Database, Row } from './database.js';
import { placeOfEntryKey, stretchKey } from './keys.js';
import {
  decodeStretch,
  firstOfStretch,
  ownBytes,
  STRETCH_ENTRIES,
  stretchRefOf,
  type Stretch,
} from './stretch.js';

/*
 * Reads the stretches of a range, a little ahead of whoever sends them: where they are is found here and now, which takes 0.1 ms for
 * a page, and their bytes come from the thread pool.
 *
 * Promises:
 * - besides what was taken, at most AHEAD_PIECES pieces are in memory, however slowly they are taken, and nothing of the database
 *   is held meanwhile;
 * - a failure reaches whoever takes the piece and nobody else.
 */

/** A piece ends with the stretch that takes it over so many bytes. */
const PIECE_BYTES = 512 * 1024;
const AHEAD_PIECES = 1;
/** A look ends with the row that takes it over so many bytes: those of earlier versions, which hold the stretch itself, come singly. */
const LOOK_BYTES = 16 * 1024;

/** Where stretches are wanted: those that hold any of so many nonces. */
export interface StretchRange {
  readonly processId: Id;
  readonly epoch: number;
  readonly nonce: number;
  readonly wanted: number;
}

export class StretchReader {
  readonly #lt: Buffer;
  readonly #pieces: Promise<readonly Stretch[]>[] = [];
  #from: { readonly gte: Buffer } | { readonly gt: Buffer };
  #left: number;
  /** Rows that were found and belong to later pieces. */
  #found: Row[] = [];
  #isEnd = false;

  constructor({ processId, epoch, nonce, wanted }: StretchRange) {
    const first = firstOfStretch(nonce);
    this.#from = { gte: stretchKey({ processId, epoch, nonce: first }) };
    this.#lt = stretchKey({ processId, epoch, nonce: nonce + wanted });
    this.#left = Math.ceil((nonce - first + wanted) / STRETCH_ENTRIES);
  }

  /**
   * The stretches that come next, in order; none at the end. One call at a time.
   *
   * @param database used at once, and for what is read ahead
   * @throws SuError `store-unavailable`; `invariant` when what is stored is none
   */
  async next(database: Database): Promise<readonly Stretch[]> {
    while (this.#pieces.length <= AHEAD_PIECES) {
      const rows = this.#findPiece(database);
      if (rows.length === 0) break;
      const piece = readStretches(database, rows);
      piece.catch(() => undefined);
      this.#pieces.push(piece);
    }
    return (await this.#pieces.shift()) ?? [];
  }

  #findPiece(database: Database): readonly Row[] {
    const piece: Row[] = [];
    for (let bytes = 0; bytes <= PIECE_BYTES;) {
      if (this.#found.length === 0) this.#look(database);
      const row = this.#found.shift();
      if (row === undefined) break;
      piece.push(row);
      bytes += stretchRefOf(row[1])?.length ?? row[1].length;
    }
    return piece;
  }

  #look(database: Database): void {
    if (this.#isEnd) return;
    const bounds = { ...this.#from, lt: this.#lt, limit: this.#left };
    this.#found = [...database.readFew('nodes', { ...bounds, highWaterMarkBytes: LOOK_BYTES })];
    const last = this.#found.at(-1);
    this.#left -= this.#found.length;
    if (last === undefined || this.#left === 0) this.#isEnd = true;
    if (last !== undefined) this.#from = { gt: last[0] };
  }
}

async function readStretches(
  database: Database,
  rows: readonly Row[],
): Promise<readonly Stretch[]> {
  const blobs = await database.readBlobs(rows.map(([, value]) => stretchRefOf(value)));
  return rows.map(([key, value], index) =>
    decodeStretch(blobs[index] ?? ownBytes(value), placeOfEntryKey(key)),
  );
}
