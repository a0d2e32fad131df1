import type {
  RawLogReader,
  RowPosition,
  StoredMessage,
  StoredProcess,
} from '../../migrator/ports.js';
import { readAssignment, type AssignmentFields } from '../../protocol/assignment.js';
import { parseMessageBundle, parseProcessBundle } from '../../protocol/bundle.js';
import type { DataItem } from '../../protocol/data-item.js';
import { asBuffer, idFromBytes, isId, type Id } from '../../protocol/ids.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import {
  COUNTERS_KEY,
  entryKey,
  entryRange,
  letterRange,
  processKey,
  readId,
  spawnKey,
} from './keys.js';
import {
  decodeCounters,
  decodeNode,
  decodeOutboxRow,
  decodeProcessTexts,
  decodeSpawn,
  type StoredNode,
} from './rows.js';
import { withStretched } from './stretch.js';

/** A piece: so many rows, or the one that takes it over so many bytes. */
const PIECE_ROWS_MAX = 200;
const PIECE_BYTES_MAX = 1024 * 1024;
const KEYS_A_LOOK = 10_000;
const OUTBOX_ROWS_A_LOOK = 1000;

/** What a row is called when nothing of it can be read any more. */
const UNKNOWN_ID = idFromBytes(new Uint8Array(32));

/**
 * The rows of the embedded store as they stand. It has no columns: ids and hash chain are those of the bundle, or, where that
 * cannot be read, of the stored JSON; an entry without a bundle has an empty one. Processes come in the order of the
 * bytes of their ids. One look at the database for each piece, so that a slow reader holds nothing open.
 */
export class RocksdbRawLogReader implements RawLogReader {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async countProcesses(): Promise<number> {
    let count = 0;
    for (let from: { gt: Buffer } | { gte: Buffer } = { gte: SPAWN_KEYS.gte }; ;) {
      const database = await this.#engine.database();
      const rows = await database.readRange('default', {
        ...from,
        lt: SPAWN_KEYS.lt,
        values: false,
        limit: KEYS_A_LOOK,
      });
      count += rows.length;
      const last = rows.at(-1);
      if (last === undefined || rows.length < KEYS_A_LOOK) return count;
      from = { gt: last[0] };
    }
  }

  async *readProcesses(afterId: Id | undefined): AsyncGenerator<readonly StoredProcess[]> {
    let from: { gt: Buffer } | { gte: Buffer } =
      afterId === undefined ? { gte: SPAWN_KEYS.gte } : { gt: spawnKey(afterId) };
    for (;;) {
      const database = await this.#engine.database();
      const range = { ...from, lt: SPAWN_KEYS.lt, limit: PIECE_ROWS_MAX };
      const rows = await database.readRange('default', range);
      const last = rows.at(-1);
      if (last === undefined) return;
      yield* this.#readPieces(rows.map(([key]) => readId(key, 1)));
      from = { gt: last[0] };
    }
  }

  /** The process with this id, undefined when it is not stored. @throws SuError `store-unavailable` */
  async findProcess(processId: Id): Promise<StoredProcess | undefined> {
    return readProcess(await this.#engine.database(), processId);
  }

  /** Uploads that wait and those that were refused, over all processes. @throws SuError `store-unavailable` */
  async countOutstanding(): Promise<{ readonly pending: number; readonly parked: number }> {
    const database = await this.#engine.database();
    const { pending, parked } = decodeCounters(database.read('default', COUNTERS_KEY));
    return { pending, parked };
  }

  async *readMessages(
    processId: Id,
    after: RowPosition | undefined,
  ): AsyncGenerator<readonly StoredMessage[]> {
    const { gte, lt } = entryRange(processId);
    let from: { gt: Buffer } | { gte: Buffer } =
      after === undefined || after.nonce < 0
        ? { gte }
        : { gt: entryKey({ ...after, processId, suffix: after.rank }) };
    for (;;) {
      const database = await this.#engine.database();
      const piece = await readPiece(database, processId, { ...from, lt });
      const last = piece.at(-1);
      if (last === undefined) return;
      yield piece;
      from = { gt: entryKey({ ...last, suffix: last.rank }) };
    }
  }

  async readOutstanding(processId: Id): Promise<ReadonlyMap<Id, number>> {
    const outstanding = new Map<Id, number>();
    for (const letter of ['o', 'x'] as const) {
      const { gte, lt } = letterRange(letter);
      for (let from: { gt: Buffer } | { gte: Buffer } = { gte }; ;) {
        const database = await this.#engine.database();
        const range = { ...from, lt, limit: OUTBOX_ROWS_A_LOOK };
        const rows = await database.readRange('default', range);
        for (const [, value] of rows) {
          const { processId: owner, messageId, parts } = decodeOutboxRow(value);
          if (owner !== processId) continue;
          outstanding.set(messageId, (outstanding.get(messageId) ?? 0) | parts);
        }
        const last = rows.at(-1);
        if (last === undefined || rows.length < OUTBOX_ROWS_A_LOOK) break;
        from = { gt: last[0] };
      }
    }
    return outstanding;
  }

  async *#readPieces(ids: readonly Id[]): AsyncGenerator<readonly StoredProcess[]> {
    let piece: StoredProcess[] = [];
    let bytes = 0;
    for (const processId of ids) {
      const process = readProcess(await this.#engine.database(), processId);
      if (process === undefined) continue;
      piece.push(process);
      bytes += process.bundle.length + (process.json?.length ?? 0);
      if (bytes < PIECE_BYTES_MAX) continue;
      yield piece;
      piece = [];
      bytes = 0;
    }
    if (piece.length > 0) yield piece;
  }
}

/** The keys of all spawns: there is one for each process. */
const SPAWN_KEYS = { gte: Buffer.from('s'), lt: Buffer.from('t') };

function readProcess(database: Database, processId: Id): StoredProcess | undefined {
  const value = database.read('default', spawnKey(processId));
  if (value === undefined) return undefined;
  const { hasAssignment, epoch, nonce, timestamp } = decodeSpawn(value);
  const bundle = database.read('bundles', processKey(processId)) ?? Buffer.alloc(0);
  const texts = database.read('nodes', processKey(processId));
  const json = texts && processJson(texts);
  if (!hasAssignment) {
    const none = { epoch: undefined, nonce: undefined, timestamp: undefined, hashChain: undefined };
    return { processId, rank: 0, ...none, bundle, json };
  }
  const assignment = attempt(() => parseProcessBundle(bundle).assignment);
  const hashChain = placeOf(assignment)?.hashChain;
  return { processId, rank: 0, epoch, nonce, timestamp, hashChain, bundle, json };
}

/** Record and node as the one JSON that `process_data` is; damaged, they are given out as they are. */
function processJson(texts: Buffer): string {
  const json = attempt(() => {
    const { record, node } = decodeProcessTexts(texts);
    const { assignment } = JSON.parse(node === undefined ? '{}' : toText(node)) as {
      assignment?: unknown;
    };
    return `{"process":${toText(record)},"assignment":${JSON.stringify(assignment ?? null)}}`;
  });
  return json ?? texts.toString('utf8');
}

/** The nodes of a piece, and then their bundles: as many as fit. */
async function readPiece(
  database: Database,
  processId: Id,
  range: ({ gt: Buffer } | { gte: Buffer }) & { lt: Buffer },
): Promise<readonly StoredMessage[]> {
  const bounds = { limit: PIECE_ROWS_MAX, highWaterMarkBytes: PIECE_BYTES_MAX };
  const nodes = await database.readRange('nodes', { ...range, ...bounds });
  const last = nodes.at(-1);
  if (last === undefined) return [];
  const { lt: _lt, ...from } = range;
  const bundles = await database.readRange('bundles', { ...from, lte: last[0], ...bounds });
  const bytes = bundles.reduce((sum, [, value]) => sum + value.length, 0);
  const lastBundle = bundles.at(-1)?.[0];
  const isCut = bundles.length === bounds.limit || bytes > bounds.highWaterMarkBytes;
  const byKey = new Map(bundles.map(([key, value]) => [key.toString('latin1'), value]));
  const whole = nodes.filter(
    ([key]) => !isCut || lastBundle === undefined || key.compare(lastBundle) <= 0,
  );
  // Bundles without a node, which nothing shows, may fill a look: then the first node gets its own.
  const [kept, found] =
    whole.length > 0 ? [whole, byKey] : [nodes.slice(0, 1), new Map<string, Buffer>()];
  const shown = withStretched(
    database,
    kept.map(([, value]) => ({ ...decodeNode(value), processId })),
  );
  return kept.flatMap(([key], index) => {
    const node = shown[index];
    if (node === undefined) return [];
    const bundle = found.get(key.toString('latin1')) ?? database.read('bundles', key);
    return [toMessage(processId, node, bundle ?? Buffer.alloc(0))];
  });
}

function toMessage(processId: Id, node: StoredNode, bundle: Uint8Array): StoredMessage {
  const { epoch, nonce, suffix, timestamp } = node;
  const json = node.json && toText(node.json);
  const { messageId, assignmentId, hashChain } = readIds(bundle) ?? readIdsOfJson(json);
  const place = { processId, epoch, nonce, rank: suffix, timestamp };
  return { ...place, messageId, assignmentId, hashChain, bundle, json };
}

interface EntryIds {
  readonly messageId: Id;
  readonly assignmentId: Id | undefined;
  readonly hashChain: string;
}

function readIds(bundle: Uint8Array): EntryIds | undefined {
  const parsed = attempt(() => parseMessageBundle(bundle));
  if (parsed === undefined) return undefined;
  const { assignment, item } = parsed;
  const place = placeOf(assignment);
  const messageId = item?.id ?? place?.messageId ?? UNKNOWN_ID;
  return { messageId, assignmentId: assignment?.id, hashChain: place?.hashChain ?? '' };
}

function readIdsOfJson(json: string | undefined): EntryIds {
  const node = attempt(
    () =>
      JSON.parse(json ?? '{}') as {
        message?: { id?: unknown } | null;
        assignment?: { id?: unknown; tags?: { name: string; value: string }[] } | null;
      },
  );
  const tag = (name: string): unknown =>
    attempt(() => node?.assignment?.tags?.find((one) => one.name === name)?.value);
  const toId = (value: unknown): Id | undefined =>
    typeof value === 'string' && isId(value) ? value : undefined;
  return {
    messageId: toId(node?.message?.id) ?? toId(tag('Message')) ?? UNKNOWN_ID,
    assignmentId: toId(node?.assignment?.id),
    hashChain: toId(tag('Hash-Chain')) ?? '',
  };
}

function placeOf(assignment: DataItem | undefined): AssignmentFields | undefined {
  return assignment && attempt(() => readAssignment(assignment));
}

/** Rows are given out as they stand: what cannot be read is for their reader to name. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function toText(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('utf8');
}
