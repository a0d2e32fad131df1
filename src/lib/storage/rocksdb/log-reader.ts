import { invariant } from '../../errors.js';
import { parseMessageBundle } from '../../protocol/bundle.js';
import type { Id } from '../../protocol/ids.js';
import { renderNode } from '../../protocol/wire.js';
import type { LogEntry, LogProcess, LogReader, RangeQuery } from '../../scheduler/ports.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import {
  assignmentKey,
  entryFloor,
  entryKey,
  entryRange,
  headKey,
  locationOfTimeKey,
  messageKey,
  processKey,
  spawnKey,
  timeRange,
  type Location,
} from './keys.js';
import { renderProcessTexts } from './pack-runs.js';
import {
  decodeHead,
  decodeNode,
  decodePlaces,
  decodeProcessTexts,
  decodeSpawn,
  type ProcessTexts,
  type StoredNode,
} from './rows.js';

/** A piece of a range: so many entries, or the one that takes it over so many bytes. */
const PIECE_ENTRIES_MAX = 1000;
const PIECE_BYTES_MAX = 1024 * 1024;
/** Entries that are rendered at one go, on the event loop: about 3 ms. */
const RENDERED_ENTRIES_MAX = 100;

/** Keys from `gte` to `lt`, and what of their entries counts. */
interface Segment {
  readonly gte: Buffer;
  readonly lt: Buffer;
  /** Entries end with the first one that is later than this. */
  readonly timestampMax: number;
  /** The entry that an index named, which must be the first. */
  readonly first: Location | undefined;
}

/** The reading side of the embedded store; `LogReader` has the promises. */
export class RocksdbLogReader implements LogReader {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async findProcess(
    processId: Id,
    options: { readonly showAnchor: boolean } = { showAnchor: false },
  ): Promise<LogProcess | undefined> {
    const database = await this.#engine.database();
    const value = database.read('default', spawnKey(processId));
    if (value === undefined) return undefined;
    const spawn = decodeSpawn(value);
    const { record, node } = readProcessTexts(database, processId, options);
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

  async findLatest(processId: Id): Promise<LogEntry | undefined> {
    const database = await this.#engine.database();
    const [row] = database.readFew('nodes', { ...entryRange(processId), reverse: true, limit: 1 });
    return row && toEntry(database, { ...decodeNode(row[1]), processId }, false);
  }

  async findEntry(id: Id, processId: Id | undefined): Promise<LogEntry | undefined> {
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
      return toEntry(database, { ...decodeNode(node), processId: place.processId }, false);
    }
    return undefined;
  }

  /** One look at the database for each piece, so that a slow reader holds nothing open. */
  async *#readSegment(
    { processId, showAnchor }: RangeQuery,
    { gte, lt, timestampMax, first }: Segment,
    limit: number,
  ): AsyncGenerator<readonly LogEntry[]> {
    let left = limit;
    let from: { gte: Buffer } | { gt: Buffer } = { gte };
    while (left > 0) {
      const wanted = Math.min(left, showAnchor ? RENDERED_ENTRIES_MAX : PIECE_ENTRIES_MAX);
      const range = {
        ...from,
        lt,
        keys: false,
        limit: wanted,
        highWaterMarkBytes: PIECE_BYTES_MAX,
      };
      const rows = await (await this.#engine.database()).readRange('nodes', range);
      const nodes = rows.map(([, value]) => decodeNode(value));
      if (first !== undefined && 'gte' in from) assertFirst(first, nodes[0]);
      const beyond = nodes.findIndex(({ timestamp }) => timestamp > timestampMax);
      for await (const piece of this.#render(
        processId,
        beyond === -1 ? nodes : nodes.slice(0, beyond),
        showAnchor,
      )) {
        left -= piece.length;
        yield piece;
      }
      const last = nodes.at(-1);
      const bytes = rows.reduce((sum, [, value]) => sum + value.length, 0);
      const isEnd = rows.length < wanted && bytes <= PIECE_BYTES_MAX;
      if (last === undefined || beyond !== -1 || isEnd) return;
      from = { gt: entryKey({ ...last, processId }) };
    }
  }

  /** Splits a piece where its entries must be rendered, since those may be large. */
  async *#render(
    processId: Id,
    nodes: readonly StoredNode[],
    showAnchor: boolean,
  ): AsyncGenerator<readonly LogEntry[]> {
    let piece: LogEntry[] = [];
    let bytes = 0;
    for (const node of nodes) {
      const { epoch, nonce, timestamp, json } = node;
      const entry =
        json === undefined || showAnchor
          ? toEntry(await this.#engine.database(), { ...node, processId }, showAnchor)
          : { epoch, nonce, timestamp, node: json };
      piece.push(entry);
      bytes += entry.node.length;
      if (bytes < 2 * PIECE_BYTES_MAX) continue;
      yield piece;
      piece = [];
      bytes = 0;
    }
    if (piece.length > 0) yield piece;
  }
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
    timestampMax: Number.POSITIVE_INFINITY,
    first: undefined,
  }));
}

/** The index by time says where to begin; timestamps rise along the log, so the first later entry is the end. */
function findTimeSegment(
  database: Database,
  { processId, from, to }: RangeQuery,
): readonly Segment[] {
  const [row] = database.readFew('default', {
    ...timeRange(processId, from),
    limit: 1,
    values: false,
  });
  if (row === undefined) return [];
  const { lt } = entryRange(processId);
  const first = locationOfTimeKey(row[0]);
  return [{ gte: entryKey(first), lt, timestampMax: to ?? Number.POSITIVE_INFINITY, first }];
}

function assertFirst(named: Location, found: StoredNode | undefined): void {
  const isThere =
    found?.epoch === named.epoch && found.nonce === named.nonce && found.suffix === named.suffix;
  invariant(isThere, 'an index names an entry that is not there', { ...named });
}

function toEntry(database: Database, node: StoredNode & Location, showAnchor: boolean): LogEntry {
  const { epoch, nonce, timestamp, json } = node;
  const isStored = json !== undefined && !showAnchor;
  return {
    epoch,
    nonce,
    timestamp,
    node: isStored ? json : renderStored(database, node, showAnchor),
  };
}

function renderStored(database: Database, location: Location, showAnchor: boolean): Buffer {
  const bundle = database.read('bundles', entryKey(location));
  invariant(bundle !== undefined, 'an entry of the log has no bundle', {
    processId: location.processId,
    nonce: location.nonce,
  });
  return Buffer.from(renderNode(parseMessageBundle(bundle), { showAnchor }), 'utf8');
}

function readProcessTexts(
  database: Database,
  processId: Id,
  options: { readonly showAnchor: boolean },
): ProcessTexts {
  const stored = options.showAnchor ? undefined : database.read('nodes', processKey(processId));
  if (stored !== undefined) return decodeProcessTexts(stored);
  const bundle = database.read('bundles', processKey(processId));
  invariant(bundle !== undefined, 'a process has no bundle', { processId });
  return renderProcessTexts(bundle, options);
}
