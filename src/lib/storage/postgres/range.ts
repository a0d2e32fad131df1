import type { RangeQuery } from '../../scheduler/ports.js';
import type { Queryable } from './pool.js';
import { MESSAGE_COLUMNS, parseInt8, type Int8, type MessageRow } from './rows.js';

/** Where a reading of a log stands: after this row. */
export interface Position {
  readonly epoch: number;
  readonly nonce: number;
  readonly rowId: number;
}

/** A stretch of one epoch, and the timestamps that count within it. */
interface Stretch {
  readonly processId: string;
  readonly epoch: number;
  /** Inclusive. */
  readonly firstNonce: number;
  /** Inclusive. */
  readonly lastNonce: number;
  readonly times: { readonly from: string; readonly to: string } | undefined;
}

/** Rendered, a piece is about as large; a single larger entry is a piece of its own. */
const PIECE_BYTES_MAX = 2 * 1024 * 1024;
const PIECE_ROWS_MAX = 1_000;
const INT4_MAX = 2_147_483_647;
/** How far the timestamps of old logs may be out of order, in entries. Ours strictly rise. */
const DISORDER_ROWS = 256;

/**
 * Reads the rows of a range after `after`, in pieces bounded in rows and bytes, in order of (epoch, nonce, row). Each
 * piece is one descent of an index to its first row, so its cost does not depend on how deep in the log it lies.
 */
export async function* readPieces(
  client: Queryable,
  query: RangeQuery,
  after: Position | undefined,
): AsyncGenerator<readonly MessageRow[], void, undefined> {
  let left = query.limit;
  for (const stretch of await findStretches(client, query)) {
    if (after !== undefined && stretch.epoch < after.epoch) continue;
    let position =
      after !== undefined && after.epoch === stretch.epoch ? after : beforeFirst(stretch);
    for (let ended = false; !ended && left > 0;) {
      const piece = await readPiece(client, stretch, { position, limit: left });
      ended = piece.ended;
      const last = piece.rows.at(-1);
      if (last === undefined) break;
      position = positionOf(last);
      left -= piece.rows.length;
      yield piece.rows;
    }
    if (left <= 0) return;
  }
}

/** The position of a row. */
export function positionOf(row: MessageRow): Position {
  return { epoch: row.epoch, nonce: row.nonce, rowId: row.row_id };
}

function beforeFirst({ epoch, firstNonce }: Stretch): Position {
  return { epoch, nonce: firstNonce, rowId: 0 };
}

/** Timestamps are turned into places first: the log's order is by place, whatever an old clock did. */
async function findStretches(client: Queryable, query: RangeQuery): Promise<readonly Stretch[]> {
  const epochs = await readEpochs(client, query.processId);
  if (query.by === 'nonce') {
    const firstNonce = toInt4(query.from === undefined ? 0 : Math.floor(query.from) + 1, 0);
    const lastNonce = toInt4(query.to === undefined ? INT4_MAX : Math.floor(query.to), -1);
    if ((query.from ?? -1) >= INT4_MAX || firstNonce > lastNonce) return [];
    return epochs.map((epoch) => ({
      processId: query.processId,
      epoch,
      firstNonce,
      lastNonce,
      times: undefined,
    }));
  }
  const times = {
    from: String(
      toInt8(query.from === undefined ? Number.MIN_SAFE_INTEGER : Math.floor(query.from)),
    ),
    to: String(toInt8(query.to === undefined ? Number.MAX_SAFE_INTEGER : Math.floor(query.to))),
  };
  const first =
    query.from === undefined
      ? undefined
      : await findFirstPlace(client, query.processId, times.from);
  const last =
    query.to === undefined ? undefined : await findLastPlace(client, query.processId, times.to);
  if (first === null || last === null) return [];
  return epochs
    .filter((epoch) => epoch >= (first?.epoch ?? 0) && epoch <= (last?.epoch ?? INT4_MAX))
    .map((epoch) => ({
      processId: query.processId,
      epoch,
      firstNonce: first?.epoch === epoch ? first.nonce : 0,
      lastNonce: last?.epoch === epoch ? last.nonce : INT4_MAX,
      times: query.from === undefined && query.to === undefined ? undefined : times,
    }));
}

interface Place {
  readonly epoch: number;
  readonly nonce: number;
}

/** The lowest place among the rows whose timestamps come next after `from`; null when there are none. */
async function findFirstPlace(
  client: Queryable,
  processId: string,
  from: string,
): Promise<Place | null> {
  const { rows } = await client.query<Place>(
    `select epoch, nonce
       from (select epoch, nonce from messages
              where process_id = $1 and timestamp > $2
              order by timestamp limit ${DISORDER_ROWS}) near
      order by epoch, nonce
      limit 1`,
    [processId, from],
  );
  return rows[0] ?? null;
}

/** The highest place among the rows with the last timestamps up to `to`; null when there are none. */
async function findLastPlace(
  client: Queryable,
  processId: string,
  to: string,
): Promise<Place | null> {
  const { rows } = await client.query<Place>(
    `select epoch, nonce
       from (select epoch, nonce from messages
              where process_id = $1 and timestamp <= $2
              order by timestamp desc limit ${DISORDER_ROWS}) near
      order by epoch desc, nonce desc
      limit 1`,
    [processId, to],
  );
  return rows[0] ?? null;
}

/** One index descent for each epoch, of which there is one so far. */
async function readEpochs(client: Queryable, processId: string): Promise<readonly number[]> {
  const { rows } = await client.query<{ epoch: number }>(
    `with recursive epochs (epoch) as (
       (select epoch from messages where process_id = $1 order by epoch limit 1)
       union all
       select (select m.epoch from messages m
                where m.process_id = $1 and m.epoch > e.epoch
                order by m.epoch limit 1)
         from epochs e
        where e.epoch is not null
     )
     select epoch from epochs where epoch is not null`,
    [processId],
  );
  return rows.map((row) => row.epoch);
}

interface PieceRow extends MessageRow {
  /** Rows that were looked at before the bytes were counted. */
  readonly found: Int8;
}

/**
 * `octet_length` of a bundle is read from its pointer: the rows that are too many for the piece are neither unpacked
 * nor sent. The first row is always taken. `timestamp + 0` keeps the planner from the index on timestamps, whose order is
 * not the one wanted here.
 */
async function readPiece(
  client: Queryable,
  { processId, epoch, lastNonce, times }: Stretch,
  { position, limit }: { readonly position: Position; readonly limit: number },
): Promise<{ readonly rows: readonly MessageRow[]; readonly ended: boolean }> {
  const wanted = Math.min(limit, PIECE_ROWS_MAX);
  const { rows } = await client.query<PieceRow>(
    `select ${MESSAGE_COLUMNS}, m.found
       from (select n.*,
                    sum(octet_length(n.bundle)) over (order by n.nonce, n.row_id) - octet_length(n.bundle) as bytes_before,
                    count(*) over () as found
               from (select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, bundle
                       from messages
                      where process_id = $1 and epoch = $2 and nonce >= $3 and nonce <= $4
                        and (nonce > $3 or row_id > $5)
                        ${times === undefined ? '' : 'and timestamp + 0 > $7 and timestamp + 0 <= $8'}
                      order by nonce, row_id
                      limit $6) n) m
      where m.bytes_before < ${PIECE_BYTES_MAX}
      order by m.nonce, m.row_id`,
    [
      processId,
      epoch,
      position.nonce,
      lastNonce,
      position.rowId,
      wanted,
      ...(times === undefined ? [] : [times.from, times.to]),
    ],
  );
  const found = parseInt8(rows[0]?.found ?? '0');
  return { rows, ended: found < wanted && rows.length === found };
}

function toInt4(value: number, least: number): number {
  return Math.min(Math.max(value, least), INT4_MAX);
}

function toInt8(value: number): number {
  return Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}
