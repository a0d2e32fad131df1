import type {
  CopiedProcess,
  LogHead,
  LogPlace,
  LogSource,
  NewRow,
  ProcessHead,
} from '../../migrator/ports.js';
import type { RawLogReader, RowPosition, RowSource, StoredMessage } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import type { Clock } from '../../scheduler/ports.js';
import { findProcess } from './copied-processes.js';
import { DatabasePool, type Queryable, type StoreLog } from './pool.js';
import { openPostgresRawLog } from './raw-log.js';
import { PostgresRowSource } from './row-source.js';
import { parseInt8, type Int8 } from './rows.js';

const HEADS_A_PIECE = 500;
const NEW_ROWS_MAX = 5_000;

/** What a disk copy asks of the database, from the writer: a replica may be behind what was acknowledged. */
export class PostgresLogSource implements LogSource {
  readonly #client: Queryable;
  readonly #raw: Pick<RawLogReader, 'readMessages'>;

  /** @param raw reads the rows of a log in the order of their places, without their JSON */
  constructor(client: Queryable, raw: Pick<RawLogReader, 'readMessages'>) {
    this.#client = client;
    this.#raw = raw;
  }

  findProcess(processId: Id): Promise<CopiedProcess | undefined> {
    return findProcess(this.#client, processId);
  }

  readMessages(
    processId: Id,
    after: RowPosition | undefined,
  ): AsyncIterable<readonly StoredMessage[]> {
    return this.#raw.readMessages(processId, after);
  }

  async findHashChain(processId: Id, { epoch, nonce }: LogPlace): Promise<string | undefined> {
    const { rows } = await this.#client.query<{ hash_chain: string }>(
      `select hash_chain from messages
        where process_id = $1 and epoch = $2 and nonce = $3
        order by row_id desc
        limit 1`,
      [processId, epoch, nonce],
    );
    return rows[0]?.hash_chain;
  }

  /** One descent of an index for each process. */
  async *readHeads(afterRow: number): AsyncGenerator<readonly ProcessHead[]> {
    for (let after = afterRow; ;) {
      const { rows } = await this.#client.query<HeadRow>(
        `select p.row_id, p.process_id, m.epoch, m.nonce, m.hash_chain
           from (select row_id, process_id from processes
                  where row_id > $1 order by row_id limit ${HEADS_A_PIECE}) p
           left join lateral (
             select epoch, nonce, hash_chain from messages
              where process_id = p.process_id
              order by epoch desc, nonce desc, row_id desc
              limit 1
           ) m on true
          order by p.row_id`,
        [after],
      );
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(toHead);
      if (rows.length < HEADS_A_PIECE) return;
      after = last.row_id;
    }
  }

  async readNewRows(afterRow: number): Promise<readonly NewRow[]> {
    const { rows } = await this.#client.query<{
      row_id: number;
      process_id: string;
      epoch: number;
      nonce: number;
    }>(
      `select row_id, process_id, epoch, nonce from messages
        where row_id > $1 order by row_id limit ${NEW_ROWS_MAX}`,
      [afterRow],
    );
    return rows.map(({ row_id, process_id, epoch, nonce }) => ({
      rank: row_id,
      processId: process_id as Id,
      epoch,
      nonce,
    }));
  }

  async readLastRow(): Promise<number> {
    const { rows } = await this.#client.query<{ last: number }>(
      'select coalesce(max(row_id), 0) as last from messages',
    );
    return rows[0]?.last ?? 0;
  }

  async countMessages(processId: Id, { epoch, nonce }: LogPlace): Promise<number> {
    const { rows } = await this.#client.query<{ count: Int8 }>(
      `select count(*) from messages where process_id = $1 and (epoch, nonce) <= ($2::int, $3::int)`,
      [processId, epoch, nonce],
    );
    return parseInt8(rows[0]?.count ?? '0');
  }
}

interface HeadRow {
  readonly row_id: number;
  readonly process_id: string;
  readonly epoch: number | null;
  readonly nonce: number | null;
  readonly hash_chain: string | null;
}

function toHead(row: HeadRow): ProcessHead {
  const { row_id, process_id, epoch, nonce, hash_chain } = row;
  const head: LogHead | undefined =
    epoch === null || nonce === null || hash_chain === null
      ? undefined
      : { epoch, nonce, hashChain: hash_chain };
  return { rank: row_id, processId: process_id as Id, head };
}

/** The connections of a disk copy: its own, so that copying takes none from commits and pages. */
export interface PostgresCopySources {
  readonly logs: LogSource;
  readonly rows: RowSource;
  close(): Promise<void>;
}

/** Opens what a disk copy asks of a migrated database; connections are made when they are needed. */
export function openCopySources(options: {
  readonly url: string;
  readonly connections: number;
  readonly clock: Clock;
  readonly log: StoreLog;
}): PostgresCopySources {
  const pool = new DatabasePool({ ...options, name: 'copy' });
  const raw = openPostgresRawLog({ ...options, json: false });
  const rows = new PostgresRowSource({ url: options.url, pool });
  return {
    logs: new PostgresLogSource(pool, raw.reader),
    rows,
    async close() {
      await rows.close();
      await raw.close();
      await pool.close();
    },
  };
}
