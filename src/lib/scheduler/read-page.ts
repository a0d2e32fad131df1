import { DamagedEntryError } from '../errors.js';
import type { LentBuffer } from '../lent-buffer.js';
import { EdgeCache, isInOrder, type CursorKind, type EdgeBlock } from './edge-cache.js';
import { PageEdges, placeOf } from './page-edges.js';
import type {
  LogEntry,
  LogProcess,
  LogReader,
  Position,
  RangeQuery,
  ReadOptions,
} from './ports.js';

/** Which part of a process's log a reader wants. */
export interface PageQuery extends ReadOptions {
  /** What `from`, `to` and the cursors mean. */
  readonly by: CursorKind;
  /** Exclusive; undefined: from the beginning. */
  readonly from: number | undefined;
  /** Inclusive; undefined: to the end. */
  readonly to: number | undefined;
  /** Edges wanted at most, 1 or more. */
  readonly limit: number;
  readonly showAnchor: boolean;
}

export interface PageLimits {
  /** Bytes of a page's JSON; a page that holds one edge may exceed it. */
  readonly pageBytesMax: number;
  /** A page is handed on in parts of about this many bytes. */
  readonly partBytes: number;
  /** Bytes of edges that are kept in memory for those who ask again. */
  readonly keptBytesMax: number;
}

/** A part of a page's JSON. All parts joined are the page; only the last one makes it complete. */
export interface PagePart {
  /** Not to be changed: others may be given the same memory. */
  readonly chunks: readonly Buffer[];
  readonly last: boolean;
  /** Edges so far. */
  readonly edges: number;
  /**
   * Tells that the chunks are not used any more: not by whoever took the part, nor by the system it wrote them to. For parts whose
   * sending failed it is not called: then their memory is collected.
   */
  giveBack(): void;
}

/** Yields a page of the process's log. @throws SuError `store-unavailable`, `invariant`, before or between two parts */
export type ReadPage = (process: LogProcess, query: PageQuery) => AsyncGenerator<PagePart, void>;

/** What of a store pages are made of. */
export type PageReader = Pick<LogReader, 'readRange' | 'findHeadPlace'>;

/**
 * Makes the reader of pages: `{"edges":[{"node":…,"cursor":"…"},…],"page_info":{"has_next_page":…}}`, edges first so
 * that it can be streamed, in order of (epoch, nonce).
 *
 * - A process with an assignment is itself the first edge when the range begins at the beginning, and counts towards
 *   the limit.
 * - `has_next_page` is exact, which costs one entry read beyond the page.
 * - A page that would exceed `pageBytesMax` is cut short with `has_next_page` true, but never before its first edge.
 * - In old logs an entry may repeat the cursor of the one before, or go behind it. Whoever asks for what comes after that
 *   cursor would never be given it, so it stays on the page, whatever the limit.
 * - A page that meets an entry that cannot be read ends before it with `has_next_page` true: what stands before it can be had,
 *   the next page fails, and nobody is led past it.
 * - Edges come from memory as far as they are there. Behind them the store is asked where the log ends, so that an entry which
 *   was acknowledged before the call is always found, and read on from where it goes on.
 *
 * Memory is bounded by what is kept, one part and one piece of the store, whatever the limit.
 */
export function makeReadPage(reader: PageReader, limits: PageLimits): ReadPage {
  const kept = new EdgeCache(limits.keptBytesMax);
  return async function* readPage(process, query) {
    const { by, to, limit } = query;
    const page = new PageEdges({ by, to, limit, bytesMax: limits.pageBytesMax });
    if (isEmptyRange(process, query)) {
      yield lastPart(page, false);
      return;
    }
    if (process.entry !== undefined && holdsProcess(process.entry, query)) {
      page.addProcess(process.entry);
    }
    const making: Making = { kept, reader, process, query, page, partBytes: limits.partBytes };
    const known = query.showAnchor ? undefined : yield* addKnown(making);
    const hasNextPage = known?.hasNextPage ?? (yield* addStored(making, known));
    yield lastPart(page, hasNextPage);
  };
}

function nextPart(page: PageEdges): PagePart {
  const chunks = page.take();
  return {
    chunks,
    last: false,
    edges: page.count,
    giveBack: giverBack(page.takeLent({ isEnd: false })),
  };
}

function lastPart(page: PageEdges, hasNextPage: boolean): PagePart {
  const chunks = page.finish(hasNextPage);
  const giveBack = giverBack(page.takeLent({ isEnd: true }));
  return { chunks, last: true, edges: page.count, giveBack };
}

function giverBack(buffers: readonly LentBuffer[]): () => void {
  return () => {
    for (const lent of buffers) lent.giveBack();
  };
}

/** What the steps of a page share. */
interface Making {
  readonly kept: EdgeCache;
  readonly reader: PageReader;
  readonly process: LogProcess;
  readonly query: PageQuery;
  readonly page: PageEdges;
  readonly partBytes: number;
}

/** How far memory led: whether a next page exists, when the page is done, or else the cursor behind which the store is to be read. */
interface Known {
  readonly hasNextPage?: boolean | undefined;
  readonly from: number | undefined;
  /** The place of the last entry that is known. */
  readonly last?: Position | undefined;
}

/** Adds what is in memory. */
async function* addKnown(making: Making): AsyncGenerator<PagePart, Known> {
  const { kept, process, query, page, partBytes } = making;
  const { processId } = process;
  let from = beginOf(query);
  let last: Position | undefined;
  for (;;) {
    const found = kept.find(processId, query.by, from);
    if (found === undefined) break;
    const taken = page.addKnown(found);
    if (taken !== 'all') return { hasNextPage: taken === 'full', from };
    from = found.block.cursors.at(-1);
    ({ last } = found.block);
    if (page.pendingBytes >= partBytes) {
      yield nextPart(page);
    }
  }
  return { hasNextPage: await followsFromHead(making, from, last), from, last };
}

/**
 * What the place of the log's last entry says of the page: false when nothing is behind what is known, true when the page is full
 * and something is, undefined when the store has to be read. Where nothing is known, a timestamp tells nothing: in an old log
 * one that comes earlier may be later.
 */
async function followsFromHead(
  { reader, process, query, page }: Making,
  from: number | undefined,
  last: Position | undefined,
): Promise<boolean | undefined> {
  const { by, to = Number.POSITIVE_INFINITY, limit } = query;
  if (last === undefined && (by !== 'nonce' || from === undefined)) return undefined;
  const head = await reader.findHeadPlace(process.processId);
  const { epoch, nonce } = last ?? { epoch: 0, nonce: from ?? 0 };
  if (head?.epoch !== epoch) return undefined;
  if (last === undefined ? head.nonce <= nonce : head.nonce === nonce) return false;
  // In a log without messages it may be the process's own, which may be on this page.
  if (head.nonce === process.entry?.nonce && head.epoch === process.entry.epoch) return undefined;
  // The last entry itself is one that the next page has.
  const isNext = by === 'nonce' && head.nonce > nonce && head.nonce <= to;
  return isNext && page.count >= limit ? true : undefined;
}

/** Adds what the store has behind a cursor, and keeps it; says whether there is a next page. */
async function* addStored(
  making: Making,
  known: Known | undefined,
): AsyncGenerator<PagePart, boolean> {
  const { reader, page, query, partBytes } = making;
  const from = known?.from ?? beginOf(query);
  const learned = new Learned(making, { from, last: known?.last });
  let hasNextPage = false;
  try {
    read: for await (const piece of readOn(reader, toRange(making, from))) {
      for (const [index, entry] of piece.entries()) {
        learned.check(entry);
        if (page.isFull(entry)) {
          hasNextPage = true;
          break read;
        }
        page.add(entry);
        if (page.pendingBytes >= partBytes && !page.isSentWith(entry, piece[index + 1])) {
          learned.add(page.render(learned.after));
          yield nextPart(page);
        }
      }
    }
  } catch (error) {
    if (!(error instanceof DamagedEntryError) || page.count === 0) throw error;
    hasNextPage = true;
  }
  learned.add(page.render(learned.after));
  learned.finish({ isLogsEnd: !hasNextPage && query.to === undefined });
  return hasNextPage;
}

/** What a page by time may keep until its end is known. */
const LEARNED_BYTES_MAX = 1024 * 1024;

/**
 * What a page learns from the store. A block is kept when it is known what follows it: only then is it sure that its last cursor
 * is not repeated or undercut, which would hide an entry from whoever goes on behind it.
 *
 * By time this takes the rest of the log: in an old one an entry far behind may have an earlier timestamp, which ranges that begin
 * later do not show. So only the last pages of a log are kept, when none of their nonces is missing.
 */
class Learned {
  readonly #making: Making;
  #after: number;
  #blocks: readonly EdgeBlock[] = [];
  #previous: LogEntry | undefined;
  #previousNonce: number | undefined;
  #isInOrder = true;
  #isWhole = true;

  constructor(
    making: Making,
    { from, last }: { readonly from: number | undefined; readonly last: Position | undefined },
  ) {
    this.#making = making;
    this.#after = from ?? -1;
    // Whether or not it is on this page, it may be on the next one that begins here.
    if (from === undefined) this.#previous = making.process.entry;
    this.#previousNonce = (last ?? this.#previous)?.nonce;
  }

  /** The cursor behind which the next block begins. */
  get after(): number {
    return this.#after;
  }

  check(entry: LogEntry): void {
    if (!this.#isInOrder) return;
    this.#isInOrder = isInOrder(this.#previous, entry);
    this.#isWhole &&= this.#previousNonce === undefined || entry.nonce === this.#previousNonce + 1;
    this.#previous = entry;
    this.#previousNonce = entry.nonce;
    if (!this.#isInOrder) this.#making.kept.refuse(this.#making.process.processId);
    else if (!this.#isByTime) this.#keep();
  }

  /** Takes the next blocks, before their memory is given back. */
  add(blocks: readonly EdgeBlock[]): void {
    this.#after = blocks.at(-1)?.cursors.at(-1) ?? this.#after;
    const { kept, process, query } = this.#making;
    if (query.showAnchor) return;
    const wanted = blocks.filter((block) => kept.wants(process.processId, query.by, block));
    const all = [...this.#blocks, ...wanted.map(ownBlock)];
    this.#blocks = this.#isByTime ? lastOf(all, LEARNED_BYTES_MAX) : all;
  }

  /** Keeps what is sure at the end of the page. */
  finish({ isLogsEnd }: { readonly isLogsEnd: boolean }): void {
    if (!this.#isByTime || (isLogsEnd && this.#isWhole)) this.#keep();
  }

  get #isByTime(): boolean {
    return this.#making.query.by === 'timestamp';
  }

  #keep(): void {
    const { kept, process, query } = this.#making;
    if (!this.#isInOrder) return;
    for (const block of this.#blocks) kept.keep(process.processId, query.by, block);
    this.#blocks = [];
  }
}

/** A block that lives as long as it is kept. */
function ownBlock(block: EdgeBlock): EdgeBlock {
  if (!block.isLent) return block;
  const bytes = Buffer.allocUnsafeSlow(block.bytes.length);
  block.bytes.copy(bytes);
  return { ...block, bytes, isLent: false };
}

/** The last blocks that together have at most so many bytes. */
function lastOf(blocks: readonly EdgeBlock[], bytesMax: number): readonly EdgeBlock[] {
  let bytes = 0;
  const tooMuch = blocks.findLastIndex((block) => (bytes += block.bytes.length) > bytesMax);
  return blocks.slice(tooMuch + 1);
}

/** The entries of a range, and beyond its limit as long as more are asked for, which is rare: they are read anew. */
async function* readOn(
  reader: PageReader,
  range: RangeQuery,
): AsyncGenerator<readonly LogEntry[], void> {
  let given = 0;
  for (let limit = range.limit; ; limit *= 2) {
    let read = 0;
    for await (const piece of reader.readRange({ ...range, limit })) {
      const known = Math.max(0, Math.min(piece.length, given - read));
      read += piece.length;
      given += piece.length - known;
      yield known === 0 ? piece : piece.slice(known);
    }
    if (read < limit) return;
  }
}

/** True when no entry can be in the range, so that the store need not be asked. */
function isEmptyRange(process: LogProcess, { by, from, to }: PageQuery): boolean {
  if (to === undefined) return false;
  if (from !== undefined && from >= to) return true;
  const first = process.entry;
  return first === undefined ? to < 0 : to < placeOf(first, by);
}

/** A `from` of any value, 0 too, leaves the process out; a `from-nonce` only when it is not below the process's nonce. */
function holdsProcess(own: LogEntry, { by, from }: PageQuery): boolean {
  if (from === undefined) return true;
  return by === 'nonce' && own.nonce > from;
}

/** Where the entries begin: no stored place is negative, so what is below 0 means the beginning. */
function beginOf({ from }: PageQuery): number | undefined {
  return from !== undefined && from < 0 ? undefined : from;
}

function toRange({ process, query, page }: Making, from: number | undefined): RangeQuery {
  return {
    processId: process.processId,
    by: query.by,
    from,
    to: query.to,
    // One more than the page takes tells whether there is another. Kept a safe integer for limits without a limit.
    limit: Math.min(query.limit, Number.MAX_SAFE_INTEGER - 1) - page.count + 1,
    showAnchor: query.showAnchor,
    isWanted: query.isWanted,
  };
}
