import { invariant } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import { entryFloor, entryKey, placeOfEntryKey } from './keys.js';
import { decodeNode, type StoredNode } from './rows.js';
import type { Stretch } from './stretch.js';
import { StretchReader } from './stretch-reader.js';

/** A piece ends with the value that takes it over so many bytes. */
export const NODE_PIECE_BYTES_MAX = 1024 * 1024;
/** For fewer entries than this a whole stretch is not worth its bytes: they are rendered one by one. */
const STRETCH_WANTED_MIN = 8;

export interface NodeRangeBounds {
  readonly processId: Id;
  readonly gte: Buffer;
  readonly lt: Buffer;
  /** False: the entries' own rows alone, because their JSON is not wanted. */
  readonly withStretches: boolean;
  /** Told when stretches cannot be read, after which the rest of the range comes from the entries' own rows. */
  readonly onDamage: (error: unknown) => void;
}

/**
 * The entries between two keys of one log, piece by piece: from stretches where there are some, else from their own rows.
 */
export class NodeRange {
  readonly #bounds: NodeRangeBounds;
  /** Where rows go on. An old log may have several entries of one place: `gt` may be one of them. */
  #from: { readonly gte: Buffer } | { readonly gt: Buffer };
  /** The epoch, and the lowest nonce that may come next apart from those. */
  #epoch: number;
  #nonce: number;
  #ahead: StretchReader | undefined;
  /** Stretches that were read and lie behind rows. */
  #behindGap: readonly Stretch[] | undefined;
  /** The nonce of the first of them. */
  #gapEnd: number | undefined;
  #areStretchesDamaged = false;
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
    for (;;) {
      if (this.#gapEnd === undefined && this.#mayUseStretches(wanted)) {
        const isNew = this.#ahead === undefined;
        const stretches = await this.#readStretches(database, wanted);
        const [next] = stretches;
        if (next !== undefined && !this.#hasRowsBefore(next)) return this.#take(stretches, wanted);
        if (next === undefined) {
          this.#ahead = undefined;
          // What was read ahead ends here; what follows is to be looked for from here.
          if (!isNew) continue;
        } else {
          this.#behindGap = stretches;
          this.#gapEnd = next.first;
        }
      }
      const nodes = await this.#readRows(await database(), wanted);
      if (nodes.length > 0 || this.#isEnd) return nodes;
    }
  }

  #mayUseStretches(wanted: number): boolean {
    if (this.#areStretchesDamaged || !this.#bounds.withStretches) return false;
    return wanted >= STRETCH_WANTED_MIN || this.#behindGap !== undefined;
  }

  /** What comes next of the stretches; none also when it cannot be read. */
  async #readStretches(
    database: () => Promise<Database>,
    wanted: number,
  ): Promise<readonly Stretch[]> {
    const held = this.#behindGap;
    this.#behindGap = undefined;
    if (held !== undefined) return held;
    const range = { processId: this.#bounds.processId, epoch: this.#epoch, nonce: this.#nonce };
    const open = await database();
    try {
      this.#ahead ??= new StretchReader({ ...range, wanted });
      return await this.#ahead.next(open);
    } catch (error) {
      this.#areStretchesDamaged = true;
      this.#bounds.onDamage(error);
      return [];
    }
  }

  #hasRowsBefore(stretch: Stretch): boolean {
    return stretch.first > this.#nonce || ('gt' in this.#from && stretch.first === this.#nonce);
  }

  /** The entries of stretches that follow each other. */
  #take(stretches: readonly Stretch[], wanted: number): readonly StoredNode[] {
    const { processId, lt } = this.#bounds;
    const nodes: StoredNode[] = [];
    let nonce = this.#nonce;
    for (const [index, stretch] of stretches.entries()) {
      if (stretch.first > nonce) {
        this.#behindGap = stretches.slice(index);
        break;
      }
      const last = stretch.nodes.at(-1);
      const isWithin = last !== undefined && entryKey({ ...last, processId }).compare(lt) < 0;
      for (const node of stretch.nodes) {
        if (node.nonce < nonce || nodes.length === wanted) continue;
        if (!isWithin && entryKey({ ...node, processId }).compare(lt) >= 0) {
          this.#end();
          return nodes;
        }
        nodes.push(node);
        nonce = node.nonce + 1;
      }
    }
    invariant(nonce > this.#nonce, 'stretches lead on', { processId, nonce });
    this.#goTo(nonce);
    return nodes;
  }

  /** Rows, up to the next stretch where one is known. */
  async #readRows(database: Database, wanted: number): Promise<readonly StoredNode[]> {
    const { processId } = this.#bounds;
    const gapEnd = this.#gapEnd;
    // Rows overtake what was read ahead, unless it begins behind them.
    if (gapEnd === undefined) this.#ahead = undefined;
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
      this.#end();
    }
    return nodes;
  }

  #end(): void {
    this.#isEnd = true;
    this.#ahead = undefined;
  }

  #goTo(nonce: number): void {
    this.#nonce = nonce;
    this.#from = { gte: entryFloor(this.#bounds.processId, this.#epoch, nonce) };
    this.#gapEnd = undefined;
  }
}
