import pg from 'pg';
import { SuError } from '../../errors.js';
import type { Clock } from '../../scheduler/ports.js';
import { connectionOptions, ignoreConnectionError, prepareSession } from './connection.js';
import { copyOut, type CopyFields } from './copy-out.js';
import {
  classifyFailure,
  describe,
  isLostStatement,
  isOutdatedPlan,
  toStoreError,
} from './database-errors.js';
import { PlannedStatements } from './planned-statements.js';

/** What this folder needs of a logger; pino's satisfies it. */
export interface StoreLog {
  debug(fields: object, sentence?: string): void;
  info(fields: object, sentence?: string): void;
  warn(fields: object, sentence?: string): void;
  error(fields: object, sentence?: string): void;
}

export interface PoolOptions {
  /** `postgres://…` as libpq reads it. */
  readonly url: string;
  readonly connections: number;
  /** `writer` or `reader`, for the log. */
  readonly name: string;
  /** Statements of a transaction that do not wait for one another are sent together. */
  readonly isPipelined?: boolean;
  readonly clock: Clock;
  readonly log: StoreLog;
}

/** Runs one statement; a pool, or the client of a transaction. */
export interface Queryable {
  query<Row extends pg.QueryResultRow>(
    text: string,
    values?: readonly unknown[],
  ): Promise<pg.QueryResult<Row>>;
}

/** What a range is read from. */
export type CopySource = Queryable & Pick<DatabasePool, 'copy'>;

/** The client of a transaction. */
export interface Transaction extends Queryable {
  /**
   * Runs statements that the server plans once for each connection: for texts of which there are few, and whose best plan
   * does not depend on their values.
   */
  readonly planned: Queryable;
}

/** The two halves of a transaction that looks before it writes. */
export interface LookAndWrite<Looked, Result> {
  /** Asks only: its statements are sent behind BEGIN without waiting for the answer of that. */
  look(client: Transaction): Promise<Looked>;
  write(client: Transaction, looked: Looked): Promise<Result>;
}

/** The pool waits for a promise of `onConnect` before it hands the connection out, which its types do not say. */
interface AwaitingPoolConfig extends Omit<pg.PoolConfig, 'onConnect'> {
  readonly onConnect: (client: pg.ClientBase) => Promise<void>;
}

/** Above the server's own limit: it ends a wait for a server that has silently vanished. */
const ANSWER_TIMEOUT_MS = 40_000;

/**
 * Said again at each transaction, because a pooler between us and the server may hand every transaction another
 * session. Plans are to be kept: the server would rather plan for each array of ids anew.
 */
const BEGIN = `
  begin isolation level read committed read write;
  select
    set_config('synchronous_commit',
      case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('enable_seqscan', 'off', true),
    set_config('plan_cache_mode', 'force_generic_plan', true)`;

/**
 * A statement timeout that strikes while COMMIT waits for a synchronous standby turns into a success with a warning,
 * so none is in force then; the client's own limit ends the wait with an unknown outcome instead.
 */
const COMMIT = 'set local statement_timeout = 0; commit';

/** Thrown by `transaction` when COMMIT was sent and its answer did not come: the work may be durable or not. */
export class UnknownCommitError extends Error {
  constructor(cause: unknown) {
    super(`the outcome of COMMIT is unknown: ${describe(cause)}`, { cause });
    this.name = 'UnknownCommitError';
  }
}

/**
 * The connections to one database. Every failure that means "away" leaves as SuError `store-unavailable`, and is
 * logged once when it starts and once when it ends.
 */
export class DatabasePool implements Queryable {
  readonly #pool: pg.Pool;
  readonly #name: string;
  readonly #log: StoreLog;
  readonly #clock: Clock;
  #awaySince: number | undefined;
  readonly #planned = new PlannedStatements();

  constructor(options: PoolOptions) {
    this.#name = options.name;
    this.#log = options.log;
    this.#clock = options.clock;
    const config: AwaitingPoolConfig = {
      ...connectionOptions(options.url),
      max: options.connections,
      pipeline: options.isPipelined ?? false,
      query_timeout: ANSWER_TIMEOUT_MS,
      idleTimeoutMillis: 60_000,
      onConnect: prepareSession,
    };
    this.#pool = new pg.Pool(config);
    // An idle connection that the server closes is no failure of anything: the next use opens another.
    this.#pool.on('error', (error) => {
      this.#log.debug({
        event: 'database-connection-lost',
        database: this.#name,
        reason: describe(error),
      });
    });
    // A checked-out client has no listener of the pool's; its failure reaches the query that it runs.
    this.#pool.on('connect', (client) => client.on('error', ignoreConnectionError));
  }

  /**
   * Runs one statement on any connection, in its own transaction.
   * @throws SuError `store-unavailable`, `schema-damaged`; the driver's error for what is neither
   */
  async query<Row extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
  ): Promise<pg.QueryResult<Row>> {
    try {
      const result = await this.#pool.query<Row>(text, [...values]);
      this.#noteReachable();
      return result;
    } catch (error) {
      throw this.#noteFailure(error);
    }
  }

  /**
   * As `query`, for a statement that the server plans once for each connection; without a plan where a pooler lost it.
   * @throws as `query`
   */
  async queryPlanned<Row extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[],
  ): Promise<pg.QueryResult<Row>> {
    const name = this.#planned.nameOf(text);
    if (name === undefined) return this.query(text, values);
    try {
      const result = await this.#pool.query<Row>({ name, text, values: [...values] });
      this.#noteReachable();
      return result;
    } catch (error) {
      if (!isOutdatedPlan(error) && !isLostStatement(error)) throw this.#noteFailure(error);
      this.#noteLostPlan(error);
      return this.query(text, values);
    }
  }

  /**
   * Runs a COPY on any connection; `text` and `read` as `copyOut` has them.
   * @throws as `query`
   */
  async copy(text: string, read: (fields: CopyFields) => void): Promise<void> {
    const client = await this.#connect();
    let broken: Error | undefined;
    try {
      await copyOut(client, text, read);
      this.#noteReachable();
    } catch (error) {
      // After a failure it is not known how much of the answer is still to come.
      broken = error instanceof Error ? error : new Error(describe(error));
      throw this.#noteFailure(error);
    } finally {
      client.release(broken);
    }
  }

  /**
   * Runs `work` between BEGIN (read committed) and COMMIT on one connection, which does not leave it. Nothing is
   * written when `work` throws.
   * @throws UnknownCommitError when COMMIT got no answer; SuError `store-unavailable` when there was no connection;
   * else what `work` threw, the driver's errors as they are.
   */
  async transaction<Result>(work: (client: Transaction) => Promise<Result>): Promise<Result> {
    return this.lookAndWrite({ look: () => Promise.resolve(), write: work });
  }

  /**
   * As `transaction`, with one wait less: BEGIN and what `look` asks are answered together, before `write` begins.
   * @throws as `transaction`
   */
  async lookAndWrite<Looked, Result>(work: LookAndWrite<Looked, Result>): Promise<Result> {
    return this.#inTransaction(async (client) => {
      const { session, looked } = await this.#begin(client, (asking) => work.look(asking));
      const result = await work.write(session, looked);
      await commit(client);
      return result;
    });
  }

  /**
   * As `transaction`, with two waits less: what `work` asks and writes at once is answered together with BEGIN. It is
   * committed when `work` gives a result, and taken back when what was asked shows that it must not be.
   * @returns undefined when it was taken back
   * @throws as `transaction`
   */
  async transactionAtOnce<Result>(
    work: (client: Transaction) => Promise<Result | undefined>,
  ): Promise<Result | undefined> {
    return this.#inTransaction(async (client) => {
      const { looked } = await this.#begin(client, work);
      if (looked === undefined) await client.query('rollback');
      else await commit(client);
      return looked;
    });
  }

  /**
   * Runs `work` in a transaction that is always taken back: to learn whether the database would accept it.
   * @throws what `work` threw
   */
  async rehearse<Looked>(work: LookAndWrite<Looked, unknown>): Promise<void> {
    await this.#inTransaction(async (client) => {
      const { session, looked } = await this.#begin(client, (asking) => work.look(asking));
      await work.write(session, looked);
      await client.query('rollback');
    });
  }

  /** Waits for the queries that run and closes every connection. */
  async close(): Promise<void> {
    if (!this.#pool.ending) await this.#pool.end();
  }

  /** Whatever `work` leaves open is taken back, and a connection of which nothing is known any more given up. */
  async #inTransaction<Result>(work: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
    const client = await this.#connect();
    let broken: Error | undefined;
    try {
      const result = await work(client);
      this.#noteReachable();
      return result;
    } catch (error) {
      broken = await rollBack(client, error);
      this.#noteFailure(error instanceof UnknownCommitError ? error.cause : error);
      this.#noteLostPlan(error);
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async #connect(): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      throw this.#noteFailure(error);
    }
  }

  /** Whatever happens to one of the first statements, no other is under way any more when this ends. */
  async #begin<Looked>(
    client: pg.PoolClient,
    look: (client: Transaction) => Promise<Looked>,
  ): Promise<{ readonly session: Transaction; readonly looked: Looked }> {
    const session = sessionOf(client, this.#planned);
    sendTogether(client);
    const [begun, looked] = await Promise.allSettled([client.query(BEGIN), look(session)]);
    // What fails first is the reason why the statements behind it fail.
    if (begun.status === 'rejected') throw begun.reason;
    if (looked.status === 'rejected') throw looked.reason;
    return { session, looked: looked.value };
  }

  /** Whoever lost a transaction to it runs it again, from now on without names. */
  #noteLostPlan(error: unknown): void {
    if (!isLostStatement(error) || !this.#planned.giveUp()) return;
    this.#log.warn(
      { event: 'database-statement-lost', database: this.#name, reason: describe(error) },
      'a pooler mixes up the sessions: statements are planned anew each time',
    );
  }

  #noteFailure(error: unknown): unknown {
    if (classifyFailure(error) === 'away' && this.#awaySince === undefined) {
      this.#awaySince = this.#clock();
      this.#log.error(
        { event: 'database-away', database: this.#name, reason: describe(error) },
        'the database cannot be reached or does not answer: what needs it is refused meanwhile',
      );
    }
    return toStoreError(error);
  }

  #noteReachable(): void {
    if (this.#awaySince === undefined) return;
    const awayMs = this.#clock() - this.#awaySince;
    this.#awaySince = undefined;
    this.#log.info(
      { event: 'database-back', database: this.#name, awayMs },
      'the database is back',
    );
  }
}

function sessionOf(client: pg.PoolClient, statements: PlannedStatements): Transaction {
  const query = <Row extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
  ): Promise<pg.QueryResult<Row>> => client.query<Row>(text, [...values]);
  const planned = <Row extends pg.QueryResultRow>(
    text: string,
    values: readonly unknown[] = [],
  ): Promise<pg.QueryResult<Row>> => {
    const name = statements.nameOf(text);
    if (name === undefined) return query(text, values);
    return client.query<Row>({ name, text, values: [...values] });
  };
  return { query, planned: { query: planned } };
}

/** What is asked in one turn goes out as one write: each one wakes the server, on a core that may have other work. */
function sendTogether(client: pg.PoolClient): void {
  // The pool hands out whole clients, which its types do not say.
  const { stream } = (client as pg.PoolClient & Pick<pg.Client, 'connection'>).connection;
  stream.cork();
  process.nextTick(() => {
    stream.uncork();
  });
}

async function commit(client: pg.PoolClient): Promise<void> {
  let answer: unknown;
  try {
    // Two statements, hence two results, which the driver's types do not know.
    answer = await client.query(COMMIT);
  } catch (error) {
    throw new UnknownCommitError(error);
  }
  const last: unknown = Array.isArray(answer) ? answer.at(-1) : answer;
  const command = (last as pg.QueryResult | undefined)?.command;
  if (command !== 'COMMIT') {
    throw new SuError(
      'invariant',
      `a transaction ended with ${command ?? 'no answer'} in place of COMMIT`,
    );
  }
}

/** The error that makes the connection unusable, undefined when it can go back to the pool. */
async function rollBack(client: pg.PoolClient, error: unknown): Promise<Error | undefined> {
  const reason = error instanceof Error ? error : new Error(String(error));
  if (error instanceof UnknownCommitError || classifyFailure(error) === 'away') return reason;
  try {
    await client.query('rollback');
    return undefined;
  } catch {
    // The connection is gone, and with it the transaction; what made `work` fail is the better error.
    return reason;
  }
}
