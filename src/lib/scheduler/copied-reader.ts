import { LRUCache } from 'lru-cache';
import { isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { LogEntry, LogProcess, LogReader, Position, RangeQuery } from './ports.js';

/*
 * Reads are answered from a copy on the local disk as far as it is known to be complete, and from the database behind that.
 *
 * Promises:
 * - what was acknowledged before the call is found: a page that reaches the end of the copy is compared with the head in
 *   the writer, and completed from there; what is not in the copy is asked of the database;
 * - the answer is the same as the database's: a log is read from the copy only as far as its watermark, only after
 *   the hash chain there was found in the database (another database, or one set back, is noticed), and by time only
 *   where timestamps rise along it;
 * - a copy that cannot be read, or whose entries begin to be removed under a page, costs time: the database goes on where it
 *   stopped.
 */

/** How far the copy of a log is complete. */
export interface LogWatermark extends Position {
  /** The latest timestamp up to there, ms. */
  readonly timestamp: number;
  /** Of the entry at this place; empty where there is none, or where it is not known. */
  readonly hashChain: string;
  /** Whether timestamps rise along the log up to there. */
  readonly isOrdered: boolean;
}

/** The copy as it is read. All of it may throw SuError `store-unavailable`, `invariant`. */
export interface CopiedLog {
  findWatermark(processId: Id): Promise<LogWatermark | undefined>;
  /** Another one than before when entries of some log have begun to be removed since; undefined while those of this one are. */
  generation(processId: Id): number | undefined;
  /** The process in whose log the copy has an entry, up to the watermark. */
  findOwner(id: Id, processId: Id | undefined): Promise<Id | undefined>;
  /** Gives what the copy has, the part behind the watermark too. */
  readonly reader: LogReader;
}

/** The log in the database, with what completes a copy. All methods throw SuError `store-unavailable`. */
export interface DatabaseLog extends LogReader {
  /** The entries of a range that stand behind a place of the log. */
  readRangeBehind(query: RangeQuery, place: Position): AsyncIterable<readonly LogEntry[]>;
  /** Whether a message with this hash chain stands at a place, by the writer. */
  hasHashChain(processId: Id, at: Position & { readonly hashChain: string }): Promise<boolean>;
}

export interface CopiedReaderOptions {
  readonly copy: CopiedLog;
  readonly database: DatabaseLog;
  /** Told when the copy of a log is found to be behind the database, or to be of another log. */
  readonly onBehind: (processId: Id) => void;
  /** Told when the copy could not be read. */
  readonly onFailure: (error: unknown) => void;
  /** Told for each read where its answer came from. */
  readonly onRead: (from: 'disk' | 'database' | 'both') => void;
}

/** Logs whose copy was found to be of this database, at most; others are looked up again. */
const TRUSTED_MAX = 100_000;

/** The reader over both; see above. */
export function makeCopiedReader(options: CopiedReaderOptions): LogReader {
  const { database, onRead } = options;
  const disk = new TrustedCopy(options);
  return {
    async findProcess(processId, shown): Promise<LogProcess | undefined> {
      const isThere = (await disk.findWatermark(processId)) !== undefined;
      const known = isThere
        ? await disk.attempt(() => disk.reader.findProcess(processId, shown))
        : undefined;
      onRead(known === undefined ? 'database' : 'disk');
      return known ?? database.findProcess(processId, shown);
    },
    async findEntry(id, processId, asked): Promise<LogEntry | undefined> {
      const owner = await disk.attempt(() => options.copy.findOwner(id, processId));
      const isThere = owner !== undefined && (await disk.findWatermark(owner)) !== undefined;
      const known = isThere
        ? await disk.attempt(() => disk.reader.findEntry(id, owner, asked))
        : undefined;
      onRead(known === undefined ? 'database' : 'disk');
      return known ?? database.findEntry(id, processId, asked);
    },
    async findLatest(processId, asked): Promise<LogEntry | undefined> {
      const watermark = await disk.findWatermark(processId);
      const head = watermark && (await database.findHeadPlace(processId));
      if (watermark !== undefined && head !== undefined) {
        if (compare(head, watermark) > 0) options.onBehind(processId);
        const entry =
          compare(head, watermark) === 0
            ? await disk.attempt(() => disk.reader.findLatest(processId, asked))
            : undefined;
        if (entry !== undefined && compare(entry, head) === 0) {
          onRead('disk');
          return entry;
        }
      }
      onRead('database');
      return database.findLatest(processId, asked);
    },
    findHeadPlace: (processId) => database.findHeadPlace(processId),
    readRange: (query) => readRange(query, disk, options),
  };
}

/** The copy, as far as it may be relied on; its failures are told and then count as "not there". */
class TrustedCopy {
  readonly reader: LogReader;
  readonly #options: CopiedReaderOptions;
  readonly #trusted = new LRUCache<Id, true>({ max: TRUSTED_MAX });

  constructor(options: CopiedReaderOptions) {
    this.#options = options;
    this.reader = options.copy.reader;
  }

  async attempt<Result>(read: () => Promise<Result>): Promise<Result | undefined> {
    try {
      return await read();
    } catch (error) {
      if (isNoFailure(error)) throw error;
      this.#options.onFailure(error);
      return undefined;
    }
  }

  /** Undefined for a log of which the copy has nothing, or of which it is no copy: the database has another one there. */
  async findWatermark(processId: Id): Promise<LogWatermark | undefined> {
    const watermark = await this.attempt(() => this.#options.copy.findWatermark(processId));
    if (watermark === undefined || this.#trusted.has(processId)) return watermark;
    if (!(await this.#isOfDatabase(processId, watermark))) {
      this.#options.onBehind(processId);
      return undefined;
    }
    this.#trusted.set(processId, true);
    return watermark;
  }

  /** A log without messages has no chain yet: then it is enough that the database knows its process. */
  async #isOfDatabase(processId: Id, watermark: LogWatermark): Promise<boolean> {
    const { database } = this.#options;
    if (watermark.hashChain === '' && watermark.timestamp === 0) {
      return (await database.findProcess(processId)) !== undefined;
    }
    return database.hasHashChain(processId, watermark);
  }
}

async function* readRange(
  query: RangeQuery,
  disk: TrustedCopy,
  options: CopiedReaderOptions,
): AsyncGenerator<readonly LogEntry[], void> {
  const { database, onRead, copy } = options;
  // Before the watermark, which goes with the first entries that are removed.
  const generation = copy.generation(query.processId);
  const watermark = await disk.findWatermark(query.processId);
  const isUsable =
    generation !== undefined &&
    watermark !== undefined &&
    watermark.epoch === 0 &&
    (query.by === 'nonce' || watermark.isOrdered);
  if (!isUsable) {
    if (watermark === undefined) options.onBehind(query.processId);
    onRead('database');
    yield* database.readRange(query);
    return;
  }
  const isChanged = (): boolean => copy.generation(query.processId) !== generation;
  const given = new Given();
  let hasFailed = false;
  try {
    for await (const piece of disk.reader.readRange(query)) {
      if (isChanged()) break;
      const known = upTo(piece, watermark);
      given.add(known);
      if (known.length > 0) yield known;
      if (known.length < piece.length) break;
    }
  } catch (error) {
    if (isNoFailure(error)) throw error;
    options.onFailure(error);
    hasFailed = true;
  }
  const isWhole = given.count >= query.limit;
  // What came last of entries that are being removed may be an end that is none.
  if (hasFailed || (!isWhole && isChanged())) {
    onRead('both');
    yield* given.rest(database, query);
    return;
  }
  if (isWhole || endsBefore(query, watermark)) {
    onRead('disk');
    return;
  }
  const head = await database.findHeadPlace(query.processId);
  if (head === undefined || compare(head, watermark) <= 0) {
    onRead('disk');
    return;
  }
  options.onBehind(query.processId);
  onRead('both');
  const rest = { ...query, limit: query.limit - given.count };
  yield* database.readRangeBehind(rest, watermark);
}

/** Too much is asked, or nobody waits any more: the database in its place would only be asked the same. */
function isNoFailure(error: unknown): boolean {
  return isSuError(error, 'scheduler-busy', 'invalid-request');
}

/** The beginning of a piece that the watermark covers. */
function upTo(piece: readonly LogEntry[], watermark: LogWatermark): readonly LogEntry[] {
  const last = piece.at(-1);
  if (last === undefined || compare(last, watermark) <= 0) return piece;
  return piece.slice(
    0,
    piece.findIndex((entry) => compare(entry, watermark) > 0),
  );
}

/** True when the whole range lies before the watermark, so that nothing newer can be in it. */
function endsBefore({ by, to }: RangeQuery, watermark: LogWatermark): boolean {
  if (to === undefined) return false;
  return by === 'nonce' ? to <= watermark.nonce : to < watermark.timestamp;
}

/** What was given of a range, for the database to go on from; old logs may hold several entries at one place. */
class Given {
  count = 0;
  #last: LogEntry | undefined;
  #atLast = 0;

  add(entries: readonly LogEntry[]): void {
    for (const entry of entries) {
      const isSame = this.#last !== undefined && compare(this.#last, entry) === 0;
      this.#atLast = isSame ? this.#atLast + 1 : 1;
      this.#last = entry;
    }
    this.count += entries.length;
  }

  async *rest(database: DatabaseLog, query: RangeQuery): AsyncGenerator<readonly LogEntry[], void> {
    const last = this.#last;
    if (last === undefined) {
      yield* database.readRange(query);
      return;
    }
    let known = this.#atLast;
    const limit = query.limit - this.count + known;
    const before = { epoch: last.epoch, nonce: last.nonce - 1 };
    for await (const piece of database.readRangeBehind({ ...query, limit }, before)) {
      const fresh = piece.slice(known);
      known = Math.max(0, known - piece.length);
      if (fresh.length > 0) yield fresh;
    }
  }
}

function compare(one: Position, other: Position): number {
  return one.epoch - other.epoch || one.nonce - other.nonce;
}
