import { invariant } from '../../errors.js';
import type { Head, NewEntry, ReceiptQuery, Run } from '../../scheduler/ports.js';
import { isConsequence } from './database-errors.js';
import { findDuplicateRuns, insertDeepHashes, type FoundDuplicate } from './deep-hashes.js';
import { readHeadPlaces } from './heads.js';
import { insertMessages, insertOutboxRows, insertProcesses } from './inserts.js';
import type { LookAndWrite, Queryable, Transaction } from './pool.js';
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

/** What a look before the write has shown; true until the transaction ends. */
interface Look {
  /** Runs whose head is the stored one, and nothing of which is stored. */
  readonly fresh: readonly Run[];
  readonly duplicates: ReadonlyMap<Run, FoundDuplicate>;
}

/**
 * Writes the runs whose head is still the stored one, all in one transaction. The rows of their processes are locked
 * first, in one order everywhere; only a later statement sees what was committed while it waited for the locks (read
 * committed), so heads and identities are read after it, never with it. The server runs statements in the order in which
 * they are sent, so none of them has to wait here for the answer to the one before.
 */
export function appendRuns(
  runs: readonly Run[],
  options: AppendOptions,
): LookAndWrite<Look, readonly RunResult[]> {
  for (const run of runs) checkRun(run);
  return {
    look: (client) => lookAtRuns(client.planned, runs),
    write: async (client, look) => resultsOf(runs, look, await writeRuns(client, look, options)),
  };
}

/**
 * As `appendRuns`, in the hope that every run continues its stored head and nothing of it is stored, as it nearly always
 * does: the inserts are sent with the look, behind its locks, and nothing is committed unless the look allows all of it.
 * An append of one message then waits twice instead of three times.
 * What it gives is for `DatabasePool.transactionAtOnce`: undefined when the hope was vain, and `appendRuns` is to tell which runs
 * are to blame; it throws the driver's error of an insert that met what the look would have shown.
 */
export function appendRunsAtOnce(
  runs: readonly Run[],
  options: AppendOptions,
): (client: Transaction) => Promise<readonly RunResult[] | undefined> {
  for (const run of runs) checkRun(run);
  const hoped: Look = { fresh: runs, duplicates: new Map() };
  return async (client) => {
    const [look, written] = await allAnswers([
      lookAtRuns(client.planned, runs),
      writeRuns(client, hoped, options),
    ]);
    const isAllowed = look.fresh.length === runs.length && written.runs.size === runs.length;
    return isAllowed ? resultsOf(runs, hoped, written) : undefined;
  };
}

async function lookAtRuns(client: Queryable, runs: readonly Run[]): Promise<Look> {
  const ids = runs.map((run) => run.processId);
  const [, stored, known, found] = await allAnswers([
    lockProcesses(client, runs),
    readHeadPlaces(client, ids),
    findKnownRuns(client, runs),
    findDuplicateRuns(client, runs),
  ]);
  const atHead = runs.filter(
    (run) => stands(stored.get(run.processId), run.onto) && !repeatsItself(run) && !known.has(run),
  );
  // Of a run that continues another head nothing is compared: whoever made it starts anew.
  const duplicates = new Map<Run, FoundDuplicate>();
  for (const run of atHead) {
    const duplicate = found.get(run);
    if (duplicate !== undefined) duplicates.set(run, duplicate);
  }
  return { fresh: atHead.filter((run) => !duplicates.has(run)), duplicates };
}

/** When one statement fails, all behind it do: what is thrown is the failure that was the reason. */
async function allAnswers<Asked extends readonly unknown[] | []>(
  asked: Asked,
): Promise<{ -readonly [Index in keyof Asked]: Awaited<Asked[Index]> }> {
  const settled = await Promise.allSettled(asked);
  const failures = settled.flatMap((answer) =>
    answer.status === 'rejected' ? [answer.reason as unknown] : [],
  );
  if (failures.length > 0) {
    throw failures.find((failure) => !isConsequence(failure)) ?? failures[0];
  }
  return Promise.all(asked);
}

interface Written {
  readonly runs: ReadonlySet<Run>;
  /** By assignment id. */
  readonly rowIds: ReadonlyMap<string, number>;
  readonly outboxKeys: ReadonlyMap<NewEntry, string>;
}

async function writeRuns(
  client: Transaction,
  { fresh }: Look,
  { leaseMs, texts }: AppendOptions,
): Promise<Written> {
  // Somebody may have spawned the same process meanwhile: there was no row to lock.
  const spawned = await insertProcesses(client, fresh.flatMap(processEntries), texts);
  const written = fresh.filter((run) => run.onto !== undefined || spawned.has(run.processId));
  const entries = written.flatMap((run) => run.entries);
  const messages = entries.filter((entry) => entry.kind !== 'process');
  const [rowIds, , outboxKeys] = await allAnswers([
    insertMessages(client, messages, texts),
    insertDeepHashes(client, entries),
    insertOutboxRows(client.planned, entries, leaseMs),
  ]);
  return { runs: new Set(written), rowIds, outboxKeys };
}

function resultsOf(
  runs: readonly Run[],
  { duplicates }: Look,
  written: Written,
): readonly RunResult[] {
  return runs.map((run) => {
    const duplicate = duplicates.get(run);
    if (duplicate !== undefined) return { status: 'duplicate', ...duplicate };
    if (!written.runs.has(run)) return MOVED;
    return {
      status: 'appended',
      outboxKeys: run.entries.map((entry) => written.outboxKeys.get(entry) ?? ''),
      rowIds: run.entries.map(({ kind, assignment }) =>
        kind === 'process' ? undefined : written.rowIds.get(assignment?.id ?? ''),
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

/** Runs with an entry that, for a client, is stored already. A process's identity is its row: the heads tell. */
async function findKnownRuns(client: Queryable, runs: readonly Run[]): Promise<ReadonlySet<Run>> {
  const identities = runs.flatMap((run) =>
    run.entries
      .filter((entry) => entry.kind !== 'process')
      .map((entry) => ({ run, identity: entry.identity })),
  );
  const receipts = await findReceipts(
    client,
    identities.map(({ identity }) => identity),
  );
  return new Set(
    identities.filter((_, index) => receipts[index] !== undefined).map(({ run }) => run),
  );
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
