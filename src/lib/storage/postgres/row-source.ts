import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { invariant, SuError } from '../../errors.js';
import type { CopiedProcess, LogPlace, RowSource, RowSpan } from '../../migrator/ports.js';
import type { StoredMessage } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import { readProcessPieces } from './copied-processes.js';
import { copyOut, type CopyFields } from './copy-out.js';
import { toStoreError } from './database-errors.js';
import { openLongConnection } from './connection.js';
import type { DatabasePool } from './pool.js';
import { parseInt8, type Int8 } from './rows.js';

/** Of bundles in one fetch; a larger row comes alone. */
const FETCH_BYTES_MAX = 4 * 1024 * 1024;
const IDS_A_PIECE = 5_000;
const HORIZON_POLL_MS = 50;

/** Longer than any transaction of ours may stay open, and the longest that a migration waits for another program's. */
const HORIZON_WAIT_MS = 60_000;

/**
 * The table of messages by row id. COPY needs a connection to itself, and looking up where a range begins and ends takes
 * longer than the pool's statements may: so it has connections of its own, one for each fetch that is under way.
 */
export class PostgresRowSource implements RowSource {
  readonly #url: string;
  readonly #pool: DatabasePool;
  readonly #idle: pg.Client[] = [];

  constructor(options: { readonly url: string; readonly pool: DatabasePool }) {
    this.#url = options.url;
    this.#pool = options.pool;
  }

  /**
   * Row ids come from a sequence and become visible when their transaction commits, in any order. Whoever inserts has locked
   * the table (`row exclusive`) before it draws a number: so the last number drawn is read first and the holders of
   * that lock second, and once those have ended no number up to that one can appear any more. Later ones draw higher
   * numbers, so they need not be waited for and nobody is kept from writing.
   */
  async readHorizon(signal: AbortSignal): Promise<number> {
    return this.#long(async (client) => {
      const last = await readLastNumber(client);
      const deadline = Date.now() + HORIZON_WAIT_MS;
      const first = await readWriters(client);
      for (let writers = first; writers.length > 0;) {
        if (signal.aborted) throw new SuError('interrupted', 'stopped before anything was copied');
        if (Date.now() > deadline) throw stillOpen(writers);
        await sleep(HORIZON_POLL_MS, undefined, { signal }).catch(() => undefined);
        const now = new Set((await readWriters(client)).map(({ transaction }) => transaction));
        writers = writers.filter(({ transaction }) => now.has(transaction));
      }
      return last;
    });
  }

  async readIdentity(): Promise<string | undefined> {
    const { rows } = await this.#pool.query<{ name: string }>(
      `select row_id || '/' || process_id || '/' || hash_chain as name from messages order by row_id limit 1`,
    );
    return rows[0]?.name;
  }

  async countRows({ after, through }: RowSpan): Promise<number> {
    return this.#long(async (client) => {
      const { rows } = await client.query<{ count: Int8 }>(
        'select count(*) from messages where row_id > $1 and row_id <= $2',
        [after, through],
      );
      return parseInt8(rows[0]?.count ?? '0');
    });
  }

  /** Walks the primary key's index alone, once for each end of a range or segment. */
  async findRow({ after, through }: RowSpan, count: number): Promise<number | undefined> {
    return this.#long(async (client) => {
      const { rows } = await client.query<{ row_id: number }>(
        `select row_id from messages where row_id > $1 and row_id <= $2
          order by row_id offset $3 limit 1`,
        [after, through, count - 1],
      );
      return rows[0]?.row_id;
    });
  }

  async readRows(
    { after, through }: RowSpan,
    rowsMax: number,
    take: (row: StoredMessage) => void,
  ): Promise<{ readonly isEnd: boolean }> {
    let found = 0;
    let taken = 0;
    await this.#long((client) =>
      copyOut(client, rowsStatement({ after, through }, rowsMax), (fields) => {
        found = fields.int8();
        taken += 1;
        take(readRow(fields));
      }),
    );
    return { isEnd: found < rowsMax && taken === found };
  }

  readProcesses(afterRow: number): AsyncIterable<readonly CopiedProcess[]> {
    return readProcessPieces(this.#pool, afterRow);
  }

  async readFloors(afterRow: number): Promise<ReadonlyMap<Id, LogPlace>> {
    return this.#long(async (client) => {
      const { rows } = await client.query<{ process_id: string; epoch: number; nonce: number }>(
        `select distinct on (process_id) process_id, epoch, nonce
           from messages where row_id > $1
          order by process_id, epoch, nonce`,
        [afterRow],
      );
      return new Map(
        rows.map(({ process_id, epoch, nonce }) => [process_id as Id, { epoch, nonce }]),
      );
    });
  }

  async *readProcessIds(
    afterRow: number,
  ): AsyncGenerator<readonly { rank: number; processId: Id }[]> {
    for (let after = afterRow; ;) {
      const { rows } = await this.#pool.query<{ row_id: number; process_id: string }>(
        `select row_id, process_id from processes where row_id > $1
          order by row_id limit ${IDS_A_PIECE}`,
        [after],
      );
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(({ row_id, process_id }) => ({ rank: row_id, processId: process_id as Id }));
      after = last.row_id;
    }
  }

  /** Ends the connections that are kept for the next fetch. */
  async close(): Promise<void> {
    const clients = this.#idle.splice(0);
    await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
  }

  /** On a connection without limits; after a failure it is not used again. */
  async #long<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
    let client: pg.Client | undefined;
    try {
      client = this.#idle.pop() ?? (await openLongConnection(this.#url));
      const result = await work(client);
      this.#idle.push(client);
      return result;
    } catch (error) {
      await client?.end().catch(() => undefined);
      throw toStoreError(error);
    }
  }
}

async function readLastNumber(client: pg.Client): Promise<number> {
  // A table that was restored may be ahead of its sequence.
  const { rows } = await client.query<{ last: Int8 }>(
    `select greatest(
              coalesce(pg_sequence_last_value(pg_get_serial_sequence('messages', 'row_id')::regclass), 0),
              coalesce((select max(row_id) from messages), 0)) as last`,
  );
  return parseInt8(rows[0]?.last ?? '0');
}

interface Writer {
  readonly transaction: string;
  readonly pid: number | null;
}

/** Transactions that write to the table, or may. */
async function readWriters(client: pg.Client): Promise<readonly Writer[]> {
  const { rows } = await client.query<Writer>(
    `select distinct virtualtransaction as transaction, pid
       from pg_locks
      where locktype = 'relation' and relation = 'messages'::regclass and granted
        and database = (select oid from pg_database where datname = current_database())
        and mode in ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        and pid is distinct from pg_backend_pid()`,
  );
  return rows;
}

function stillOpen(writers: readonly Writer[]): SuError {
  const pids = writers.map(({ pid }) => pid ?? 'a prepared transaction').join(', ');
  return new SuError(
    'store-unavailable',
    `a transaction that writes to the messages stays open (server process ${pids}), so that rows below the end of the range ` +
      'may still appear: end it, or name an end that lies before it',
  );
}

/**
 * `octet_length` of a bundle is read from its pointer: the rows that are too many for a fetch are neither unpacked nor sent.
 * COPY takes no parameters; these are whole numbers.
 */
function rowsStatement({ after, through }: RowSpan, rowsMax: number): string {
  for (const number of [after, through, rowsMax]) {
    invariant(Number.isSafeInteger(number), 'a row id is a whole number');
  }
  return `
    copy (
      select found, row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, bundle
        from (select n.*,
                     sum(octet_length(n.bundle)) over (order by n.row_id) - octet_length(n.bundle) as bytes_before,
                     count(*) over () as found
                from (select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, bundle
                        from messages
                       where row_id > ${after} and row_id <= ${through}
                       order by row_id
                       limit ${rowsMax}) n) m
       where bytes_before < ${FETCH_BYTES_MAX}
       order by row_id
    ) to stdout (format binary)`;
}

/** In the order of the statement's columns. */
function readRow(fields: CopyFields): StoredMessage {
  const rank = fields.int4();
  const processId = fields.text() as Id;
  const messageId = fields.text() as Id;
  const assignmentId = fields.textOrNull() as Id | undefined;
  const epoch = fields.int4();
  const nonce = fields.int4();
  const timestamp = fields.int8();
  const hashChain = fields.text();
  const bundle = fields.bytes();
  const place = { processId, epoch, nonce, rank, timestamp };
  return { ...place, messageId, assignmentId, hashChain, bundle, json: undefined };
}
