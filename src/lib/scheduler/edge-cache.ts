import { LRUCache } from 'lru-cache';
import { invariant } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { LogEntry, Position } from './ports.js';

/*
 * Edges of pages in memory, as the bytes that are sent, for the pages that everybody reads. They are kept in the blocks in
 * which a page was first made, so that sending them again copies nothing.
 *
 * Promises:
 * - a stored entry never changes, and a block holds exactly what the store gave behind one cursor, one after the other: holes
 *   and whatever else an old log contains stay as they are;
 * - nothing here says where a log ends: whoever comes to the end of what is known asks the store;
 * - by time a block is exactly the entries with timestamps between two cursors, wherever in the log: see read-page.ts;
 * - a log in which places repeat, epochs change or timestamps fall is not kept, since a cursor does not tell its entries apart;
 * - memory is bounded in bytes. What was asked for once makes room before what was asked for again, so that somebody who reads
 *   a whole log does not take away what everybody reads. Of a large block only its name is kept at first: a page of an old log
 *   is mostly asked for once, and V8 would mark the whole heap every few pages for megabytes that live a little too long.
 */

/** What cursors mean. */
export type CursorKind = 'nonce' | 'timestamp';

/** Edges of one log that follow each other. */
export interface EdgeBlock {
  /** The cursor behind which the first one comes; -1: the beginning. */
  readonly after: number;
  /** The cursors, which rise. */
  readonly cursors: readonly number[];
  /** `,{"node":…,"cursor":"…"}` for each. */
  readonly bytes: Buffer;
  /** True: others want the memory back. */
  readonly isLent: boolean;
  /** Where each one ends in `bytes`. */
  readonly ends: readonly number[];
  /** The place of the last one. */
  readonly last: Position;
}

/** A block, and the first of its edges that is wanted. */
export interface FoundEdges {
  readonly block: EdgeBlock;
  readonly index: number;
}

/** Larger blocks, which have large entries, are left to the store. */
const BLOCK_BYTES_MAX = 1_048_576;
/** Larger ones are kept when they are asked for a second time. */
const BLOCK_BYTES_AT_ONCE = 65_536;
/** Names of those that were asked for once. */
const NAMES_MAX = 10_000;
/** What a block and an edge take besides their bytes. */
const BLOCK_OVERHEAD_BYTES = 600;
const EDGE_OVERHEAD_BYTES = 16;
/** Reads that began at different places leave blocks that overlap: so many are looked at. */
const OVERLAPPING_MAX = 4;
const DISORDERED_MAX = 10_000;

interface Kept extends EdgeBlock {
  readonly log: string;
}

/** The memory. */
export class EdgeCache {
  /** The blocks of each log by `after`. */
  readonly #logs = new Map<string, Kept[]>();
  readonly #once: LRUCache<Kept, true>;
  readonly #again: LRUCache<Kept, true>;
  readonly #seen = new LRUCache<string, true>({ max: NAMES_MAX });
  readonly #disordered = new LRUCache<Id, true>({ max: DISORDERED_MAX });

  /** @param bytesMax of all blocks */
  constructor(bytesMax: number) {
    const options = {
      maxSize: Math.max(1, Math.floor(bytesMax / 2)),
      sizeCalculation: (_: true, block: Kept) => sizeOf(block),
      dispose: (_: true, block: Kept, reason: LRUCache.DisposeReason) => {
        // Otherwise it went from one to the other.
        if (reason === 'evict') this.#forget(block);
      },
    };
    this.#once = new LRUCache(options);
    this.#again = new LRUCache(options);
  }

  /** What comes behind a cursor (exclusive; undefined: at the beginning), when it is known. */
  find(processId: Id, by: CursorKind, from: number | undefined): FoundEdges | undefined {
    const cursor = from ?? -1;
    const blocks = this.#logs.get(logName(processId, by)) ?? [];
    const behind = firstIndex(blocks.length, (at) => (blocks[at]?.after ?? cursor) > cursor);
    for (let at = behind - 1; at >= 0 && at >= behind - OVERLAPPING_MAX; at -= 1) {
      const block = blocks[at];
      if (block === undefined || (block.cursors.at(-1) ?? cursor) <= cursor) continue;
      this.#askedAgain(block);
      const { cursors } = block;
      return { block, index: firstIndex(cursors.length, (i) => (cursors[i] ?? 0) > cursor) };
    }
    return undefined;
  }

  /** True when a block that the store gave is to be kept: a large one only when it is asked for again. */
  wants(processId: Id, by: CursorKind, { bytes, after }: EdgeBlock): boolean {
    if (this.#disordered.has(processId) || bytes.length > BLOCK_BYTES_MAX) return false;
    return (
      bytes.length <= BLOCK_BYTES_AT_ONCE || this.#wasSeen(`${logName(processId, by)}${after}`)
    );
  }

  /** Keeps what the store gave, in its order, and `wants` wanted. */
  keep(processId: Id, by: CursorKind, block: EdgeBlock): void {
    invariant(!block.isLent, 'memory of others is not kept');
    if (this.#disordered.has(processId)) return;
    const log = logName(processId, by);
    const blocks = this.#logs.get(log) ?? [];
    const at = firstIndex(blocks.length, (i) => (blocks[i]?.after ?? 0) >= block.after);
    const same = blocks[at];
    // Two who read at the same time.
    if (same?.after === block.after && same.cursors.length >= block.cursors.length) return;
    const kept = { ...block, log };
    blocks.splice(at, 0, kept);
    this.#logs.set(log, blocks);
    this.#once.set(kept, true);
    // Too large for the whole memory.
    if (!this.#once.has(kept)) this.#forget(kept);
  }

  /** Notes that a log is not in order: nothing of it is kept from now on. */
  refuse(processId: Id): void {
    this.#disordered.set(processId, true);
    for (const by of ['nonce', 'timestamp'] as const) {
      const blocks = this.#logs.get(logName(processId, by)) ?? [];
      this.#logs.delete(logName(processId, by));
      for (const block of blocks) {
        this.#once.delete(block);
        this.#again.delete(block);
      }
    }
  }

  /** True from the second time on. */
  #wasSeen(name: string): boolean {
    if (this.#seen.delete(name)) return true;
    this.#seen.set(name, true);
    return false;
  }

  #askedAgain(block: Kept): void {
    if (this.#again.get(block) === true || !this.#once.delete(block)) return;
    this.#again.set(block, true);
  }

  #forget(block: Kept): void {
    const blocks = this.#logs.get(block.log);
    const at = blocks?.indexOf(block) ?? -1;
    if (blocks === undefined || at < 0) return;
    blocks.splice(at, 1);
    if (blocks.length === 0) this.#logs.delete(block.log);
  }
}

/** True when an entry comes behind another one in whatever way cursors are made. Epochs are 0 until the field knows others. */
export function isInOrder(previous: LogEntry | undefined, entry: LogEntry): boolean {
  if (entry.epoch !== 0) return false;
  if (previous === undefined) return true;
  return entry.nonce > previous.nonce && entry.timestamp > previous.timestamp;
}

function logName(processId: Id, by: CursorKind): string {
  return `${processId}${by}`;
}

function sizeOf({ bytes, cursors }: EdgeBlock): number {
  // It may be a view of more, all of which it keeps in memory.
  return bytes.buffer.byteLength + BLOCK_OVERHEAD_BYTES + cursors.length * EDGE_OVERHEAD_BYTES;
}

/** The lowest index at which `holds`, which is false up to somewhere and true from there on; `length` where it never is. */
function firstIndex(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
