import { LRUCache } from 'lru-cache';
import type { Id } from '../protocol/ids.js';
import type { LogEntry, LogReader, RangeQuery } from './ports.js';

/*
 * Rendered entries in memory, for the pages that everybody reads. A stored entry never changes, so what is here cannot be
 * wrong; what is not here is read from the store.
 *
 * Promises:
 * - an entry is followed by another only where the store itself gave the two one after the other: holes and
 *   whatever else an old log contains stay as they are;
 * - the end of what is known here is never taken for the end of the log: there the store goes on, so an entry that was
 *   acknowledged before the call is always found;
 * - a log in which places repeat or timestamps fall is not answered from here, since a cursor does not tell its entries apart;
 * - memory is bounded in bytes, entries that nobody asks for go first.
 */

interface Cached {
  readonly entry: LogEntry;
  /** The nonce of the entry that the store gave after this one. */
  next: number | undefined;
}

export interface EntryCacheOptions {
  readonly bytesMax: number;
  /** Larger entries are left to the store. */
  readonly entryBytesMax: number;
  /** A piece of a page, bytes. */
  readonly pieceBytes: number;
}

/** What an entry takes besides its JSON: objects and keys. */
const OVERHEAD_BYTES = 400;
const DISORDERED_MAX = 10_000;

/** The reader with a memory in front of its ranges; everything else passes through. */
export function cacheLogReader(reader: LogReader, options: EntryCacheOptions): LogReader {
  const cache = new EntryCache(options);
  return {
    findProcess: (processId, shown) => reader.findProcess(processId, shown),
    findLatest: (processId, shown) => reader.findLatest(processId, shown),
    findEntry: (id, processId, shown) => reader.findEntry(id, processId, shown),
    readRange: (query) =>
      query.showAnchor ? reader.readRange(query) : readThrough(reader, cache, query),
  };
}

async function* readThrough(
  reader: LogReader,
  cache: EntryCache,
  query: RangeQuery,
): AsyncIterable<readonly LogEntry[]> {
  let { from, limit } = query;
  let last: LogEntry | undefined;
  for (const piece of cache.walk(query)) {
    yield piece.entries;
    limit -= piece.entries.length;
    last = piece.entries.at(-1);
    if (limit === 0 || piece.isEnd) return;
  }
  if (last !== undefined) from = query.by === 'nonce' ? last.nonce : last.timestamp;
  const rest = { ...query, from, limit };
  for await (const entries of reader.readRange(rest)) {
    cache.learn(rest, last, entries);
    last = entries.at(-1) ?? last;
    yield entries;
  }
}

interface Piece {
  readonly entries: readonly LogEntry[];
  /** The next entry is known and lies behind the query's end. */
  readonly isEnd: boolean;
}

class EntryCache {
  readonly #options: EntryCacheOptions;
  readonly #entries: LRUCache<string, Cached>;
  /** Nonce by timestamp of what is in #entries. */
  readonly #byTime: LRUCache<string, number>;
  /** The nonce that the store gave first for a `from`. */
  readonly #starts: LRUCache<string, number>;
  readonly #disordered = new LRUCache<Id, true>({ max: DISORDERED_MAX });

  constructor(options: EntryCacheOptions) {
    this.#options = options;
    this.#entries = new LRUCache({
      maxSize: Math.max(1, options.bytesMax),
      sizeCalculation: ({ entry }) => entry.node.length + OVERHEAD_BYTES,
    });
    const namesMax = Math.max(1, Math.ceil(options.bytesMax / 1024));
    this.#byTime = new LRUCache({ max: namesMax });
    this.#starts = new LRUCache({ max: namesMax });
  }

  /** What the query asks for, from its beginning on, as far as it is here. */
  *walk(query: RangeQuery): Generator<Piece> {
    const { processId, by, to = Number.POSITIVE_INFINITY } = query;
    let next = this.#firstOf(query);
    let entries: LogEntry[] = [];
    let bytes = 0;
    for (let left = query.limit; left > 0 && next !== undefined; left -= 1) {
      const known = this.#entries.get(keyOf(processId, next));
      if (known === undefined) break;
      const { entry } = known;
      if ((by === 'nonce' ? entry.nonce : entry.timestamp) > to) {
        yield { entries, isEnd: true };
        return;
      }
      ({ next } = known);
      entries.push(entry);
      bytes += entry.node.length;
      if (bytes < this.#options.pieceBytes) continue;
      yield { entries, isEnd: false };
      entries = [];
      bytes = 0;
    }
    if (entries.length > 0) yield { entries, isEnd: false };
  }

  /** Keeps what the store gave for the query: `before` came last, undefined when these are the first. */
  learn(query: RangeQuery, before: LogEntry | undefined, entries: readonly LogEntry[]): void {
    const { processId } = query;
    let previous = before;
    for (const entry of entries) {
      if (previous !== undefined && !follows(previous, entry)) {
        this.#disordered.set(processId, true);
      }
      if (this.#disordered.has(processId)) return;
      if (previous === undefined) {
        this.#starts.set(startKeyOf(query), entry.nonce);
      } else {
        const known = this.#entries.get(keyOf(processId, previous.nonce));
        if (known !== undefined) known.next = entry.nonce;
      }
      this.#keep(processId, entry);
      previous = entry;
    }
  }

  /** The nonce of the first entry behind the query's `from`, when it is known. */
  #firstOf(query: RangeQuery): number | undefined {
    const { processId, by, from } = query;
    if (this.#disordered.has(processId)) return undefined;
    const nonce =
      by === 'nonce' || from === undefined ? from : this.#byTime.get(keyOf(processId, from));
    const named =
      nonce === undefined ? undefined : this.#entries.get(keyOf(processId, nonce))?.next;
    return named ?? this.#starts.get(startKeyOf(query));
  }

  #keep(processId: Id, entry: LogEntry): void {
    if (entry.node.length > this.#options.entryBytesMax) return;
    const key = keyOf(processId, entry.nonce);
    if (this.#entries.has(key)) return;
    this.#entries.set(key, { entry: { ...entry, node: ownBytes(entry.node) }, next: undefined });
    this.#byTime.set(keyOf(processId, entry.timestamp), entry.nonce);
  }
}

function keyOf(processId: Id, value: number): string {
  return `${processId}${value}`;
}

function startKeyOf({ processId, by, from }: RangeQuery): string {
  return `${processId}${by}${from ?? ''}`;
}

/** Epochs are 0 until the field knows others: with another one a nonce would name two entries. */
function follows(previous: LogEntry, entry: LogEntry): boolean {
  return (
    entry.epoch === previous.epoch &&
    entry.nonce > previous.nonce &&
    entry.timestamp > previous.timestamp
  );
}

/** A copy where the bytes are part of a larger piece that they would keep in memory. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > bytes.length + 1024 ? Buffer.from(bytes) : bytes;
}
