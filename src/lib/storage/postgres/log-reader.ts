import type pg from 'pg';
import { SuError } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type {
  LogEntry,
  LogProcess,
  LogReader,
  Position as LogPosition,
  RangeQuery,
  ReadOptions,
} from '../../scheduler/ports.js';
import { batchPerTick } from '../../batch-per-tick.js';
import { describe } from './database-errors.js';
import type { DatabasePool, Queryable, StoreLog } from './pool.js';
import { positionOf, readPieces, type Position } from './range.js';
import type { RowRenderer, ShownOptions } from './row-renderer.js';
import { MESSAGE_COLUMNS, type MessageRow, type ProcessRow } from './rows.js';

export interface LogReaderOptions {
  /** Connections to the writer for reading. */
  readonly writer: DatabasePool;
  /** A copy that may lag behind, undefined without one. */
  readonly replica: DatabasePool | undefined;
  readonly renderer: RowRenderer;
  readonly log: StoreLog;
  /** Throws SuError while the database is not open and migrated. */
  readonly checkReady: () => void;
}

const HIDDEN_ANCHOR: ShownOptions = { showAnchor: false };
const INT4_MAX = 2_147_483_647;
const HEADS_AT_ONCE = 256;
/** The server looks while this program uses what it found before. */
const HEAD_LOOKS_MAX = 2;

/**
 * The reading side of the log on PostgreSQL. A replica holds a beginning of every log, so what it has is right and only
 * what it has not must be asked of the writer: the end of a range, an unknown id, the latest entry. A replica that
 * is away costs speed, not answers.
 */
export class PostgresLogReader implements LogReader {
  readonly #writer: DatabasePool;
  readonly #replica: DatabasePool | undefined;
  readonly #renderer: RowRenderer;
  readonly #log: StoreLog;
  readonly #checkReady: () => void;
  readonly #findHeadPlace: (processId: Id) => Promise<LogPosition | undefined>;

  constructor({ writer, replica, renderer, log, checkReady }: LogReaderOptions) {
    this.#writer = writer;
    this.#replica = replica;
    this.#renderer = renderer;
    this.#log = log;
    this.#checkReady = checkReady;
    this.#findHeadPlace = batchPerTick(
      (processIds: readonly Id[]) => findHeadPlaces(writer, processIds),
      HEADS_AT_ONCE,
      HEAD_LOOKS_MAX,
    );
  }

  async findProcess(processId: Id, options = HIDDEN_ANCHOR): Promise<LogProcess | undefined> {
    this.#checkReady();
    const row = await this.#firstOf((client) => findProcessRow(client, processId));
    return row === undefined ? undefined : this.#renderer.process(row, options);
  }

  async *readRange(query: RangeQuery): AsyncGenerator<readonly LogEntry[], void, undefined> {
    yield* this.#readRangeAfter(query, undefined);
  }

  /** The entries of a range that stand behind a place of the log. */
  async *readRangeBehind(
    query: RangeQuery,
    { epoch, nonce }: LogPosition,
  ): AsyncGenerator<readonly LogEntry[], void, undefined> {
    yield* this.#readRangeAfter(query, { epoch, nonce, rowId: INT4_MAX });
  }

  /** By the writer: one descent of an index for each log that is asked for in the same moment, no bundle. */
  async findHeadPlace(processId: Id): Promise<LogPosition | undefined> {
    this.#checkReady();
    return this.#findHeadPlace(processId);
  }

  /** Whether a message with this hash chain stands at a place, by the writer. */
  async hasHashChain(
    processId: Id,
    { epoch, nonce, hashChain }: LogPosition & { readonly hashChain: string },
  ): Promise<boolean> {
    this.#checkReady();
    const row = await first(
      this.#writer,
      `select 1 from messages
        where process_id = $1 and epoch = $2 and nonce = $3 and hash_chain = $4
        limit 1`,
      [processId, epoch, nonce, hashChain],
    );
    return row !== undefined;
  }

  async *#readRangeAfter(
    query: RangeQuery,
    begin: Position | undefined,
  ): AsyncGenerator<readonly LogEntry[], void, undefined> {
    this.#checkReady();
    let after = begin;
    let left = query.limit;
    for (const source of this.#sources()) {
      for await (const rows of this.#piecesOf(source, { ...query, limit: left }, after)) {
        const last = rows.at(-1);
        if (last === undefined) continue;
        after = positionOf(last);
        left -= rows.length;
        yield* this.#entriesUpToDamage(rows, query);
      }
      // A page that is full needs nobody's confirmation; one that ended may have ended with the replica.
      if (left <= 0) return;
    }
  }

  async findLatest(processId: Id, options: ReadOptions = {}): Promise<LogEntry | undefined> {
    this.#checkReady();
    const row =
      this.#replica === undefined
        ? await findLatestRow(this.#writer, processId)
        : await this.#findLatestBehind(this.#replica, processId);
    return row && this.#renderer.entry(row, { ...HIDDEN_ANCHOR, ...options });
  }

  async findEntry(
    id: Id,
    processId: Id | undefined,
    options: ReadOptions = {},
  ): Promise<LogEntry | undefined> {
    this.#checkReady();
    const row = await this.#firstOf((client) => findEntryRow(client, id, processId));
    return row && this.#renderer.entry(row, { ...HIDDEN_ANCHOR, ...options });
  }

  /**
   * The entries of a piece; when one of them is damaged, those before it come first. A large one ends a part, so that
   * few of them are held at a time.
   * @throws DamagedEntryError
   */
  async *#entriesUpToDamage(
    rows: readonly MessageRow[],
    { showAnchor, isWanted }: RangeQuery,
  ): AsyncGenerator<readonly LogEntry[], void, undefined> {
    let entries: LogEntry[] = [];
    try {
      for (const row of rows) {
        const entry = this.#renderer.entry(row, { showAnchor, isWanted });
        if (!(entry instanceof Promise)) {
          entries.push(entry);
          continue;
        }
        entries.push(await entry);
        const part = entries;
        entries = [];
        yield part;
      }
    } catch (error) {
      if (entries.length > 0) yield entries;
      throw error;
    }
    if (entries.length > 0) yield entries;
  }

  #sources(): readonly DatabasePool[] {
    return this.#replica === undefined ? [this.#writer] : [this.#replica, this.#writer];
  }

  async *#piecesOf(
    source: DatabasePool,
    query: RangeQuery,
    after: Position | undefined,
  ): AsyncGenerator<readonly MessageRow[], void, undefined> {
    try {
      yield* readPieces(source, query, after);
    } catch (error) {
      if (source !== this.#replica) throw error;
      // The writer goes on from the last row that came.
      this.#noteReplicaFailure(error);
    }
  }

  /** The replica's answer, or the writer's when the replica has none. */
  async #firstOf<Row>(
    find: (client: Queryable) => Promise<Row | undefined>,
  ): Promise<Row | undefined> {
    if (this.#replica !== undefined) {
      const row = await this.#askReplica(find, this.#replica);
      if (row !== undefined) return row;
    }
    return find(this.#writer);
  }

  async #findLatestBehind(replica: DatabasePool, processId: Id): Promise<MessageRow | undefined> {
    // Small entries come faster whole from the writer than compared first; the size decides nothing about the answer.
    const [row, head] = await Promise.all([
      this.#askReplica((client) => findLatestRow(client, processId), replica),
      findLatestRowId(this.#writer, processId),
    ]);
    return row?.row_id === head ? row : findLatestRow(this.#writer, processId);
  }

  async #askReplica<Row>(
    find: (client: Queryable) => Promise<Row | undefined>,
    replica: DatabasePool,
  ): Promise<Row | undefined> {
    try {
      return await find(replica);
    } catch (error) {
      this.#noteReplicaFailure(error);
      return undefined;
    }
  }

  /** Only the database's failures are the writer's to make good; a bug of ours is the same on both. */
  #noteReplicaFailure(error: unknown): void {
    if (error instanceof TypeError || (error instanceof SuError && error.code === 'invariant'))
      throw error;
    this.#log.warn(
      { event: 'replica-failed', reason: describe(error instanceof SuError ? error.cause : error) },
      'the replica cannot be read: the writer answers',
    );
  }
}

async function first<Row extends pg.QueryResultRow>(
  client: Queryable,
  text: string,
  values: readonly unknown[],
): Promise<Row | undefined> {
  const { rows } = await client.query<Row>(text, values);
  return rows[0];
}

/** `process_data` is asked only for what rows without place columns may keep there alone. */
async function findProcessRow(client: Queryable, processId: Id): Promise<ProcessRow | undefined> {
  return first(
    client,
    `select process_id, bundle, epoch, nonce, timestamp,
            case when timestamp is null then process_data ->> 'timestamp' end as data_timestamp,
            case when timestamp is null then process_data ->> 'block' end as data_block
       from processes
      where process_id = $1`,
    [processId],
  );
}

const LATEST = 'where process_id = $1 order by epoch desc, nonce desc, row_id desc limit 1';

const HEAD_PLACES = `
  select asked.rank::int4 as rank, head.epoch, head.nonce
    from unnest($1::text[]) with ordinality as asked (process_id, rank)
   cross join lateral (
     select epoch, nonce from messages m
      where m.process_id = asked.process_id
      order by epoch desc, nonce desc
      limit 1) head`;

async function findHeadPlaces(
  pool: Pick<DatabasePool, 'queryPlanned'>,
  processIds: readonly Id[],
): Promise<readonly (LogPosition | undefined)[]> {
  const { rows } = await pool.queryPlanned<{ rank: number; epoch: number; nonce: number }>(
    HEAD_PLACES,
    [processIds],
  );
  const places = new Map(rows.map(({ rank, epoch, nonce }) => [rank, { epoch, nonce }]));
  return processIds.map((_, index) => places.get(index + 1));
}

async function findLatestRow(client: Queryable, processId: Id): Promise<MessageRow | undefined> {
  return first(client, `select ${MESSAGE_COLUMNS} from messages m ${LATEST}`, [processId]);
}

async function findLatestRowId(client: Queryable, processId: Id): Promise<number | undefined> {
  const row = await first<{ row_id: number }>(client, `select row_id from messages ${LATEST}`, [
    processId,
  ]);
  return row?.row_id;
}

/** Two look-ups by index: one query with `or` would be planned as a scan of both. */
async function findEntryRow(
  client: Queryable,
  id: Id,
  processId: Id | undefined,
): Promise<MessageRow | undefined> {
  const values = [id, processId ?? null];
  const byMessage = await first<MessageRow>(
    client,
    `select ${MESSAGE_COLUMNS}
       from messages m
      where m.message_id = $1 and ($2::text is null or m.process_id = $2)
        and jsonb_typeof(m.message_data -> 'message') = 'object'
      order by m.epoch, m.nonce, m.row_id
      limit 1`,
    values,
  );
  if (byMessage !== undefined) return byMessage;
  return first<MessageRow>(
    client,
    `select ${MESSAGE_COLUMNS}
       from messages m
      where m.assignment_id = $1 and ($2::text is null or m.process_id = $2)`,
    values,
  );
}
