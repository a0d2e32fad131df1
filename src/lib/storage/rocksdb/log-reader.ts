import { invariant, isSuError } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type {
  LogEntry,
  LogProcess,
  LogReader,
  Position,
  RangeQuery,
  ReadOptions,
} from '../../scheduler/ports.js';
import { batchPerTick } from '../../batch-per-tick.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import { EntryRenderer, type ShownOptions } from './entry-renderer.js';
import {
  assignmentKey,
  comparePlaces,
  entryFloor,
  entryKey,
  entryRange,
  headKey,
  locationOfTimeKey,
  messageKey,
  spawnKey,
  timeRange,
  type Location,
} from './keys.js';
import { NODE_PIECE_BYTES_MAX, NodeRange } from './node-range.js';
import { decodeHead, decodeNode, decodePlaces, decodeSpawn, type StoredNode } from './rows.js';
import { StretchedNode } from './stretch.js';

/** Entries of a piece of a range. */
const PIECE_ENTRIES_MAX = 1000;
/** Entries that are rendered at one go, on the event loop: about 3 ms. */
const RENDERED_ENTRIES_MAX = 100;

/** Of logs that are asked for in the same moment. */
const HEADS_AT_ONCE = 256;

const WARN_PAUSE_MS = 60_000;

const HIDDEN_ANCHOR: ShownOptions = { showAnchor: false };

/** Keys from `gte` to `lt`, and what of their entries counts. */
interface Segment {
  readonly gte: Buffer;
  readonly lt: Buffer;
  /** What counts of them, ms: later than `from`, at most `to`. */
  readonly times: { readonly from: number; readonly to: number } | undefined;
  /** The entry that an index named, which must be the first. */
  readonly first: Location | undefined;
}

/** The reading side of the embedded store; `LogReader` has the promises. */
export class RocksdbLogReader implements LogReader {
  readonly #engine: Engine;
  readonly #renderer: EntryRenderer;
  #warnedAt = Number.NEGATIVE_INFINITY;
  readonly #findHeadPlace: (processId: Id) => Promise<Position | undefined>;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#renderer = new EntryRenderer(engine);
    this.#findHeadPlace = batchPerTick(
      async (processIds: readonly Id[]) => findHeadPlaces(await engine.database(), processIds),
      HEADS_AT_ONCE,
    );
  }

  /** Ends what is being rendered; the engine is its opener's to close. */
  close(): Promise<void> {
    return this.#renderer.close();
  }

  async findProcess(
    processId: Id,
    options: ShownOptions = HIDDEN_ANCHOR,
  ): Promise<LogProcess | undefined> {
    const database = await this.#engine.database();
    const value = database.read('default', spawnKey(processId));
    if (value === undefined) return undefined;
    const spawn = decodeSpawn(value);
    const { record, node } = await this.#renderer.processTexts(database, processId, options);
    if (!spawn.hasAssignment) return { processId, record, entry: undefined };
    const { epoch, nonce, timestamp } = spawn;
    invariant(node !== undefined, 'a process with an assignment has a node', { processId });
    return { processId, record, entry: { epoch, nonce, timestamp, node } };
  }

  async *readRange(query: RangeQuery): AsyncGenerator<readonly LogEntry[]> {
    let left = query.limit;
    for (const segment of findSegments(await this.#engine.database(), query)) {
      for await (const piece of this.#readSegment(query, segment, left)) {
        left -= piece.length;
        yield piece;
      }
      if (left <= 0) return;
    }
  }

  /** The head, which is written with each entry. */
  findHeadPlace(processId: Id): Promise<Position | undefined> {
    return this.#findHeadPlace(processId);
  }

  async findLatest(processId: Id, options: ReadOptions = {}): Promise<LogEntry | undefined> {
    const database = await this.#engine.database();
    const [row] = database.readFew('nodes', { ...entryRange(processId), reverse: true, limit: 1 });
    if (row === undefined) return undefined;
    const shown = { ...options, showAnchor: false };
    return this.#renderer.entry(database, { ...decodeNode(row[1]), processId }, shown);
  }

  async findEntry(
    id: Id,
    processId: Id | undefined,
    options: ReadOptions = {},
  ): Promise<LogEntry | undefined> {
    const database = await this.#engine.database();
    const [messages, assignments] = database.readMany('default', [
      messageKey(id),
      assignmentKey(id),
    ]);
    for (const value of [messages, assignments]) {
      const places = value === undefined ? [] : decodePlaces(value);
      const place = places.find((at) => processId === undefined || at.processId === processId);
      if (place === undefined) continue;
      const node = database.read('nodes', entryKey(place));
      invariant(node !== undefined, 'an index names an entry that is not there', { ...place });
      const located = { ...decodeNode(node), processId: place.processId };
      return this.#renderer.entry(database, located, { ...options, showAnchor: false });
    }
    return undefined;
  }

  /** One look at the database for each piece, so that a slow reader holds nothing open; the next one while a piece is sent. */
  async *#readSegment(
    query: RangeQuery,
    { gte, lt, times, first }: Segment,
    limit: number,
  ): AsyncGenerator<readonly LogEntry[]> {
    const { processId, showAnchor } = query;
    const onDamage = (error: unknown): void => this.#warnOfStretch(processId, error);
    const nodes = new NodeRange({ processId, gte, lt, withStretches: !showAnchor, onDamage });
    let left = limit;
    let isFirst = true;
    let next = this.#readNodes(nodes, query, left);
    for (;;) {
      const found = await next;
      if (isFirst && first !== undefined) assertFirst(first, found[0]);
      isFirst = false;
      const counting = times === undefined ? found : found.filter((node) => isWithin(times, node));
      left -= counting.length;
      const isEnd = nodes.isEnd || left <= 0;
      if (!isEnd) next = this.#readNodes(nodes, query, left);
      yield* this.#render(query, counting);
      if (isEnd) return;
    }
  }

  /** Once a minute: every page over the damage would say so. */
  #warnOfStretch(processId: Id, error: unknown): void {
    const now = performance.now();
    if (now - this.#warnedAt < WARN_PAUSE_MS) return;
    this.#warnedAt = now;
    this.#engine.log.warn(
      { event: 'stored-pages-unread', processId, reason: reasonOf(error) },
      'stored JSON of entries cannot be read: it is made anew from their bundles, which is slower',
    );
  }

  #readNodes(
    nodes: NodeRange,
    { showAnchor }: RangeQuery,
    left: number,
  ): Promise<readonly StoredNode[]> {
    const wanted = Math.min(left, showAnchor ? RENDERED_ENTRIES_MAX : PIECE_ENTRIES_MAX);
    const reading = nodes.read(() => this.#engine.database(), wanted);
    // Whoever waits for it gets the failure; a reader that has gone does not wait.
    reading.catch(() => undefined);
    return reading;
  }

  /** Splits a piece where its entries must be rendered, since those may be large. */
  async *#render(
    { processId, showAnchor, isWanted }: RangeQuery,
    nodes: readonly StoredNode[],
  ): AsyncGenerator<readonly LogEntry[]> {
    let piece: LogEntry[] = [];
    let bytes = 0;
    for (const node of nodes) {
      let entry: LogEntry;
      try {
        entry =
          asShown(node, showAnchor) ??
          (await this.#renderer.entry(
            await this.#engine.database(),
            { ...node, processId },
            { showAnchor, isWanted },
          ));
      } catch (error) {
        // What stands before a damaged entry can be had all the same.
        if (piece.length > 0) yield piece;
        throw error;
      }
      piece.push(entry);
      bytes += entry.edge === undefined ? entry.node.length : entry.edge.end - entry.edge.begin;
      if (bytes < NODE_PIECE_BYTES_MAX) continue;
      yield piece;
      piece = [];
      bytes = 0;
    }
    if (piece.length > 0) yield piece;
  }
}

/** The entry as pages show it, where that is stored. */
function asShown(node: StoredNode, showAnchor: boolean): LogEntry | undefined {
  if (showAnchor) return undefined;
  // Its JSON is not looked at: only few readers want it, and a page has a thousand.
  if (node instanceof StretchedNode) return node;
  const { epoch, nonce, timestamp, json } = node;
  return json && { epoch, nonce, timestamp, node: json };
}

function reasonOf(error: unknown): unknown {
  return isSuError(error) ? (error.details['reason'] ?? error.message) : String(error);
}

function findHeadPlaces(
  database: Database,
  processIds: readonly Id[],
): readonly (Position | undefined)[] {
  return database.readMany('default', processIds.map(headKey)).map((value) => {
    const head = value && decodeHead(value);
    return head === undefined || head.nonce < 0 ? undefined : head;
  });
}

/** Where in the log a range lies: a segment for each epoch by nonce, one by time. */
function findSegments(database: Database, query: RangeQuery): readonly Segment[] {
  const { processId, by, from, to } = query;
  const head = database.read('default', headKey(processId));
  if (head === undefined || (to !== undefined && to < 0)) return [];
  if (by === 'timestamp') return findTimeSegment(database, query);
  const first = from === undefined || from < 0 ? 0 : from + 1;
  const behind = Math.min(to ?? Number.MAX_SAFE_INTEGER - 1, Number.MAX_SAFE_INTEGER - 1) + 1;
  if (first >= behind) return [];
  const { epoch: lastEpoch } = decodeHead(head);
  return Array.from({ length: lastEpoch + 1 }, (_, epoch) => ({
    gte: entryFloor(processId, epoch, first),
    lt: entryFloor(processId, epoch, behind),
    times: undefined,
    first: undefined,
  }));
}

/** How far the timestamps of old logs may be out of order, in entries. Ours strictly rise. */
const DISORDER_ROWS = 256;

/**
 * The index by time says where to begin and where to end. In logs that were copied from old databases a clock may have been
 * set back: the order is that of the places all the same, so the lowest place of those that come next in time is the first,
 * and the highest of those that came last is the last.
 */
function findTimeSegment(
  database: Database,
  { processId, from, to }: RangeQuery,
): readonly Segment[] {
  const first = placeByTime(database, timeRange(processId, from), 'first');
  if (first === undefined) return [];
  const gte = entryKey(first);
  const times = { from: from ?? -1, to: to ?? Number.POSITIVE_INFINITY };
  const { lt } = entryRange(processId);
  if (to === undefined) return [{ gte, lt, times, first }];
  const upTo = { gte: timeRange(processId, undefined).gte, lt: timeRange(processId, to).gte };
  const last = placeByTime(database, upTo, 'last');
  if (last === undefined) return [];
  const end = entryKey({ ...last, suffix: last.suffix + 1 });
  return gte.compare(end) < 0 ? [{ gte, lt: end, times, first }] : [];
}

/** The lowest place among the first entries of a stretch of time, or the highest among its last ones. */
function placeByTime(
  database: Database,
  range: { readonly gte: Buffer; readonly lt: Buffer },
  which: 'first' | 'last',
): Location | undefined {
  const reverse = which === 'last';
  const bounds = { ...range, reverse, limit: DISORDER_ROWS, values: false };
  let best: Buffer | undefined;
  for (const [key] of database.readFew('default', bounds)) {
    const order = best === undefined ? 0 : comparePlaces(key, best);
    if (best === undefined || (reverse ? order > 0 : order < 0)) best = key;
  }
  return best && locationOfTimeKey(best);
}

function isWithin({ from, to }: { from: number; to: number }, { timestamp }: StoredNode): boolean {
  return timestamp > from && timestamp <= to;
}

function assertFirst(named: Location, found: StoredNode | undefined): void {
  const isThere =
    found?.epoch === named.epoch && found.nonce === named.nonce && found.suffix === named.suffix;
  invariant(isThere, 'an index names an entry that is not there', { ...named });
}
