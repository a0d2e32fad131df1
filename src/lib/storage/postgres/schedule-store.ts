import { setTimeout as sleep } from 'node:timers/promises';
import { SuError, isSuError } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type { Tag } from '../../protocol/tags.js';
import { duplicateError } from '../../scheduler/ports.js';
import type {
  Head,
  NewEntry,
  Receipt,
  ReceiptQuery,
  Run,
  RunOutcome,
  ScheduleStore,
} from '../../scheduler/ports.js';
import { appendRuns, appendRunsAtOnce, type AppendOptions, type RunResult } from './append.js';
import { classifyFailure, describe, toStoreError, violatedConstraint } from './database-errors.js';
import { readHeads } from './heads.js';
import { UnknownCommitError, type DatabasePool, type StoreLog } from './pool.js';
import { findReceipts } from './receipts.js';
import type { RowRenderer } from './row-renderer.js';
import { bundleOfProcess } from './rows.js';

export interface ScheduleStoreOptions extends Omit<AppendOptions, 'texts'> {
  readonly renderer: RowRenderer;
  readonly writer: DatabasePool;
  readonly log: StoreLog;
  /** Throws SuError while the database is not open and migrated. */
  readonly checkReady: () => void;
}

/** A transaction that lost a deadlock or a serialization conflict is run again so many times. */
const ATTEMPTS_MAX = 5;
const RETRY_DELAY_MS = 10;

/**
 * So many appends look before they write, after one that wrote at once had to be taken back: while another server writes to the
 * same processes, writing in vain costs locks, bytes and row numbers.
 */
const LOOKS_AFTER_VAIN = 16;

/** The writer's side of the log on PostgreSQL: what `ScheduleStore` promises. */
export class PostgresScheduleStore implements ScheduleStore {
  readonly #writer: DatabasePool;
  readonly #log: StoreLog;
  readonly #options: AppendOptions;
  readonly #renderer: RowRenderer;
  /** Of large entries that are being appended. */
  readonly #texts = new Map<NewEntry, Uint8Array>();
  readonly #checkReady: () => void;
  /** How many of the next appends look before they write. */
  #looksAhead = 0;
  /** Settles with the last append that was begun, and never rejects. */
  #lastAppend: Promise<unknown> = Promise.resolve();

  constructor({ writer, renderer, log, checkReady, leaseMs }: ScheduleStoreOptions) {
    this.#writer = writer;
    this.#log = log;
    this.#renderer = renderer;
    this.#options = { leaseMs, texts: this.#texts };
    this.#checkReady = checkReady;
  }

  /**
   * The commit of `#appendAtOnce` or `#commitTogether` is the write's commit point: an entry is scheduled from then on.
   * Appends run one after the other, so that one may continue what the one before it writes.
   */
  async append(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    if (runs.length === 0) return [];
    try {
      this.#checkReady();
    } catch (error) {
      return unknownFor(runs, error);
    }
    const rendered = this.#renderLarge(runs);
    const append = this.#lastAppend.then(async () => {
      await rendered;
      return (await this.#appendAtOnce(runs)) ?? this.#appendBatch(runs);
    });
    // Whoever asked for it gets its failure; for those behind it, it only is over.
    this.#lastAppend = append.catch(() => undefined);
    try {
      return await append;
    } finally {
      for (const entry of runs.flatMap((run) => run.entries)) this.#texts.delete(entry);
    }
  }

  /** Before the transaction and while others run, so that no lock is held meanwhile. Never rejects. */
  async #renderLarge(runs: readonly Run[]): Promise<void> {
    try {
      for (const [entry, text] of await this.#renderer.largeTexts(runs)) {
        this.#texts.set(entry, text);
      }
    } catch (error) {
      // The insert renders what it is not given; whether that works is its own to say.
      this.#log.warn({ event: 'large-entry-not-rendered', reason: describe(error) });
    }
  }

  async readHeads(processIds: readonly Id[]): Promise<readonly (Head | undefined)[]> {
    this.#checkReady();
    const heads = await readHeads(this.#writer, processIds);
    return processIds.map((id) => heads.get(id));
  }

  async findReceipts(queries: readonly ReceiptQuery[]): Promise<readonly (Receipt | undefined)[]> {
    this.#checkReady();
    return findReceipts(this.#writer, queries);
  }

  async findProcessTags(processId: Id): Promise<readonly Tag[] | undefined> {
    this.#checkReady();
    const { rows } = await this.#writer.query<{ process_id: string; bundle: Buffer }>(
      'select process_id, bundle from processes where process_id = $1',
      [processId],
    );
    const row = rows[0];
    return row === undefined ? undefined : bundleOfProcess(row).item?.tags;
  }

  /**
   * All runs in one transaction, or undefined when nothing was written and it takes a closer look to say why. Whatever fails for
   * another reason than the connection's is left to that look, which knows whom to blame.
   */
  async #appendAtOnce(runs: readonly Run[]): Promise<readonly RunOutcome[] | undefined> {
    if (this.#looksAhead > 0) {
      this.#looksAhead -= 1;
      return undefined;
    }
    try {
      const work = appendRunsAtOnce(runs, this.#options);
      const results = await this.#writer.transactionAtOnce(work);
      if (results !== undefined) return results.map(outcomeOf);
    } catch (error) {
      // COMMIT may have been carried out: to write again could only find out.
      if (error instanceof UnknownCommitError || classifyFailure(error) === 'away') {
        return unknownFor(runs, error);
      }
      this.#log.debug({ event: 'append-not-at-once', reason: describe(error) });
    }
    this.#looksAhead = LOOKS_AFTER_VAIN;
    return undefined;
  }

  /**
   * One transaction for all runs. When the database refuses something in it for its content, because a unique key is
   * taken, or when a process's stored head is damaged, the halves are tried on their own until the run to blame
   * stands alone: the others lose nothing.
   */
  async #appendBatch(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    try {
      return await this.#commitTogether(runs);
    } catch (error) {
      const kind = classifyFailure(error);
      const [run] = runs;
      const concernsOneRun =
        kind === 'content' || kind === 'taken' || isSuError(error, 'invariant');
      if (run === undefined || !concernsOneRun) return unknownFor(runs, error);
      if (runs.length > 1) return this.#appendHalves(runs);
      if (kind === 'taken') return [this.#movedBy(run, error)];
      return [kind === 'content' ? await this.#refuse(run, error) : unknown(error)];
    }
  }

  async #appendHalves(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    const middle = Math.ceil(runs.length / 2);
    // One after the other: the second half must not wait for connections that the first one needs.
    const first = await this.#appendBatch(runs.slice(0, middle));
    const second = await this.#appendBatch(runs.slice(middle));
    return [...first, ...second];
  }

  async #commitTogether(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const results = await this.#writer.lookAndWrite(appendRuns(runs, this.#options));
        return results.map(outcomeOf);
      } catch (error) {
        if (classifyFailure(error) !== 'again' || attempt === ATTEMPTS_MAX) throw error;
        this.#log.warn({ event: 'append-repeated', attempt, reason: describe(error) });
        await sleep(RETRY_DELAY_MS * attempt * (1 + Math.random()));
      }
    }
  }

  /** Another program, one without our locks, took the place or the id in between. */
  #movedBy(run: Run, error: unknown): RunOutcome {
    this.#log.warn(
      {
        event: 'append-lost-to-another-writer',
        processId: run.processId,
        constraint: violatedConstraint(error),
        reason: describe(error),
      },
      'another program wrote to this process',
    );
    return { status: 'moved' };
  }

  /** Finds the first entry that the database does not accept, by rehearsing ever shorter beginnings of the run. */
  async #refuse(run: Run, cause: unknown): Promise<RunOutcome> {
    let accepted = 0;
    let refused = run.entries.length;
    let error = cause;
    while (refused - accepted > 1) {
      const middle = Math.floor((accepted + refused) / 2);
      const failure = await this.#rehearse({ ...run, entries: run.entries.slice(0, middle) });
      if (failure === undefined) {
        accepted = middle;
      } else if (classifyFailure(failure) === 'content') {
        refused = middle;
        error = failure;
      } else {
        return unknown(failure);
      }
    }
    const message = `the database cannot store entry ${run.entries[refused - 1]?.messageId ?? ''}`;
    const details = { processId: run.processId, reason: describe(error) };
    return {
      status: 'refused',
      index: refused - 1,
      error: new SuError('refused-by-store', message, { cause: error, details }),
    };
  }

  async #rehearse(run: Run): Promise<unknown> {
    try {
      await this.#writer.rehearse(appendRuns([run], this.#options));
      return undefined;
    } catch (error) {
      return error;
    }
  }
}

function outcomeOf(result: RunResult): RunOutcome {
  if (result.status !== 'duplicate') return result;
  return { status: 'refused', index: result.index, error: duplicateError(result.first) };
}

function unknownFor(runs: readonly Run[], error: unknown): readonly RunOutcome[] {
  const outcome = unknown(error);
  return runs.map(() => outcome);
}

function unknown(failure: unknown): RunOutcome {
  const error = failure instanceof UnknownCommitError ? failure.cause : failure;
  const known = toStoreError(error);
  if (known instanceof SuError) return { status: 'unknown', error: known };
  // A server error that no table of ours names: nothing was committed, but what it means is not known either.
  return {
    status: 'unknown',
    error: new SuError('store-unavailable', 'the database could not store the entry', {
      cause: error,
      details: { reason: describe(error) },
    }),
  };
}
