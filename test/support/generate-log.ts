import { randomFillSync } from 'node:crypto';
import pg from 'pg';
import { draftAssignment, sealAssignment } from '../../src/lib/protocol/assignment.js';
import { encodeBundle } from '../../src/lib/protocol/bundle.js';
import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import { renderProcessData } from '../../src/lib/protocol/wire.js';
import {
  UPLOAD_ASSIGNMENT,
  UPLOAD_ITEM,
  type Head,
  type NewEntry,
  type Run,
  type ScheduleStore,
} from '../../src/lib/scheduler/ports.js';

/*
 * Logs for measurements: one long log, many processes, and if wanted a queue of uploads, written straight into a store as
 * a server would have left them but for the signatures, which are random: stores verify none.
 */

/** What is to be written. */
export interface LogPlan {
  /** Messages of the long log. */
  readonly entries: number;
  /** Processes without messages, besides the one of the long log. */
  readonly processes: number;
  /** Of the last messages of the long log, so many are still to be uploaded. */
  readonly pendingUploads: number;
}

/** What was written. */
export interface GeneratedLogs {
  /** Of the long log; its messages have the nonces from 1 on. */
  readonly processId: Id;
  /** Of the other processes. */
  readonly others: readonly Id[];
}

/** Takes entries in order, a group at a time. */
interface EntrySink {
  write(runs: readonly Run[]): Promise<void>;
}

/** Asked for in large pieces: thousands of small ones cost a third of all the time. */
const POOL_BYTES = 1024 * 1024;
let pool = new Uint8Array(0);

/** A view of random bytes that nobody else has. */
function randomBytes(count: number): Uint8Array {
  if (pool.length < count) pool = randomFillSync(new Uint8Array(POOL_BYTES));
  const bytes = pool.subarray(0, count);
  pool = pool.subarray(count);
  return bytes;
}

const OWNER = randomBytes(512);
/** Items of 300 bytes of data from Arweave wallets: 4.1 KB of JSON for each entry, so that a page of 1000 has 4.1 MB. */
const USERS = Array.from({ length: 256 }, () => randomBytes(512));
const DATA_BYTES = 225;
const HEIGHT = 1_500_000;
const FIRST_TIME = 1_700_000_000_000;
const STEP_MS = 7;
const GROUP = 1000;

/** Writes them through the store's own append, in large groups. */
export function generateIntoStore(
  store: Pick<ScheduleStore, 'append'>,
  plan: LogPlan,
): Promise<GeneratedLogs> {
  return generate(plan, {
    async write(runs) {
      for (const outcome of await store.append(runs)) {
        if (outcome.status !== 'appended') throw new Error(`a run was ${outcome.status}`);
      }
    },
  });
}

/** Writes them into the tables of a database that has the newest schema. */
export async function generateIntoDatabase(url: string, plan: LogPlan): Promise<GeneratedLogs> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('set synchronous_commit = off');
    // Keys are random: after each checkpoint the pages of all indexes would go to the write-ahead log once more.
    await setWalSize(client, "alter system set max_wal_size = '16GB'");
    const logs = await generate(plan, {
      async write(runs) {
        const entries = runs.flatMap((run) => run.entries);
        await insertProcesses(
          client,
          entries.filter(({ kind }) => kind === 'process'),
        );
        await insertMessages(
          client,
          entries.filter(({ kind }) => kind === 'message'),
        );
      },
    });
    await setWalSize(client, 'alter system reset max_wal_size');
    await client.query('vacuum analyze');
    await client.query('checkpoint');
    return logs;
  } finally {
    await client.end();
  }
}

async function setWalSize(client: pg.Client, statement: string): Promise<void> {
  await client.query(statement);
  await client.query('select pg_reload_conf()');
}

/** The next group is made while the one before is written. */
async function generate(plan: LogPlan, sink: EntrySink): Promise<GeneratedLogs> {
  const long = spawn();
  await sink.write([runOf(long, undefined)]);
  const others: Id[] = [];
  let writing: Promise<void> = Promise.resolve();
  for (let done = 0; done < plan.processes; done += GROUP) {
    const count = Math.min(GROUP, plan.processes - done);
    const runs = Array.from({ length: count }, () => runOf(spawn(), undefined));
    others.push(...runs.map(({ processId }) => processId));
    await writing;
    writing = sink.write(runs);
  }
  let head = long.head;
  for (let done = 0; done < plan.entries; done += GROUP) {
    const onto = head;
    const entries: NewEntry[] = [];
    for (let at = done; at < Math.min(plan.entries, done + GROUP); at += 1) {
      const isPending = at >= plan.entries - plan.pendingUploads;
      const entry = extend(long.processId, head, isPending ? UPLOAD_ITEM | UPLOAD_ASSIGNMENT : 0);
      head = entry.head;
      entries.push(entry);
    }
    await writing;
    writing = sink.write([{ processId: long.processId, onto, entries }]);
  }
  await writing;
  return { processId: long.processId, others };
}

function runOf(entry: NewEntry, onto: Head | undefined): Run {
  return { processId: entry.processId, onto, entries: [entry] };
}

function spawn(): NewEntry {
  const item = randomItem(undefined, 'Process');
  const identity = { kind: 'process', id: item.id } as const;
  return wrap({ kind: 'process', processId: item.id, item, identity }, undefined, 0);
}

function extend(processId: Id, head: Head, uploads: number): NewEntry {
  const item = randomItem(processId, 'Message');
  const identity = { kind: 'message', id: item.id } as const;
  return wrap({ kind: 'message', processId, item, identity }, head, uploads);
}

/** An entry that continues `head`. */
function wrap(
  parts: Pick<NewEntry, 'kind' | 'processId' | 'identity'> & { readonly item: DataItem },
  head: Head | undefined,
  uploads: number,
): NewEntry {
  const { kind, processId, item } = parts;
  const place = {
    epoch: 0,
    nonce: (head?.nonce ?? -1) + 1,
    timestamp: (head?.timestamp ?? FIRST_TIME) + STEP_MS,
    blockHeight: HEIGHT,
    hashChain:
      head?.assignmentId === undefined || head.hashChain === undefined
        ? firstLink(processId)
        : nextLink(head.assignmentId, head.hashChain),
  };
  const draft = draftAssignment({
    ...place,
    owner: OWNER,
    processId,
    messageId: kind === 'message' ? item.id : undefined,
    exclude: [],
    anchor: randomBytes(32),
  });
  const assignment = sealAssignment(draft, randomBytes(512));
  const bundle = encodeBundle({ owner: OWNER, anchor: randomBytes(32), items: [assignment, item] });
  const next = { ...place, assignmentId: assignment.id };
  return { ...parts, messageId: item.id, assignment, head: next, bundle, uploads };
}

function randomItem(target: Id | undefined, type: 'Process' | 'Message'): DataItem {
  const bytes = encodeDataItem(
    {
      signatureType: 1,
      signature: randomBytes(512),
      owner: USERS[randomBytes(1)[0] ?? 0] ?? OWNER,
      target: target === undefined ? undefined : idToBytes(target),
      anchor: undefined,
      tags: [
        { name: 'Data-Protocol', value: 'ao' },
        { name: 'Type', value: type },
        { name: 'Variant', value: 'ao.TN.1' },
      ],
    },
    Buffer.from(Buffer.from(randomBytes(DATA_BYTES)).toString('base64')),
  );
  return parseDataItem(bytes, 'stored');
}

async function insertProcesses(client: pg.Client, entries: readonly NewEntry[]): Promise<void> {
  if (entries.length === 0) return;
  await client.query(
    `insert into processes (process_id, process_data, bundle, epoch, nonce, hash_chain, timestamp)
     select p, d, b, 0, 0, h, t
       from unnest($1::text[], $2::jsonb[], $3::bytea[], $4::text[], $5::bigint[]) as r (p, d, b, h, t)`,
    [
      entries.map(({ processId }) => processId),
      entries.map(({ item, assignment, head }) =>
        item === undefined ? '{}' : renderProcessData({ item, assignment, ...head }),
      ),
      entries.map(({ bundle }) => bundle),
      entries.map(({ head }) => head.hashChain),
      entries.map(({ head }) => head.timestamp),
    ],
  );
}

/**
 * `message_data` is left empty: what is read comes from the bundles. These go as one value that the server cuts, which
 * saves their way through text.
 */
async function insertMessages(client: pg.Client, entries: readonly NewEntry[]): Promise<void> {
  if (entries.length === 0) return;
  const lengths = entries.map(({ bundle }) => bundle.length);
  let begin = 1;
  const begins = lengths.map((length) => (begin += length) - length);
  await client.query(
    `insert into messages (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
     select p, m, a, 0, n, t, h, '{"message": {}}', substring($9::bytea from b for l)
       from unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::text[], $7::int[], $8::int[])
            as r (p, m, a, n, t, h, b, l)`,
    [
      entries.map(({ processId }) => processId),
      entries.map(({ messageId }) => messageId),
      entries.map(({ head }) => head.assignmentId),
      entries.map(({ head }) => head.nonce),
      entries.map(({ head }) => head.timestamp),
      entries.map(({ head }) => head.hashChain),
      begins,
      lengths,
      Buffer.concat(entries.map(({ bundle }) => bundle)),
    ],
  );
  const queued = entries.filter(({ uploads }) => uploads !== 0);
  if (queued.length === 0) return;
  await client.query(
    `insert into su_outbox (process_id, message_id, assignment_id, parts, due_at)
     select p, m, a, u, now() from unnest($1::text[], $2::text[], $3::text[], $4::int[]) as r (p, m, a, u)`,
    [
      queued.map(({ processId }) => processId),
      queued.map(({ messageId }) => messageId),
      queued.map(({ head }) => head.assignmentId),
      queued.map(({ uploads }) => uploads),
    ],
  );
}
