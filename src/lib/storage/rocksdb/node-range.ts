import type { Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import { entryFloor, entryKey, placeOfEntryKey, stretchKey } from './keys.js';
import { decodeNode, type StoredNode } from './rows.js';
import { decodeStretch, firstOfStretch, STRETCH_ENTRIES, type Stretch } from './stretch.js';

/** A piece ends with the value that takes it over so many bytes. */
export const NODE_PIECE_BYTES_MAX = 1024 * 1024;
/**
 * Stretches are read ahead, by one iterator: finding their beginning takes 0.6 ms of the event loop, unpacking them 2 ms of the
 * thread pool for each MB, while the pieces before are sent.
 */
const AHEAD_BYTES_MAX = 512 * 1024;
const AHEAD_PIECES = 8;
/** For fewer entries than this a whole stretch is not worth its bytes: they are rendered one by one. */
const STRETCH_WANTED_MIN = 8;

export interface NodeRangeBounds {
  readonly processId: Id;
  readonly gte: Buffer;
  readonly lt: Buffer;
  /** False: the entries' own rows alone, because their JSON is not wanted. */
  readonly withStretches: boolean;
}

/** The entries between two keys of one log, piece by piece: from stretches where there are some, else from their own rows. */
export class NodeRange {
  readonly #bounds: NodeRangeBounds;
  /** Where rows go on. An old log may have several entries of one place: `gt` may be one of them. */
  #from: { readonly gte: Buffer } | { readonly gt: Buffer };
  /** The epoch, and the lowest nonce that may come next apart from those. */
  #epoch: number;
  #nonce: number;
  /** Stretches that are being read. */
  #ahead: Promise<readonly Stretch[]>[] = [];
  /** The nonce of the next stretch, which rows come before. */
  #gapEnd: number | undefined;
  #isEnd = false;

  constructor(bounds: NodeRangeBounds) {
    this.#bounds = bounds;
    this.#from = { gte: bounds.gte };
    ({ epoch: this.#epoch, nonce: this.#nonce } = placeOfEntryKey(bounds.gte));
  }

  /** True once everything was read. */
  get isEnd(): boolean {
    return this.#isEnd;
  }

  /**
   * Reads what comes next, at most `wanted` entries, and at least one unless there are none. One call at a time.
   *
   * @throws SuError `store-unavailable`
   */
  async read(database: () => Promise<Database>, wanted: number): Promise<readonly StoredNode[]> {
    const withStretches = this.#bounds.withStretches && wanted >= STRETCH_WANTED_MIN;
    for (;;) {
      if (withStretches && this.#gapEnd === undefined) {
        const isNew = this.#ahead.length === 0;
        if (isNew) this.#ahead = this.#readAhead(await database(), wanted);
        const stretches = (await this.#ahead.shift()) ?? [];
        const [next] = stretches;
        if (next !== undefined && !this.#hasRowsBefore(next)) return this.#take(stretches, wanted);
        this.#ahead = [];
        // What was read ahead ends, or goes on behind a gap: that is to be looked for from here.
        if (!isNew) continue;
        this.#gapEnd = next?.first;
      }
      const nodes = await this.#readRows(await database(), wanted);
      if (nodes.length > 0 || this.#isEnd) return nodes;
    }
  }

  /** The stretches that hold any of the next nonces. */
  #readAhead(database: Database, wanted: number): Promise<readonly Stretch[]>[] {
    const { processId } = this.#bounds;
    const place = { processId, epoch: this.#epoch };
    const first = firstOfStretch(this.#nonce);
    const range = {
      gte: stretchKey({ ...place, nonce: first }),
      lt: stretchKey({ ...place, nonce: this.#nonce + wanted }),
      keys: false,
      limit: Math.ceil((this.#nonce - first + wanted) / STRETCH_ENTRIES),
      highWaterMarkBytes: AHEAD_BYTES_MAX,
    };
    return database.readAhead('nodes', range, AHEAD_PIECES).map(async (piece) => {
      const rows = await piece;
      return rows.map(([, value]) => decodeStretch(value));
    });
  }

  #hasRowsBefore(stretch: Stretch): boolean {
    return stretch.first > this.#nonce || ('gt' in this.#from && stretch.first === this.#nonce);
  }

  /** The entries of stretches that follow each other. */
  #take(stretches: readonly Stretch[], wanted: number): readonly StoredNode[] {
    const { processId, lt } = this.#bounds;
    const nodes: StoredNode[] = [];
    let nonce = this.#nonce;
    for (const stretch of stretches) {
      if (stretch.first > nonce) break;
      const last = stretch.nodes.at(-1);
      const isWithin = last !== undefined && entryKey({ ...last, processId }).compare(lt) < 0;
      for (const node of stretch.nodes) {
        if (node.nonce < nonce || nodes.length === wanted) continue;
        if (!isWithin && entryKey({ ...node, processId }).compare(lt) >= 0) {
          this.#isEnd = true;
          return nodes;
        }
        nodes.push(node);
        nonce = node.nonce + 1;
      }
    }
    this.#goTo(nonce);
    return nodes;
  }

  /** Rows, up to the next stretch where one is known. */
  async #readRows(database: Database, wanted: number): Promise<readonly StoredNode[]> {
    const { processId } = this.#bounds;
    const gapEnd = this.#gapEnd;
    const end = gapEnd === undefined ? undefined : entryFloor(processId, this.#epoch, gapEnd);
    const isGap = end !== undefined && end.compare(this.#bounds.lt) < 0;
    const rows = await database.readRange('nodes', {
      ...this.#from,
      lt: isGap ? end : this.#bounds.lt,
      keys: false,
      limit: wanted,
      highWaterMarkBytes: NODE_PIECE_BYTES_MAX,
    });
    const nodes = rows.map(([, value]) => decodeNode(value));
    const bytes = rows.reduce((sum, [, value]) => sum + value.length, 0);
    const last = nodes.at(-1);
    if (last !== undefined && (rows.length === wanted || bytes > NODE_PIECE_BYTES_MAX)) {
      this.#from = { gt: entryKey({ ...last, processId }) };
      this.#epoch = last.epoch;
      this.#nonce = last.nonce + 1;
    } else if (isGap) {
      this.#goTo(gapEnd ?? this.#nonce);
    } else {
      this.#isEnd = true;
    }
    return nodes;
  }

  #goTo(nonce: number): void {
    this.#nonce = nonce;
    this.#from = { gte: entryFloor(this.#bounds.processId, this.#epoch, nonce) };
    this.#gapEnd = undefined;
  }
}
