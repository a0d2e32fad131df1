import { setTimeout as sleep } from 'node:timers/promises';
import { invariant, SuError } from '../../errors.js';
import {
  NotSettledError,
  type Outbox,
  type OutboxListing,
  type OutboxRow,
  type Settlement,
  type Upload,
} from '../../uploader/ports.js';
import type { TenantPool } from './tenant-pool.js';

/** The name of a row among all tenants: no database has a colon in its name. */
export function outboxKeyOf(database: string, key: string): string {
  return `${database}:${key}`;
}

function parseKey(text: string): { readonly database: string; readonly key: string } {
  const end = text.indexOf(':');
  invariant(end > 0, 'a row of the outbox names its tenant');
  return { database: text.slice(0, end), key: text.slice(end + 1) };
}

/** For a tenant's rows: an answer takes milliseconds, and a host that is silent 40 s. */
const ANSWER_WAIT_MS = 250;
/** Rows that come later are left to their lease, which began with the question. */
const LATE_MS_MAX = 5_000;

/** For a tenant to record outcomes; it may have to be opened for that. */
const SETTLE_WAIT_MS = 2_000;

/** A tenant was asked for its rows. */
interface Question {
  readonly askedAtMs: number;
  /** Resolves when the answer is there, whatever it is. */
  readonly answered: Promise<void>;
  /** Undefined until there is an answer; then what is left of it. */
  rows: OutboxRow[] | undefined;
  /** Before there is an answer, that of the question before. */
  failure: Error | undefined;
}

/**
 * The uploads of all tenants. Rows are taken from the stores that are open, each in its turn; those that are not open
 * are visited one after the other, so that nothing left over by an earlier run waits for the tenant's next message.
 *
 * A tenant that does not answer in time is waited for no more: others are asked without it, and its answer is handed out
 * when it is there. One that failed in the end is asked again, and not waited for until it answers. Outcomes likewise: those
 * of a tenant that takes too long are named as not written, and told again once it has answered.
 */
export class TenantOutbox implements Outbox {
  readonly #pool: TenantPool;
  /** Questions that were not answered in time. */
  readonly #late = new Map<string, Question>();
  /** Tenants that are told of outcomes, and have not answered. */
  readonly #settling = new Set<string>();
  /** Outcomes that were written after all: told again, they might undo what was done since. */
  readonly #writtenLate = new WeakSet<Settlement>();
  #turn = 0;

  constructor(pool: TenantPool) {
    this.#pool = pool;
  }

  async claim(limit: number): Promise<readonly OutboxRow[]> {
    this.#pool.visitNext();
    const open = this.#pool.openDatabases();
    const rows: OutboxRow[] = [];
    const failures: unknown[] = [];
    this.#turn += 1;
    for (const index of open.keys()) {
      const database = open[(index + this.#turn) % open.length] ?? '';
      if (rows.length >= limit) break;
      try {
        rows.push(...(await this.#claimFrom(database, limit - rows.length)));
      } catch (error) {
        failures.push(error);
      }
    }
    // One tenant that is away must not hold up the others.
    if (failures.length > 0 && failures.length === open.length) throw failures[0];
    return rows;
  }

  /** What the tenant answers in time, or has answered too late for an earlier claim. */
  async #claimFrom(database: string, limit: number): Promise<readonly OutboxRow[]> {
    const late = this.#late.get(database);
    if (late === undefined) {
      const question = this.#ask(database, limit);
      await within(ANSWER_WAIT_MS, question.answered);
      if (question.rows === undefined) this.#late.set(database, question);
      return takeFrom(question, limit);
    }
    if (late.rows === undefined) return takeFrom(late, limit);
    if (late.failure !== undefined) {
      const again = this.#ask(database, limit);
      again.failure = late.failure;
      this.#late.set(database, again);
      throw late.failure;
    }
    const isOld = this.#pool.monotonicMs() - late.askedAtMs > LATE_MS_MAX;
    if (isOld || late.rows.length <= limit) this.#late.delete(database);
    if (isOld) return [];
    return takeFrom(late, limit);
  }

  #ask(database: string, limit: number): Question {
    const asking = this.#pool.look(database, ({ outbox }) => outbox.claim(limit));
    const question: Question = {
      askedAtMs: this.#pool.monotonicMs(),
      rows: undefined,
      failure: undefined,
      answered: asking.then(
        (rows = []) => {
          question.failure = undefined;
          question.rows = rows.map((row) => ({ ...row, key: outboxKeyOf(database, row.key) }));
        },
        (error: unknown) => {
          question.failure = error instanceof Error ? error : new Error(String(error));
          question.rows = [];
        },
      ),
    };
    return question;
  }

  async readUploads(row: OutboxRow): Promise<readonly Upload[]> {
    const { database, key } = parseKey(row.key);
    return this.#pool.use(database, ({ outbox }) => outbox.readUploads({ ...row, key }));
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    const groups = new Map<string, Settlement[]>();
    for (const settlement of settlements) {
      if (this.#writtenLate.has(settlement)) continue;
      const { database } = parseKey(settlement.key);
      groups.set(database, [...(groups.get(database) ?? []), settlement]);
    }
    // All are tried before a failure is told: one tenant that is away must not hold up the others.
    const failures = new Map<string, unknown>();
    await Promise.all(
      [...groups].map(([database, group]) =>
        this.#settleIn(database, group).catch((error: unknown) => failures.set(database, error)),
      ),
    );
    if (failures.size === 0) return;
    const unwritten = settlements.filter(({ key }) => failures.has(parseKey(key).database));
    throw new NotSettledError(unwritten, [...failures.values()][0]);
  }

  /** @throws SuError `store-unavailable` also when the tenant has not answered in time, now or the last time */
  async #settleIn(database: string, group: readonly Settlement[]): Promise<void> {
    if (this.#settling.has(database)) throw silent(database);
    this.#settling.add(database);
    let isLate = false;
    const known = group.map((settlement) => ({ ...settlement, key: parseKey(settlement.key).key }));
    const writing = this.#pool
      .use(database, ({ outbox }) => outbox.settle(known))
      .then(() => {
        if (isLate) for (const settlement of group) this.#writtenLate.add(settlement);
      })
      .finally(() => this.#settling.delete(database));
    await within(SETTLE_WAIT_MS, writing);
    isLate = this.#settling.has(database);
    if (isLate) throw silent(database);
  }

  async list({
    state,
    afterKey,
    limit,
  }: Parameters<Outbox['list']>[0]): Promise<readonly OutboxListing[]> {
    const after = afterKey === undefined ? undefined : parseKey(afterKey);
    const databases = [...this.#pool.databases].toSorted();
    const rows: OutboxListing[] = [];
    for (const database of databases) {
      if (after !== undefined && database < after.database) continue;
      if (rows.length >= limit) break;
      const found = await this.#pool.use(database, ({ outbox }) =>
        outbox.list({
          state,
          afterKey: database === after?.database ? after.key : undefined,
          limit: limit - rows.length,
        }),
      );
      for (const row of found) rows.push({ ...row, key: outboxKeyOf(database, row.key) });
    }
    return rows;
  }

  async retry(keys: readonly string[] | 'all'): Promise<number> {
    const groups = new Map<string, string[] | 'all'>();
    if (keys === 'all') {
      for (const database of this.#pool.databases) groups.set(database, 'all');
    } else {
      for (const { database, key } of keys.map(parseKey)) {
        const group = groups.get(database) ?? [];
        if (group !== 'all') groups.set(database, [...group, key]);
      }
    }
    let count = 0;
    for (const [database, group] of groups) {
      count += await this.#pool.use(database, ({ outbox }) => outbox.retry(group));
    }
    return count;
  }

  /** As last counted, so that nobody opens a store to look. */
  counts(): Promise<{ pending: number; parked: number }> {
    const all = [...this.#pool.counts.values()];
    return Promise.resolve({
      pending: all.reduce((sum, { pending }) => sum + pending, 0),
      parked: all.reduce((sum, { parked }) => sum + parked, 0),
    });
  }
}

/** @throws its failure; while it is not answered, that of the question before it */
function takeFrom({ rows, failure }: Question, limit: number): readonly OutboxRow[] {
  if (failure !== undefined) throw failure;
  return rows?.splice(0, limit) ?? [];
}

function silent(database: string): SuError {
  return new SuError('store-unavailable', 'the database of a tenant does not answer in time', {
    details: { database },
  });
}

/** Settles with the promise, and resolves at the latest after so long. */
async function within(ms: number, promise: Promise<void>): Promise<void> {
  const over = new AbortController();
  const { signal } = over;
  try {
    await Promise.race([promise, sleep(ms, undefined, { signal }).catch(() => undefined)]);
  } finally {
    over.abort();
  }
}
