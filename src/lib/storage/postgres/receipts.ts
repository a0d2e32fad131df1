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
  readonly process_id: string;
  readonly message_id: string;
  readonly assignment_id: string;
  readonly timestamp: Int8;
  readonly bundle: Buffer;
}

/**
 * One statement for those that look for any assign since a moment, and one for those that look for attempts of their own. Each
 * assign is read and taken apart once, however many ask for it: nobody has to sign an assign, and a window may hold thousands of
 * one transaction, told apart by what they leave out. The bundles are small, an assignment alone.
 */
async function findAssigns(
  client: Queryable,
  queries: readonly AssignQuery[],
): Promise<ReadonlyMap<ReceiptQuery, Receipt>> {
  const [shared, own] = await Promise.all([
    readAssignsSince(
      client,
      queries.filter(({ attempts }) => attempts === undefined),
    ),
    readAssigns(
      client,
      queries.flatMap(({ attempts }) => attempts ?? []),
    ),
  ]);
  const sharedAssigns = groupAssigns(shared);
  const ownAssigns = groupAssigns(own);
  const found = new Map<ReceiptQuery, Receipt>();
  for (const query of queries) {
    const { attempts, since, processId, transactionId, exclude } = query;
    const receipts = (attempts === undefined ? sharedAssigns : ownAssigns).get(
      assignName(processId, transactionId, exclude),
    );
    const first = receipts?.find(
      ({ id, timestamp }) => timestamp >= since && attempts?.includes(id) !== false,
    );
    if (first !== undefined) found.set(query, first);
  }
  return found;
}

/** From the earliest moment that anybody asks for. */
async function readAssignsSince(
  client: Queryable,
  queries: readonly AssignQuery[],
): Promise<readonly AssignRow[]> {
  const pairs = new Map<string, AssignQuery>();
  for (const query of queries) {
    const name = `${query.processId} ${query.transactionId}`;
    const known = pairs.get(name);
    if (known === undefined || query.since < known.since) pairs.set(name, query);
  }
  if (pairs.size === 0) return [];
  const asked = [...pairs.values()];
  const { rows } = await client.query<AssignRow>(
    `select m.process_id, m.message_id, m.assignment_id, m.timestamp, m.bundle
       from unnest($1::text[], $2::text[], $3::bigint[]) as q (process_id, message_id, since)
       join messages m
         on m.process_id = q.process_id and m.message_id = q.message_id and m.timestamp >= q.since
      where m.assignment_id is not null and jsonb_typeof(m.message_data -> 'message') = 'null'
      order by m.epoch, m.nonce, m.row_id`,
    [
      asked.map((query) => query.processId),
      asked.map((query) => query.transactionId),
      asked.map((query) => Math.ceil(query.since)),
    ],
  );
  return rows;
}

async function readAssigns(
  client: Queryable,
  assignmentIds: readonly string[],
): Promise<readonly AssignRow[]> {
  if (assignmentIds.length === 0) return [];
  const { rows } = await client.query<AssignRow>(
    `select process_id, message_id, assignment_id, timestamp, bundle
       from messages
      where assignment_id = any($1::text[]) and jsonb_typeof(message_data -> 'message') = 'null'
      order by epoch, nonce, row_id`,
    [assignmentIds],
  );
  return rows;
}

/** Those of one transaction onto one process that leave out the same, in the log's order. */
function groupAssigns(rows: readonly AssignRow[]): ReadonlyMap<string, readonly Receipt[]> {
  const assigns = new Map<string, Receipt[]>();
  for (const { process_id, message_id, assignment_id, timestamp, bundle } of rows) {
    const name = assignName(process_id, message_id, excludeOf(bundle));
    const receipts = assigns.get(name) ?? [];
    assigns.set(name, receipts);
    receipts.push({ id: storedId(assignment_id), timestamp: parseInt8(timestamp) });
  }
  return assigns;
}

function assignName(processId: string, transactionId: string, exclude: readonly string[]): string {
  return JSON.stringify([processId, transactionId, ...exclude]);
}

function excludeOf(bundle: Buffer): readonly string[] {
  const tags = parseMessageBundle(bundle).assignment?.tags ?? [];
  return tags.filter(({ name }) => name === 'Exclude').map(({ value }) => value);
}
