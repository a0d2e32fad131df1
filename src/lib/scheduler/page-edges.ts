import { invariant } from '../errors.js';
import type { LentBuffer } from '../lent-buffer.js';
import { edgeBytes, writeEdge, type StoredEdge } from '../protocol/edge.js';
import type { CursorKind, EdgeBlock, FoundEdges } from './edge-cache.js';
import type { LogEntry } from './ports.js';

const PAGE_HEAD = '{"edges":[';
/** Smaller chunks are joined with their small neighbours, so that a page is not written in a thousand pieces. */
const CHUNK_BYTES_MIN = 16_384;

function pageTail(hasNextPage: boolean): string {
  return `],"page_info":{"has_next_page":${hasNextPage}}}`;
}

/** Bytes around the edges, at most. */
const FRAME_BYTES = PAGE_HEAD.length + pageTail(false).length;

/** Why no more edges of a block were taken: the block ended, the page is full, or what follows lies outside of the range. */
export type TakenEdges = 'all' | 'full' | 'outside';

export interface PageBounds {
  readonly by: CursorKind;
  /** Inclusive; undefined: the end. */
  readonly to: number | undefined;
  /** Edges at most. */
  readonly limit: number;
  /** Bytes at most; one edge may exceed them. */
  readonly bytesMax: number;
}

/**
 * The JSON of a page in the making: nodes are copied once, from the store's bytes to the part, and never parsed; edges that are
 * in memory, or that the store has as such, are not copied at all. Edges begin with a comma, which the page's first one loses.
 */
export class PageEdges {
  readonly #bounds: PageBounds;
  /** Edges of the page so far. */
  #count = 0;
  /** Bytes of them, with those that were taken. */
  #bytes = 0;
  /** What was added as bytes and not taken yet. */
  #chunks: Buffer[] = [];
  #chunkBytes = 0;
  /** What was added since, still to become bytes. */
  #entries: LogEntry[] = [];
  #cursors: number[] = [];
  #entryBytes = 0;
  #isFirstPart = true;
  /** What the entries lie in that were added since the last part was taken, or just before. */
  #lent = new Set<LentBuffer>();
  #last: { readonly epoch: number; readonly cursor: number } | undefined;

  constructor(bounds: PageBounds) {
    this.#bounds = bounds;
  }

  get count(): number {
    return this.#count;
  }

  /** Bytes added and not taken yet. */
  get pendingBytes(): number {
    return this.#chunkBytes + this.#entryBytes;
  }

  /** The process itself, which comes first and is not one of the log's messages. */
  addProcess(entry: LogEntry): void {
    const cursor = placeOf(entry, this.#bounds.by);
    const { bytes } = renderEdges([entry], [cursor]);
    this.#count += 1;
    this.#bytes += bytes.length;
    this.#last = { epoch: entry.epoch, cursor };
    this.#addChunk(bytes);
  }

  /** True when the page cannot hold this entry. */
  isFull(entry: LogEntry): boolean {
    if (this.#count >= this.#bounds.limit && !this.#mustHold(entry)) return true;
    return !this.#fits(this.#bytesOf(entry, this.#cursorOf(entry)));
  }

  add(entry: LogEntry): void {
    const cursor = this.#cursorOf(entry);
    this.#count += 1;
    this.#entries.push(entry);
    this.#cursors.push(cursor);
    if (entry.edge !== undefined) this.#lent.add(entry.edge.lent);
    const bytes = this.#bytesOf(entry, cursor);
    this.#entryBytes += bytes;
    this.#bytes += bytes;
    this.#last = { epoch: entry.epoch, cursor };
  }

  /** True when the store has the edges of two entries one behind the other, so that they are sent as one. */
  isSentWith(entry: LogEntry, next: LogEntry | undefined): boolean {
    return this.#bounds.by === 'nonce' && isNeighbour(entry, next);
  }

  /** Adds what is in memory, as far as the page goes. */
  addKnown({ block, index }: FoundEdges): TakenEdges {
    const { to = Number.POSITIVE_INFINITY, limit } = this.#bounds;
    const begin = index === 0 ? 0 : (block.ends[index - 1] ?? 0);
    let end = begin;
    let at = index;
    let taken: TakenEdges = 'all';
    for (; at < block.ends.length; at += 1) {
      const edgeEnd = block.ends[at] ?? end;
      if ((block.cursors[at] ?? 0) > to) {
        taken = 'outside';
        break;
      }
      if (this.#count >= limit || !this.#fits(edgeEnd - end)) {
        taken = 'full';
        break;
      }
      this.#count += 1;
      this.#bytes += edgeEnd - end;
      end = edgeEnd;
    }
    if (at > index) {
      this.#addChunk(block.bytes.subarray(begin, end));
      this.#last = { epoch: block.last.epoch, cursor: block.cursors[at - 1] ?? 0 };
    }
    return taken;
  }

  /** Makes blocks of the entries that were added. `after` is the cursor before them. */
  render(after: number): readonly EdgeBlock[] {
    const blocks: EdgeBlock[] = [];
    let before = after;
    for (let at = 0; at < this.#entries.length;) {
      const end = this.#endOfRun(at);
      const entries = this.#entries.slice(at, end);
      const cursors = this.#cursors.slice(at, end);
      const edges = this.#isReady(at) ? viewEdges(entries) : renderEdges(entries, cursors);
      const last = entries.at(-1);
      if (last === undefined) break;
      blocks.push({
        ...edges,
        after: before,
        cursors,
        last: { epoch: last.epoch, nonce: last.nonce },
      });
      this.#addChunk(edges.bytes);
      before = cursors.at(-1) ?? before;
      at = end;
    }
    this.#entries = [];
    this.#cursors = [];
    this.#entryBytes = 0;
    return blocks;
  }

  /** What was rendered and not taken yet. */
  take(tail = ''): readonly Buffer[] {
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    if (this.#isFirstPart) {
      this.#isFirstPart = false;
      const [first] = chunks;
      if (first !== undefined) chunks[0] = first.subarray(1);
      chunks.unshift(Buffer.from(PAGE_HEAD, 'latin1'));
    }
    if (tail !== '') chunks.push(Buffer.from(tail, 'latin1'));
    return joinSmall(chunks);
  }

  /**
   * The buffers that may be given back when all that was taken has been sent. While more entries may come it is not yet the last
   * one: those of a stretch lie in one buffer, also when one that lies elsewhere is between them.
   */
  takeLent(options: { readonly isEnd: boolean }): readonly LentBuffer[] {
    const lent = [...this.#lent];
    const heldBack = options.isEnd ? [] : lent.slice(-1);
    this.#lent = new Set(heldBack);
    return lent.slice(0, lent.length - heldBack.length);
  }

  /** The rest, and the end of the page. */
  finish(hasNextPage: boolean): readonly Buffer[] {
    return this.take(pageTail(hasNextPage));
  }

  /** The end of the entries from `begin` on that are made bytes in the same way: as one view of stored edges, or anew. */
  #endOfRun(begin: number): number {
    const isReady = this.#isReady(begin);
    for (let at = begin + 1; at < this.#entries.length; at += 1) {
      if (this.#isReady(at) !== isReady) return at;
      if (isReady && !isNeighbour(this.#entries[at - 1], this.#entries[at])) return at;
    }
    return this.#entries.length;
  }

  #isReady(at: number): boolean {
    const entry = this.#entries[at];
    return entry !== undefined && this.#readyEdge(entry, this.#cursors[at]) !== undefined;
  }

  /** The edge that the store has, when it is as this page shows it. */
  #readyEdge(entry: LogEntry, cursor: number | undefined): StoredEdge | undefined {
    return this.#bounds.by === 'nonce' && cursor === entry.nonce ? entry.edge : undefined;
  }

  #bytesOf(entry: LogEntry, cursor: number): number {
    const edge = this.#readyEdge(entry, cursor);
    return edge === undefined ? edgeBytes(entry.node, cursor) : edge.end - edge.begin;
  }

  #addChunk(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#chunkBytes += chunk.length;
  }

  /** True when the page's last cursor already lies at or behind this entry, so that nobody could ask for it. */
  #mustHold(entry: LogEntry): boolean {
    return (
      this.#last?.epoch === entry.epoch && placeOf(entry, this.#bounds.by) <= this.#last.cursor
    );
  }

  #fits(bytes: number): boolean {
    // The first edge has no comma.
    return this.#count === 0 || this.#bytes - 1 + bytes + FRAME_BYTES <= this.#bounds.bytesMax;
  }

  #cursorOf(entry: LogEntry): number {
    const place = placeOf(entry, this.#bounds.by);
    return this.#last?.epoch === entry.epoch ? Math.max(this.#last.cursor, place) : place;
  }
}

/** What a cursor of this kind says of an entry. */
export function placeOf(entry: LogEntry, by: CursorKind): number {
  return by === 'nonce' ? entry.nonce : entry.timestamp;
}

type Edges = Pick<EdgeBlock, 'bytes' | 'ends' | 'isLent'>;

function renderEdges(entries: readonly LogEntry[], cursors: readonly number[]): Edges {
  const edges = entries.map(({ node }, index) => ({ node, cursor: cursors[index] ?? 0 }));
  const size = edges.reduce((sum, { node, cursor }) => sum + edgeBytes(node, cursor), 0);
  // Not part of Buffer's pool, which one small block would keep in memory as a whole.
  const bytes = Buffer.allocUnsafeSlow(size);
  const ends: number[] = [];
  let end = 0;
  for (const edge of edges) {
    end = writeEdge(bytes, edge, end);
    ends.push(end);
  }
  return { bytes, ends, isLent: false };
}

/** Edges that lie one behind the other, as they are. */
function viewEdges(entries: readonly LogEntry[]): Edges {
  const first = entries[0]?.edge;
  invariant(first !== undefined, 'the store has these edges');
  const { lent, begin } = first;
  const ends = entries.map(({ edge }) => (edge?.end ?? begin) - begin);
  return { bytes: lent.bytes.subarray(begin, begin + (ends.at(-1) ?? 0)), ends, isLent: true };
}

function isNeighbour(one: LogEntry | undefined, next: LogEntry | undefined): boolean {
  const [edge, other] = [one?.edge, next?.edge];
  return edge !== undefined && edge.lent === other?.lent && edge.end === other.begin;
}

function joinSmall(chunks: readonly Buffer[]): readonly Buffer[] {
  const joined: Buffer[] = [];
  for (let at = 0; at < chunks.length;) {
    let end = at + 1;
    const isSmall = (index: number): boolean => (chunks[index]?.length ?? 0) < CHUNK_BYTES_MIN;
    while (end < chunks.length && isSmall(at) && isSmall(end)) end += 1;
    const run = chunks.slice(at, end);
    const [only] = run;
    joined.push(run.length === 1 && only !== undefined ? only : Buffer.concat(run));
    at = end;
  }
  return joined;
}
