import { DamagedEntryError } from '../errors.js';
import type { LogEntry, LogProcess, LogReader, RangeQuery, ReadOptions } from './ports.js';

/** Which part of a process's log a reader wants. */
export interface PageQuery extends ReadOptions {
  /** What `from`, `to` and the cursors mean. */
  readonly by: 'nonce' | 'timestamp';
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
}

/** A part of a page's JSON. All parts joined are the page; only the last one makes it complete. */
export interface PagePart {
  readonly bytes: Buffer;
  readonly last: boolean;
  /** Edges so far. */
  readonly edges: number;
}

/** Yields a page of the process's log. @throws SuError `store-unavailable`, `invariant`, before or between two parts */
export type ReadPage = (process: LogProcess, query: PageQuery) => AsyncGenerator<PagePart, void>;

const PAGE_HEAD = '{"edges":[';
const NODE_HEAD = Buffer.from('{"node":', 'latin1');
const CURSOR_HEAD = ',"cursor":"';
const EDGE_TAIL = '"}';

function pageTail(hasNextPage: boolean): string {
  return `],"page_info":{"has_next_page":${hasNextPage}}}`;
}

/** Bytes around the edges, at most. */
const FRAME_BYTES = PAGE_HEAD.length + pageTail(false).length;

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
 *
 * Memory is bounded by one part and one piece of the store, whatever the limit.
 */
export function makeReadPage(reader: Pick<LogReader, 'readRange'>, limits: PageLimits): ReadPage {
  return async function* readPage(process, query) {
    const page = beginPage(query.by, limits.pageBytesMax);
    if (isEmptyRange(process, query)) {
      yield { bytes: page.finish(false), last: true, edges: 0 };
      return;
    }
    if (process.entry !== undefined && holdsProcess(process.entry, query)) page.add(process.entry);
    let hasNextPage = false;
    try {
      read: for await (const piece of readOn(reader, toRange(process, query, page.edges()))) {
        for (const entry of piece) {
          const isFull = page.edges() >= query.limit && !page.mustHold(entry);
          if (isFull || !page.fits(entry)) {
            hasNextPage = true;
            break read;
          }
          page.add(entry);
          if (page.pendingBytes() >= limits.partBytes) {
            yield { bytes: page.take(), last: false, edges: page.edges() };
          }
        }
      }
    } catch (error) {
      if (!(error instanceof DamagedEntryError) || page.edges() === 0) throw error;
      hasNextPage = true;
    }
    yield { bytes: page.finish(hasNextPage), last: true, edges: page.edges() };
  };
}

/** The entries of a range, and beyond its limit as long as more are asked for, which is rare: they are read anew. */
async function* readOn(
  reader: Pick<LogReader, 'readRange'>,
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

function toRange(process: LogProcess, query: PageQuery, edges: number): RangeQuery {
  return {
    processId: process.processId,
    by: query.by,
    // No stored place is negative: what is below 0 means the beginning.
    from: query.from !== undefined && query.from < 0 ? undefined : query.from,
    to: query.to,
    // One more than the page takes tells whether there is another. Kept a safe integer for limits without a limit.
    limit: Math.min(query.limit, Number.MAX_SAFE_INTEGER - 1) - edges + 1,
    showAnchor: query.showAnchor,
    isWanted: query.isWanted,
  };
}

function placeOf(entry: LogEntry, by: PageQuery['by']): number {
  return by === 'nonce' ? entry.nonce : entry.timestamp;
}

interface Page {
  edges(): number;
  /** Bytes added and not taken yet. */
  pendingBytes(): number;
  /** True when the page may hold this entry too. */
  fits(entry: LogEntry): boolean;
  /** True when the page's last cursor already lies at or behind this entry. */
  mustHold(entry: LogEntry): boolean;
  add(entry: LogEntry): void;
  take(): Buffer;
  finish(hasNextPage: boolean): Buffer;
}

/** The JSON of a page in the making: nodes are copied once, from the store's bytes to the part, and never parsed. */
function beginPage(by: PageQuery['by'], bytesMax: number): Page {
  let edges = 0;
  let takenBytes = 0;
  let pending: LogEntry[] = [];
  let pendingBytes = 0;
  let cursors: number[] = [];
  let last: { readonly epoch: number; readonly cursor: number } | undefined;
  const cursorOf = (entry: LogEntry): number =>
    last?.epoch === entry.epoch ? Math.max(last.cursor, placeOf(entry, by)) : placeOf(entry, by);
  const edgeBytes = (entry: LogEntry): number =>
    NODE_HEAD.length +
    entry.node.length +
    CURSOR_HEAD.length +
    String(cursorOf(entry)).length +
    EDGE_TAIL.length +
    1;
  const take = (tail: string): Buffer => {
    const first = edges === pending.length;
    const part = Buffer.allocUnsafe(PAGE_HEAD.length + pendingBytes + tail.length);
    let at = takenBytes === 0 ? part.write(PAGE_HEAD, 0, 'latin1') : 0;
    for (const [index, entry] of pending.entries()) {
      if (index > 0 || !first) at += part.write(',', at, 'latin1');
      part.set(NODE_HEAD, at);
      part.set(entry.node, at + NODE_HEAD.length);
      at += NODE_HEAD.length + entry.node.length;
      at += part.write(`${CURSOR_HEAD}${cursors[index]}${EDGE_TAIL}`, at, 'latin1');
    }
    at += part.write(tail, at, 'latin1');
    takenBytes += at;
    pending = [];
    cursors = [];
    pendingBytes = 0;
    return part.subarray(0, at);
  };
  return {
    edges: () => edges,
    pendingBytes: () => pendingBytes,
    fits: (entry) =>
      edges === 0 ||
      Math.max(takenBytes, PAGE_HEAD.length) + pendingBytes + edgeBytes(entry) <=
        bytesMax - (FRAME_BYTES - PAGE_HEAD.length),
    mustHold: (entry) =>
      last !== undefined && last.epoch === entry.epoch && placeOf(entry, by) <= last.cursor,
    add: (entry) => {
      edges += 1;
      pending.push(entry);
      pendingBytes += edgeBytes(entry);
      last = { epoch: entry.epoch, cursor: cursorOf(entry) };
      cursors.push(last.cursor);
    },
    take: () => take(''),
    finish: (hasNextPage) => take(pageTail(hasNextPage)),
  };
}
