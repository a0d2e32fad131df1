import { invariant } from '../../errors.js';
import type { Head, NewEntry, ReceiptQuery, Run } from '../../scheduler/ports.js';
import { findDuplicateRuns, insertDeepHashes, type FoundDuplicate } from './deep-hashes.js';
import { readHeadPlaces } from './heads.js';
import { insertMessages, insertOutboxRows, insertProcesses } from './inserts.js';
import type { Queryable } from './pool.js';
import type { LargeTexts } from './row-renderer.js';
import { findReceipts } from './receipts.js';
import type { HeadPlace } from './rows.js';

/** What became of a run in a transaction that was committed. */
export type RunResult =
  | {
      readonly status: 'appended';
      readonly outboxKeys: readonly string[];
      /** One an entry; undefined for a process. */
      readonly rowIds: readonly (number | undefined)[];
    }
  | { readonly status: 'moved' }
  /** Nothing of the run written: an entry's content is stored already. */
  | ({ readonly status: 'duplicate' } & FoundDuplicate);

export interface AppendOptions {
  /** How long the outbox rows belong to whoever appended them. */
  readonly leaseMs: number;
  /** Of those entries that were rendered beforehand. */
  readonly texts?: LargeTexts | undefined;
}

const MOVED: RunResult = { status: 'moved' };

/**
 * Writes the runs whose head is still the stored one, all in the caller's transaction. The rows of their processes
 * are locked first, in one order everywhere; only a later statement sees what was committed while it waited for
 * the locks (read committed), so heads and identities are read after it, never with it.
 */
export async function appendRuns(
  client: Queryable,
  runs: readonly Run[],
  options: AppendOptions,
): Promise<readonly RunResult[]> {
  for (const run of runs) checkRun(run);
  await lockProcesses(client, runs);
  const atHead = await findFreshRuns(client, runs);
  const duplicates = await findDuplicateRuns(client, atHead);
  const fresh = atHead.filter((run) => !duplicates.has(run));
  const spawned = await insertProcesses(client, fresh.flatMap(processEntries), options.texts);
  const written = fresh.filter((run) => run.onto !== undefined || spawned.has(run.processId));
  const entries = written.flatMap((run) => run.entries);
  const rowIds = await insertMessages(
    client,
    entries.filter((entry) => entry.kind !== 'process'),
    options.texts,
  );
  await insertDeepHashes(client, entries);
  const keys = await insertOutboxRows(client, entries, options.leaseMs);
  const taken = new Set(written);
  return runs.map((run) => {
    const duplicate = duplicates.get(run);
    if (duplicate !== undefined) return { status: 'duplicate', ...duplicate };
    if (!taken.has(run)) return MOVED;
    return {
      status: 'appended',
      outboxKeys: run.entries.map((entry) => keys.get(entry) ?? ''),
      rowIds: run.entries.map(({ kind, assignment }) =>
        kind === 'process' ? undefined : rowIds.get(assignment?.id ?? ''),
      ),
    };
  });
}

/**
 * `for no key update` keeps two appenders apart and leaves the foreign key checks of other rows alone. Deadlocks are
 * impossible among appenders: existing processes are locked in the order of their ids, then new ones are
 * inserted in the order of theirs.
 */
async function lockProcesses(client: Queryable, runs: readonly Run[]): Promise<void> {
  const ids = runs.filter((run) => run.onto !== undefined).map((run) => run.processId);
  if (ids.length === 0) return;
  await client.query(
    'select from processes where process_id = any($1::text[]) order by process_id for no key update',
    [ids],
  );
}

async function findFreshRuns(client: Queryable, runs: readonly Run[]): Promise<readonly Run[]> {
  const places = await readHeadPlaces(
    client,
    runs.map((run) => run.processId),
  );
  const atHead = runs.filter(
    (run) => stands(places.get(run.processId), run.onto) && !repeatsItself(run),
  );
  // A process's identity is its row, which the heads have shown to be missing.
  const identities = atHead.flatMap((run) =>
    run.entries
      .filter((entry) => entry.kind !== 'process')
      .map((entry) => ({ run, identity: entry.identity })),
  );
  const receipts = await findReceipts(
    client,
    identities.map(({ identity }) => identity),
  );
  const known = new Set(
    identities.filter((_, index) => receipts[index] !== undefined).map(({ run }) => run),
  );
  return atHead.filter((run) => !known.has(run));
}

/** Whether the stored head is the one that the run was made for. */
function stands(stored: HeadPlace | undefined, onto: Head | undefined): boolean {
  if (stored === undefined || onto === undefined) return stored === onto;
  return (
    stored.epoch === onto.epoch &&
    stored.nonce === onto.nonce &&
    stored.hashChain === onto.hashChain &&
    stored.assignmentId === onto.assignmentId
  );
}

/** Whether an entry of the run is, for a client, the same as an earlier one of it. */
function repeatsItself({ entries }: Run): boolean {
  return entries.some(({ identity }, index) =>
    entries.slice(0, index).some((earlier) => countsAs(identity, earlier)),
  );
}

function countsAs(identity: ReceiptQuery, earlier: NewEntry): boolean {
  if (identity.kind !== 'assign')
    return earlier.kind === identity.kind && earlier.messageId === identity.id;
  if (identity.attempts !== undefined) return false;
  return (
    earlier.identity.kind === 'assign' &&
    earlier.messageId === identity.transactionId &&
    earlier.head.timestamp >= identity.since &&
    JSON.stringify(earlier.identity.exclude) === JSON.stringify(identity.exclude)
  );
}

function processEntries(run: Run): readonly NewEntry[] {
  return run.entries.filter((entry) => entry.kind === 'process');
}

/** The caller's promise: a process begins its log and nothing else does, and each entry takes the next nonce. */
function checkRun({ processId, onto, entries }: Run): void {
  let nonce = onto?.nonce;
  for (const [index, entry] of entries.entries()) {
    const begins = index === 0 && onto === undefined;
    const expected = nonce === undefined ? entry.head.nonce : nonce + 1;
    invariant(
      entry.processId === processId &&
        (entry.kind === 'process') === begins &&
        entry.head.nonce === expected,
      `entry ${index} of a run of process ${processId} does not continue it`,
      { processId, nonce: entry.head.nonce, expected },
    );
    nonce = entry.head.nonce;
  }
}
