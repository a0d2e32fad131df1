import { invariant } from '../../errors.js';
import type { QueuedUpload, UploadQueue } from '../../migrator/ports.js';
import type { StoredBundle } from '../../protocol/bundle.js';
import type { DataItem } from '../../protocol/data-item.js';
import { UPLOAD_ASSIGNMENT, UPLOAD_BUNDLE, UPLOAD_ITEM } from '../../scheduler/ports.js';
import {
  DUE_AHEAD_MAX_MS,
  type Outbox,
  type OutboxCounts,
  type OutboxListing,
  type OutboxRow,
  type Settlement,
  type Upload,
} from '../../uploader/ports.js';
import type { DatabasePool } from './pool.js';
import {
  MESSAGE_COLUMNS,
  bundleOfProcess,
  bundleOfRow,
  parseInt8,
  storedId,
  type Int8,
  type MessageRow,
  type ProcessRow,
} from './rows.js';

export interface OutboxOptions {
  readonly writer: DatabasePool;
  readonly leaseMs: number;
  /** Throws SuError while the database is not open and migrated. */
  readonly checkReady: () => void;
}

interface QueueRow {
  readonly row_id: Int8;
  readonly process_id: string;
  readonly message_id: string;
  readonly assignment_id: string | null;
  readonly parts: number;
  readonly attempts: number;
}

interface ListingRow extends QueueRow {
  readonly parked: boolean;
  readonly reason: string | null;
  readonly queued_ms: Int8;
}

const COLUMNS = 'row_id, process_id, message_id, assignment_id, parts, attempts';
const REASON_LENGTH_MAX = 500;

/**
 * Takes the disk flush out of the commit of this one statement. A lease or a settlement that a crash of the database
 * takes back costs a second upload of the same item, which the bundler recognises; the flush would compete with
 * those of the log's commits.
 */
const WITHOUT_FLUSH = `(select set_config('synchronous_commit', 'off', true)) is not null`;

/** The queue of uploads in the table `su_outbox`. Rows are put in by `appendRuns`. */
export class PostgresOutbox implements Outbox, UploadQueue {
  readonly #writer: DatabasePool;
  readonly #leaseMs: number;
  readonly #checkReady: () => void;

  constructor({ writer, leaseMs, checkReady }: OutboxOptions) {
    this.#writer = writer;
    this.#leaseMs = leaseMs;
    this.#checkReady = checkReady;
  }

  async queueUploads(rows: readonly QueuedUpload[]): Promise<void> {
    this.#checkReady();
    if (rows.length === 0) return;
    await this.#writer.query(
      `insert into su_outbox (process_id, message_id, assignment_id, parts, due_at)
       select process_id, message_id, assignment_id, parts, now()
         from unnest($1::text[], $2::text[], $3::text[], $4::smallint[])
              as r (process_id, message_id, assignment_id, parts)`,
      [
        rows.map(({ processId }) => processId),
        rows.map(({ messageId }) => messageId),
        rows.map(({ assignmentId }) => assignmentId ?? null),
        rows.map(({ parts }) => parts),
      ],
    );
  }

  /**
   * `skip locked` lets several servers claim at once without waiting for or repeating one another. Rows that are due
   * further ahead than any delay reaches come last: the database's clock was set back since. Two looks, so that
   * neither has to read the rows that wait in between.
   */
  async claim(limit: number): Promise<readonly OutboxRow[]> {
    this.#checkReady();
    const { rows } = await this.#writer.query<QueueRow>(
      `with due as materialized (
                select row_id
                  from su_outbox
                 where parked_at is null and due_at <= now()
                 order by due_at, row_id
                 limit $1
                   for update skip locked),
            ahead as materialized (
                select row_id
                  from su_outbox
                 where parked_at is null and due_at > now() + $3 * interval '1 millisecond'
                 order by due_at, row_id
                 limit $1 - (select count(*) from due)
                   for update skip locked)
       update su_outbox
          set due_at = now() + $2 * interval '1 millisecond'
        where row_id = any(array(select row_id from due union all select row_id from ahead))
          and ${WITHOUT_FLUSH}
        returning ${COLUMNS}`,
      [limit, this.#leaseMs, DUE_AHEAD_MAX_MS],
    );
    return rows.map(rowOf).toSorted((a, b) => Number(a.key) - Number(b.key));
  }

  async readUploads(row: OutboxRow): Promise<readonly Upload[]> {
    this.#checkReady();
    const bundle = await this.#readBundle(row);
    return [UPLOAD_ITEM, UPLOAD_ASSIGNMENT, UPLOAD_BUNDLE]
      .filter((part) => (row.parts & part) !== 0)
      .map((part) => {
        const item = partOf(bundle, part);
        invariant(
          item !== undefined,
          `outbox row ${row.key} names part ${part}, which its entry does not have`,
        );
        return { part, id: item.id, bytes: item.bytes };
      });
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    this.#checkReady();
    const known = settlements.filter((settlement) => isKey(settlement.key));
    const done = known.filter((settlement) => settlement.status === 'done');
    if (done.length > 0) {
      await this.#writer.query(
        `delete from su_outbox where row_id = any($1::bigint[]) and ${WITHOUT_FLUSH}`,
        [done.map((settlement) => settlement.key)],
      );
    }
    const left = known.filter((settlement) => settlement.status !== 'done');
    if (left.length > 0) await this.#keep(left);
  }

  async list(query: {
    readonly state: 'pending' | 'parked' | 'all';
    readonly afterKey: string | undefined;
    readonly limit: number;
  }): Promise<readonly OutboxListing[]> {
    this.#checkReady();
    const { rows } = await this.#writer.query<ListingRow>(
      `select ${COLUMNS}, parked_at is not null as parked, reason,
              floor(extract(epoch from queued_at) * 1000)::bigint as queued_ms
         from su_outbox
        where row_id > $1 ${STATE_CONDITIONS[query.state]}
        order by row_id
        limit $2`,
      [query.afterKey !== undefined && isKey(query.afterKey) ? query.afterKey : '0', query.limit],
    );
    return rows.map((row) => ({
      ...rowOf(row),
      state: row.parked ? 'parked' : 'pending',
      reason: row.reason ?? undefined,
      queuedAt: parseInt8(row.queued_ms),
    }));
  }

  async retry(keys: readonly string[] | 'all'): Promise<number> {
    this.#checkReady();
    const named = keys === 'all' ? null : keys.filter(isKey);
    const { rowCount } = await this.#writer.query(
      `update su_outbox set parked_at = null, due_at = now()
        where parked_at is not null and ($1::bigint[] is null or row_id = any($1::bigint[]))`,
      [named],
    );
    return rowCount ?? 0;
  }

  async counts(): Promise<OutboxCounts> {
    this.#checkReady();
    const { rows } = await this.#writer.query<{ pending: Int8; parked: Int8 }>(
      `select count(*) filter (where parked_at is null) as pending,
              count(*) filter (where parked_at is not null) as parked
         from su_outbox`,
    );
    return {
      pending: parseInt8(rows[0]?.pending ?? '0'),
      parked: parseInt8(rows[0]?.parked ?? '0'),
    };
  }

  /** Rows that were not accepted: due again after their delay, or parked. */
  async #keep(settlements: readonly Exclude<Settlement, { status: 'done' }>[]): Promise<void> {
    await this.#writer.query(
      `update su_outbox o
          set parts = s.parts,
              attempts = o.attempts + 1,
              reason = s.reason,
              due_at = now() + coalesce(s.delay_ms, 0) * interval '1 millisecond',
              parked_at = case when s.delay_ms is null then now() end
         from unnest($1::bigint[], $2::smallint[], $3::text[], $4::float8[]) as s (row_id, parts, reason, delay_ms)
        where o.row_id = s.row_id and ${WITHOUT_FLUSH}`,
      [
        settlements.map(({ key }) => key),
        settlements.map(({ parts }) => parts),
        settlements.map(({ reason }) =>
          reason.replaceAll('\0', '\uFFFD').slice(0, REASON_LENGTH_MAX),
        ),
        settlements.map((settlement) =>
          settlement.status === 'parked' ? null : settlement.delayMs,
        ),
      ],
    );
  }

  async #readBundle(row: OutboxRow): Promise<StoredBundle> {
    if (row.assignmentId === undefined) {
      const { rows } = await this.#writer.query<Pick<ProcessRow, 'process_id' | 'bundle'>>(
        'select process_id, bundle from processes where process_id = $1',
        [row.processId],
      );
      invariant(
        rows[0] !== undefined,
        `outbox row ${row.key} names process ${row.processId}, which is not stored`,
      );
      return bundleOfProcess(rows[0]);
    }
    const byAssignment = await this.#writer.query<MessageRow>(
      `select ${MESSAGE_COLUMNS} from messages m where assignment_id = $1`,
      [row.assignmentId],
    );
    // The oldest rows have the id of their assignment in no column.
    const { rows } =
      byAssignment.rows.length > 0
        ? byAssignment
        : await this.#writer.query<MessageRow>(
            `select ${MESSAGE_COLUMNS}
               from messages m
              where message_id = $1 and process_id = $2 and assignment_id is null`,
            [row.messageId, row.processId],
          );
    invariant(
      rows[0] !== undefined,
      `outbox row ${row.key} names entry ${row.assignmentId}, which is not stored`,
    );
    return bundleOfRow(rows[0]);
  }
}

const STATE_CONDITIONS = {
  all: '',
  pending: 'and parked_at is null',
  parked: 'and parked_at is not null',
} as const;

function rowOf(row: QueueRow): OutboxRow {
  return {
    key: row.row_id,
    processId: storedId(row.process_id),
    messageId: storedId(row.message_id),
    assignmentId: row.assignment_id === null ? undefined : storedId(row.assignment_id),
    parts: row.parts,
    attempts: row.attempts,
  };
}

function partOf(bundle: StoredBundle, part: number): DataItem | undefined {
  if (part === UPLOAD_ITEM) return bundle.item;
  return part === UPLOAD_ASSIGNMENT ? bundle.assignment : bundle.wrapper;
}

/** Keys come back from operators, who may mistype them; what is no row's number names no row. */
function isKey(key: string): boolean {
  return /^[0-9]{1,18}$/.test(key);
}
