import { invariant } from '../../errors.js';
import { parseMessageBundle } from '../../protocol/bundle.js';
import type { Receipt, ReceiptQuery } from '../../scheduler/ports.js';
import type { Queryable } from './pool.js';
import {
  BUNDLE_PREFIX_BYTES,
  parseInt8,
  spawnTimestampOfPrefix,
  storedId,
  type Int8,
} from './rows.js';

type AssignQuery = Extract<ReceiptQuery, { kind: 'assign' }>;

/** The receipts of what was stored before, in the order asked: at most one statement for each kind. */
export async function findReceipts(
  client: Queryable,
  queries: readonly ReceiptQuery[],
): Promise<readonly (Receipt | undefined)[]> {
  const [processes, messages, assigns] = await Promise.all([
    findProcesses(client, idsOf(queries, 'process')),
    findMessages(client, idsOf(queries, 'message')),
    findAssigns(
      client,
      queries.filter((query) => query.kind === 'assign'),
    ),
  ]);
  return queries.map((query) => {
    if (query.kind === 'assign') return assigns.get(query);
    return (query.kind === 'process' ? processes : messages).get(query.id);
  });
}

function idsOf(queries: readonly ReceiptQuery[], kind: 'process' | 'message'): readonly string[] {
  return queries.flatMap((query) => (query.kind === kind ? [query.id] : []));
}

async function findProcesses(
  client: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Receipt>> {
  if (ids.length === 0) return new Map();
  const { rows } = await client.query<{
    process_id: string;
    timestamp: Int8 | null;
    prefix: Buffer | null;
  }>(
    `select process_id, timestamp,
            case when timestamp is null then substring(bundle from 1 for ${BUNDLE_PREFIX_BYTES}) end as prefix
       from processes
      where process_id = any($1::text[])`,
    [ids],
  );
  return new Map(
    rows.map((row) => [
      row.process_id,
      { id: storedId(row.process_id), timestamp: spawnTimestamp(row) },
    ]),
  );
}

function spawnTimestamp(row: {
  readonly process_id: string;
  readonly timestamp: Int8 | null;
  readonly prefix: Buffer | null;
}): number {
  if (row.timestamp !== null) return parseInt8(row.timestamp);
  invariant(row.prefix !== null, `process ${row.process_id} has a bundle`);
  return spawnTimestampOfPrefix(row.process_id, row.prefix);
}

/** Rows of assigned transactions have the same column filled; only `message` tells them from messages. */
async function findMessages(
  client: Queryable,
  ids: readonly string[],
): Promise<ReadonlyMap<string, Receipt>> {
  if (ids.length === 0) return new Map();
  const { rows } = await client.query<{ message_id: string; timestamp: Int8 }>(
    `select distinct on (message_id) message_id, timestamp
       from messages
      where message_id = any($1::text[]) and jsonb_typeof(message_data -> 'message') = 'object'
      order by message_id, epoch, nonce, row_id`,
    [ids],
  );
  return new Map(
    rows.map((row) => [
      row.message_id,
      { id: storedId(row.message_id), timestamp: parseInt8(row.timestamp) },
    ]),
  );
}

interface AssignRow {
  readonly query: Int8;
  readonly assignment_id: string;
  readonly timestamp: Int8;
  readonly bundle: Buffer;
}

/** The bundles are small (an assignment alone), and the window keeps their number down. */
async function findAssigns(
  client: Queryable,
  queries: readonly AssignQuery[],
): Promise<ReadonlyMap<ReceiptQuery, Receipt>> {
  const found = new Map<ReceiptQuery, Receipt>();
  if (queries.length === 0) return found;
  const { rows } = await client.query<AssignRow>(
    `select q.ordinality as query, m.assignment_id, m.timestamp, m.bundle
       from unnest($1::text[], $2::text[], $3::bigint[]) with ordinality as q (process_id, message_id, since)
       join messages m
         on m.process_id = q.process_id and m.message_id = q.message_id and m.timestamp >= q.since
      where m.assignment_id is not null and jsonb_typeof(m.message_data -> 'message') = 'null'
      order by m.epoch, m.nonce, m.row_id`,
    [
      queries.map((query) => query.processId),
      queries.map((query) => query.transactionId),
      queries.map((query) => Math.ceil(query.since)),
    ],
  );
  for (const row of rows) {
    const query = queries[Number(row.query) - 1];
    if (query === undefined || found.has(query) || !sameExclude(row, query)) continue;
    if (query.attempts?.some((id) => id === row.assignment_id) === false) continue;
    found.set(query, { id: storedId(row.assignment_id), timestamp: parseInt8(row.timestamp) });
  }
  return found;
}

function sameExclude(row: AssignRow, query: AssignQuery): boolean {
  const tags = parseMessageBundle(row.bundle).assignment?.tags ?? [];
  const exclude = tags.filter((tag) => tag.name === 'Exclude').map((tag) => tag.value);
  return (
    exclude.length === query.exclude.length &&
    exclude.every((value, i) => value === query.exclude[i])
  );
}
