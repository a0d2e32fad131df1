import { invariant } from '../../errors.js';
import { isId } from '../../protocol/ids.js';
import type { RangeQuery } from '../../scheduler/ports.js';
import type { CopyFields } from './copy-out.js';
import type { CopySource, Queryable } from './pool.js';
import type { MessageRow } from './rows.js';

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
/** Few, so that the server reads the next ones while these are rendered and sent. */
const PIECE_ROWS_MAX = 250;
const INT4_MAX = 2_147_483_647;
/** How far the timestamps of old logs may be out of order, in entries. Ours strictly rise. */
const DISORDER_ROWS = 256;

interface Piece {
  readonly rows: readonly MessageRow[];
  /** Whether the stretch has no rows behind these. */
  readonly ended: boolean;
}

/**
 * Reads the rows of a range after `after`, which may lie before it, in pieces bounded in rows and bytes, in order of (epoch,
 * nonce, row). Each piece is one descent of an index to its first row, so its cost does not depend on how deep in the log it
 * lies. The next one is read while the caller has this one.
 */
export async function* readPieces(
  client: CopySource,
  query: RangeQuery,
  after: Position | undefined,
): AsyncGenerator<readonly MessageRow[], void, undefined> {
  let left = query.limit;
  for (const stretch of await findStretches(client, query)) {
    if (after !== undefined && stretch.epoch < after.epoch) continue;
    const isWithin = after?.epoch === stretch.epoch && after.nonce >= stretch.firstNonce;
    const begin = isWithin ? after : beforeFirst(stretch);
    for await (const rows of readStretch(client, stretch, { position: begin, limit: left })) {
      left -= rows.length;
      yield rows;
    }
    if (left <= 0) return;
  }
}

async function* readStretch(
  client: CopySource,
  stretch: Stretch,
  { position, limit }: Part,
): AsyncGenerator<readonly MessageRow[], void, undefined> {
  let next: Promise<Piece> | undefined = readPiece(client, stretch, { position, limit });
  try {
    for (let left = limit; next !== undefined;) {
      const { rows, ended }: Piece = await next;
      next = undefined;
      const last = rows.at(-1);
      if (last === undefined) return;
      left -= rows.length;
      if (!ended && left > 0) {
        next = readPiece(client, stretch, { position: positionOf(last), limit: left });
        // Whoever comes back for it gets its failure; nobody may.
        next.catch(() => undefined);
      }
      yield rows;
    }
  } finally {
    await next?.catch(() => undefined);
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

interface Part {
  readonly position: Position;
  readonly limit: number;
}

/**
 * `octet_length` of a bundle is read from its pointer: the rows that are too many for the piece are neither unpacked
 * nor sent. The first row is always taken. `timestamp + 0` keeps the planner from the index on timestamps, whose order is
 * not the one wanted here. COPY sends bundles as they are, where an answer of the driver's is text of twice the size,
 * written by the server and read by us; it takes no parameters, so every value is checked to be an id or a whole number.
 */
async function readPiece(
  client: CopySource,
  { processId, epoch, lastNonce, times }: Stretch,
  { position, limit }: Part,
): Promise<Piece> {
  const wanted = Math.min(limit, PIECE_ROWS_MAX);
  const [from, to] = [times?.from ?? '0', times?.to ?? '0'];
  const numbers = [epoch, lastNonce, position.nonce, position.rowId, wanted, from, to];
  invariant(numbers.map(Number).every(Number.isSafeInteger), 'a place is a whole number');
  invariant(isId(processId), 'a process is named by an id');
  const rows: MessageRow[] = [];
  let found = 0;
  await client.copy(
    `copy (
      select m.row_id, m.process_id, m.message_id, m.assignment_id, m.epoch, m.nonce, m.timestamp::text, m.bundle, m.found
        from (select n.*,
                     sum(octet_length(n.bundle)) over (order by n.nonce, n.row_id) - octet_length(n.bundle) as bytes_before,
                     count(*) over () as found
                from (select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, bundle
                        from messages
                       where process_id = '${processId}' and epoch = ${epoch}
                         and nonce >= ${position.nonce} and nonce <= ${lastNonce}
                         and (nonce > ${position.nonce} or row_id > ${position.rowId})
                         ${times === undefined ? '' : `and timestamp + 0 > ${from} and timestamp + 0 <= ${to}`}
                       order by nonce, row_id
                       limit ${wanted}) n) m
       where m.bytes_before < ${PIECE_BYTES_MAX}
       order by m.nonce, m.row_id
    ) to stdout (format binary)`,
    (fields) => {
      rows.push(readRow(fields));
      found = fields.int8();
    },
  );
  return { rows, ended: found < wanted && rows.length === found };
}

/** In the order of the statement's columns. */
function readRow(fields: CopyFields): MessageRow {
  return {
    row_id: fields.int4(),
    process_id: fields.text(),
    message_id: fields.text(),
    assignment_id: fields.textOrNull() ?? null,
    epoch: fields.int4(),
    nonce: fields.int4(),
    timestamp: fields.text(),
    bundle: Buffer.from(fields.bytes()),
  };
}

function toInt4(value: number, least: number): number {
  return Math.min(Math.max(value, least), INT4_MAX);
}

function toInt8(value: number): number {
  return Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}
