import { LRUCache } from 'lru-cache';
import type { Id } from '../protocol/ids.js';
import type { LogEntry, LogProcess, LogReader, Position, RangeQuery } from './ports.js';

/*
 * Rendered entries in memory, for the pages that everybody reads. A stored process or entry never changes, so what is here
 * cannot be wrong; what is not here is read from the store.
 *
 * Promises:
 * - an entry is followed by another only where the store itself gave the two one after the other: holes and
 *   whatever else an old log contains stay as they are;
 * - the end of what is known here is never taken for the end of the log: the store is asked for its head, and goes on where
 *   that lies further on, so an entry that was acknowledged before the call is always found;
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
/** Of the whole memory: for processes, and for the newest entries of logs. */
const SMALL_SHARE = 1 / 8;
const DISORDERED_MAX = 10_000;

/** The reader with a memory in front of it; look-ups by an entry's id pass through. */
export function cacheLogReader(reader: LogReader, options: EntryCacheOptions): LogReader {
  const smallBytesMax = Math.max(1, Math.floor(options.bytesMax * SMALL_SHARE));
  const entries = new EntryCache({ ...options, bytesMax: options.bytesMax - 2 * smallBytesMax });
  const processes = new LRUCache<Id, LogProcess>({
    maxSize: smallBytesMax,
    maxEntrySize: options.entryBytesMax,
    sizeCalculation: ({ record, entry }) =>
      record.length + (entry?.node.length ?? 0) + OVERHEAD_BYTES,
  });
  const newest = new LRUCache<Id, LogEntry>({
    maxSize: smallBytesMax,
    maxEntrySize: options.entryBytesMax,
    sizeCalculation: ({ node }) => node.length + OVERHEAD_BYTES,
  });
  return {
    async findProcess(processId, shown) {
      if (shown?.showAnchor === true) return reader.findProcess(processId, shown);
      const known = processes.get(processId);
      if (known !== undefined) return known;
      const found = await reader.findProcess(processId, shown);
      if (found !== undefined) processes.set(processId, ownProcess(found));
      return found;
    },
    async findLatest(processId, asked) {
      const known = newest.get(processId);
      if (known !== undefined && isAt(known, await reader.findHeadPlace(processId))) return known;
      const found = await reader.findLatest(processId, asked);
      if (found !== undefined) newest.set(processId, ownEntry(found));
      return found;
    },
    findHeadPlace: (processId) => reader.findHeadPlace(processId),
    findEntry: (id, processId, asked) => reader.findEntry(id, processId, asked),
    readRange: (query) =>
      query.showAnchor ? reader.readRange(query) : readThrough(reader, entries, query),
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
  if (await endsHere(reader, query, last)) return;
  if (last !== undefined) from = query.by === 'nonce' ? last.nonce : last.timestamp;
  const rest = { ...query, from, limit };
  for await (const entries of reader.readRange(rest)) {
    cache.learn(rest, last, entries);
    last = entries.at(-1) ?? last;
    yield entries;
  }
}

/**
 * Whether the log has nothing of the range behind what is known of it. Where nothing is known, a timestamp tells nothing: in
 * an old log one that comes earlier may be later.
 */
async function endsHere(
  reader: LogReader,
  { processId, by, from }: RangeQuery,
  last: LogEntry | undefined,
): Promise<boolean> {
  if (last !== undefined) return isAt(last, await reader.findHeadPlace(processId));
  if (by !== 'nonce' || from === undefined) return false;
  const head = await reader.findHeadPlace(processId);
  return head?.epoch === 0 && head.nonce <= from;
}

function isAt(entry: Position, place: Position | undefined): boolean {
  return place?.epoch === entry.epoch && place.nonce === entry.nonce;
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
    this.#entries.set(key, { entry: ownEntry(entry), next: undefined });
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

function ownEntry(entry: LogEntry): LogEntry {
  return { ...entry, node: ownBytes(entry.node) };
}

function ownProcess({ processId, record, entry }: LogProcess): LogProcess {
  return { processId, record: ownBytes(record), entry: entry && ownEntry(entry) };
}

/** A copy where the bytes are part of a larger piece that they would keep in memory. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > bytes.length + 1024 ? Buffer.from(bytes) : bytes;
}
