import type { Id } from '../../protocol/ids.js';
import type { Clock } from '../../scheduler/ports.js';
import type {
  RawLogReader,
  RowPosition,
  StoredMessage,
  StoredProcess,
} from '../../migrator/ports.js';
import { DatabasePool, type Queryable, type StoreLog } from './pool.js';
import { PostgresRawLogWriter } from './raw-log-writer.js';
import { parseInt8, type Int8 } from './rows.js';

export interface RawLogOptions {
  /** `postgres://…` of the writer; the database must be migrated. */
  readonly url: string;
  readonly connections: number;
  /** False leaves `json` undefined: unpacking it costs as much as the bundle, and a copy does not need it. */
  readonly json: boolean;
  readonly clock: Clock;
  readonly log: StoreLog;
}

/** The rows of a database as they stand. */
export interface PostgresRawLog {
  readonly reader: PostgresRawLogReader;
  readonly writer: PostgresRawLogWriter;
  close(): Promise<void>;
}

/** Opens the rows of a migrated database for an audit or a copy; connections are made when they are needed. */
export function openPostgresRawLog(options: RawLogOptions): PostgresRawLog {
  const { url, connections, json, clock, log } = options;
  const pool = new DatabasePool({ url, connections, name: 'rows', clock, log });
  return {
    reader: new PostgresRawLogReader(pool, json),
    writer: new PostgresRawLogWriter(pool),
    close: () => pool.close(),
  };
}

const PIECE_ROWS_MAX = 1_000;
/** Of bundles; with the JSON beside them a piece is about twice as large. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;
/** Above this many processes with uploads outstanding each process is asked for, in place of being looked up. */
const OUTSTANDING_PROCESSES_MAX = 100_000;
const INT4_MIN = -2_147_483_648;

/** The columns of a page of rows, bounded in bytes: `octet_length` of a bundle is read from its pointer. */
const withinBytes = (order: string): string =>
  `sum(octet_length(n.bundle)) over (order by ${order}) - octet_length(n.bundle) as bytes_before,
   count(*) over () as found`;

interface PieceRow {
  /** Rows that were looked at before the bytes were counted. */
  readonly found: Int8;
}

interface RawProcessRow extends PieceRow {
  readonly row_id: number;
  readonly process_id: string;
  readonly epoch: number | null;
  readonly nonce: number | null;
  readonly timestamp: Int8 | null;
  readonly hash_chain: string | null;
  readonly bundle: Buffer;
  readonly json: string | null;
}

interface RawMessageRow extends PieceRow {
  readonly row_id: number;
  readonly process_id: string;
  readonly message_id: string;
  readonly assignment_id: string | null;
  readonly epoch: number;
  readonly nonce: number;
  readonly timestamp: Int8;
  readonly hash_chain: string;
  readonly bundle: Buffer;
  readonly json: string | null;
}

/**
 * Reads the tables without judging what is in them: even what is no id is given out as one, for the audit to name.
 * Processes come in the order that the database's collation gives their ids.
 */
export class PostgresRawLogReader implements RawLogReader {
  readonly #pool: DatabasePool;
  readonly #json: boolean;
  /** Processes that had uploads outstanding when a walk over all of them began. */
  #outstanding: Promise<ReadonlySet<string> | undefined> | undefined;

  constructor(pool: DatabasePool, json: boolean) {
    this.#pool = pool;
    this.#json = json;
  }

  async countProcesses(): Promise<number> {
    this.#outstanding = undefined;
    const { rows } = await this.#pool.query<{ count: Int8 }>('select count(*) from processes');
    return parseInt8(rows[0]?.count ?? '0');
  }

  /** One process, undefined when it is not known. @throws SuError `store-unavailable` */
  async findProcess(processId: Id): Promise<StoredProcess | undefined> {
    const { rows } = await this.#pool.query<RawProcessRow>(
      `select row_id, process_id, epoch, nonce, timestamp, hash_chain, bundle, 1 as found,
              ${this.#json ? 'process_data::text' : 'null'} as json
         from processes
        where process_id = $1`,
      [processId],
    );
    return rows[0] === undefined ? undefined : toProcess(rows[0]);
  }

  /** Uploads that wait and those that were refused, over all processes. @throws SuError `store-unavailable` */
  async countOutstanding(): Promise<{ readonly pending: number; readonly parked: number }> {
    const { rows } = await this.#pool.query<{ pending: Int8; parked: Int8 }>(
      `select count(*) filter (where parked_at is null) as pending,
              count(*) filter (where parked_at is not null) as parked
         from su_outbox`,
    );
    const { pending = '0', parked = '0' } = rows[0] ?? {};
    return { pending: parseInt8(pending), parked: parseInt8(parked) };
  }

  async *readProcesses(afterId: Id | undefined): AsyncGenerator<readonly StoredProcess[]> {
    this.#outstanding = undefined;
    let after: string | undefined = afterId;
    for (let ended = false; !ended;) {
      const rows = await readProcessPiece(this.#pool, after, this.#json);
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last.process_id;
      ended = isLastPiece(rows);
      yield rows.map(toProcess);
    }
  }

  async *readMessages(
    processId: Id,
    after: RowPosition | undefined,
  ): AsyncGenerator<readonly StoredMessage[]> {
    let position = after ?? { epoch: INT4_MIN, nonce: INT4_MIN, rank: INT4_MIN };
    for (let ended = false; !ended;) {
      const rows = await readMessagePiece(this.#pool, { processId, position, json: this.#json });
      const messages = rows.map(toMessage);
      const last = messages.at(-1);
      if (last === undefined) return;
      position = last;
      ended = isLastPiece(rows);
      yield messages;
    }
  }

  /** The table has no index by process: most processes have nothing outstanding and cost no query. */
  async readOutstanding(processId: Id): Promise<ReadonlyMap<Id, number>> {
    this.#outstanding ??= readProcessesWithUploads(this.#pool);
    const processes = await this.#outstanding;
    if (processes !== undefined && !processes.has(processId)) return new Map();
    const { rows } = await this.#pool.query<{ message_id: Id; parts: number }>(
      `select message_id, bit_or(parts) as parts
         from su_outbox
        where process_id = $1
        group by message_id`,
      [processId],
    );
    return new Map(rows.map(({ message_id, parts }) => [message_id, parts]));
  }
}

async function readProcessesWithUploads(
  client: Queryable,
): Promise<ReadonlySet<string> | undefined> {
  const { rows } = await client.query<{ process_id: string }>(
    `select distinct process_id from su_outbox limit ${OUTSTANDING_PROCESSES_MAX + 1}`,
  );
  if (rows.length > OUTSTANDING_PROCESSES_MAX) return undefined;
  return new Set(rows.map(({ process_id }) => process_id));
}

/** Ids are compared in the database's own collation, which is the order of the index. */
async function readProcessPiece(
  client: Queryable,
  after: string | undefined,
  json: boolean,
): Promise<readonly RawProcessRow[]> {
  const { rows } = await client.query<RawProcessRow>(
    `select row_id, process_id, epoch, nonce, timestamp, hash_chain, bundle, found,
            ${json ? 'process_data::text' : 'null'} as json
       from (select n.*, ${withinBytes('n.process_id')}
               from (select row_id, process_id, epoch, nonce, timestamp, hash_chain, bundle, process_data
                       from processes
                      where $1::text is null or process_id > $1
                      order by process_id
                      limit ${PIECE_ROWS_MAX}) n) m
      where bytes_before < ${PIECE_BYTES_MAX}
      order by process_id`,
    [after ?? null],
  );
  return rows;
}

async function readMessagePiece(
  client: Queryable,
  query: { readonly processId: Id; readonly position: RowPosition; readonly json: boolean },
): Promise<readonly RawMessageRow[]> {
  const { epoch, nonce, rank } = query.position;
  const { rows } = await client.query<RawMessageRow>(
    `select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, bundle, found,
            ${query.json ? 'message_data::text' : 'null'} as json
       from (select n.*, ${withinBytes('n.epoch, n.nonce, n.row_id')}
               from (select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp,
                            hash_chain, bundle, message_data
                       from messages
                      where process_id = $1 and (epoch, nonce, row_id) > ($2::int, $3::int, $4::int)
                      order by epoch, nonce, row_id
                      limit ${PIECE_ROWS_MAX}) n) m
      where bytes_before < ${PIECE_BYTES_MAX}
      order by epoch, nonce, row_id`,
    [query.processId, epoch, nonce, rank],
  );
  return rows;
}

function isLastPiece(rows: readonly PieceRow[]): boolean {
  const found = parseInt8(rows[0]?.found ?? '0');
  return found < PIECE_ROWS_MAX && rows.length === found;
}

function toProcess(row: RawProcessRow): StoredProcess {
  return {
    processId: row.process_id as Id,
    rank: row.row_id,
    epoch: row.epoch ?? undefined,
    nonce: row.nonce ?? undefined,
    timestamp: row.timestamp === null ? undefined : parseInt8(row.timestamp),
    hashChain: row.hash_chain ?? undefined,
    bundle: row.bundle,
    json: row.json ?? undefined,
  };
}

function toMessage(row: RawMessageRow): StoredMessage {
  return {
    processId: row.process_id as Id,
    messageId: row.message_id as Id,
    assignmentId: (row.assignment_id as Id | null) ?? undefined,
    epoch: row.epoch,
    nonce: row.nonce,
    rank: row.row_id,
    timestamp: parseInt8(row.timestamp),
    hashChain: row.hash_chain,
    bundle: row.bundle,
    json: row.json ?? undefined,
  };
}
