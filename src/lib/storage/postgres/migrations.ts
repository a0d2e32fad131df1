import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { SuError } from '../../errors.js';
import { classifyFailure, describe, sqlState, toStoreError } from './database-errors.js';
import { readMigrations, type Migration } from './migration-files.js';
import { cancelOnAbort } from './cancel.js';
import { openLongConnection } from './connection.js';
import type { StoreLog } from './pool.js';
import { watchIndexBuilds } from './index-progress.js';
import { checkSchema, findDamage, refuseDamage } from './schema-check.js';
import { compareHistory, type SchemaFindings } from './schema-history.js';
import { UNIQUE_NONCES_VERSION, buildUniqueNonces, planUniqueNonces } from './unique-nonces.js';

export interface MigrateOptions {
  readonly url: string;
  readonly log: StoreLog;
  /** Ends it: the wait for another program that migrates the same database, and a statement under way, which is undone. */
  readonly signal?: AbortSignal;
}

/** A version and what the database knows of it. */
export interface MigrationState {
  readonly version: string;
  /** The folder's name; undefined for a version that only the database knows. */
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
  /** When, as the database wrote it down, to the second; undefined when it is pending. */
  readonly appliedAt: string | undefined;
}

/** A version that is pending and what applying it would run. */
export interface PlannedMigration {
  readonly version: string;
  readonly name: string;
  readonly sql: string;
}

/** Any number that no other program is likely to lock; "su" and "mi" in ASCII. */
const LOCK_KEY = '1937075561';
const LOCK_POLL_MS = 250;
/** A table lock that is not granted makes everybody else wait behind it: better to fail and come again. */
const LOCK_TIMEOUT_MS = 10_000;

/**
 * Brings the database to the newest schema and checks it. Two programs may do so at once: one works, the other asks
 * again and again. A blocking wait for the lock would hold a snapshot, and a concurrent index build waits for
 * every snapshot to end.
 *
 * @returns the versions that were applied now
 * @throws SuError `store-unavailable`, `schema-damaged`, `interrupted`
 */
export async function migrate(options: MigrateOptions): Promise<readonly string[]> {
  const migrations = await readMigrations();
  return withConnection(options.url, async (client) => {
    if ((await findPending(client, migrations)).length === 0) {
      await checkSchema(client);
      return [];
    }
    await acquireLock(client, options);
    // Read again: what was pending may have been applied while the lock was somebody else's.
    const applied = await readApplied(client);
    const pending = migrations.filter(({ version }) => !applied.has(version));
    // Only under the lock: while another program migrates, tables and versions are read at different moments.
    await refuseAltered(client, applied, options.log);
    await applyAll(client, pending, options);
    await checkSchema(client);
    return pending.map((migration) => migration.version);
  });
}

/** Nothing is patched over: tables that do not fit their versions are named, and left to the operator. */
async function refuseAltered(
  client: pg.Client,
  applied: ReadonlyMap<string, string>,
  log: StoreLog,
): Promise<void> {
  const { faults, warnings } = await compareHistory(client, new Set(applied.keys()));
  refuseDamage(faults);
  for (const warning of warnings) log.warn({ event: 'schema-differs', warning }, warning);
}

async function applyAll(
  client: pg.Client,
  pending: readonly Migration[],
  { url, log, signal }: MigrateOptions,
): Promise<void> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
  const pid = rows[0]?.pid ?? 0;
  const stopWatching = watchIndexBuilds(url, pid, log);
  const stopCancelling = signal && cancelOnAbort(signal, { url, pid });
  try {
    for (const migration of pending) {
      signal?.throwIfAborted();
      await apply(client, migration, log);
    }
  } catch (error) {
    throw signal?.aborted === true ? interrupted(error) : error;
  } finally {
    await stopCancelling?.();
    await stopWatching();
  }
}

/**
 * Which versions the database has, in order. Changes nothing.
 * @throws SuError `store-unavailable`
 */
export async function migrationStatus(url: string): Promise<readonly MigrationState[]> {
  const migrations = await readMigrations();
  const applied = await withConnection(url, readApplied);
  const known = migrations.map(({ version, name }): MigrationState => ({
    version,
    name,
    state: applied.has(version) ? 'applied' : 'pending',
    appliedAt: applied.get(version),
  }));
  const versions = new Set(migrations.map((migration) => migration.version));
  const unknown = [...applied]
    .filter(([version]) => !versions.has(version))
    .map(([version, appliedAt]): MigrationState => ({
      version,
      name: undefined,
      state: 'unknown',
      appliedAt,
    }));
  return [...known, ...unknown].toSorted((a, b) => (a.version < b.version ? -1 : 1));
}

/**
 * What is wrong with the schema: tables that do not fit the recorded versions, or, when all versions are applied, that do
 * not fit this program. Changes nothing.
 * @throws SuError `store-unavailable`
 */
export async function inspectSchema(url: string): Promise<SchemaFindings> {
  const migrations = await readMigrations();
  return withConnection(url, async (client) => {
    const applied = await readApplied(client);
    const history = await compareHistory(client, new Set(applied.keys()));
    const isCurrent = migrations.every(({ version }) => applied.has(version));
    if (!isCurrent || history.faults.length > 0) return history;
    return { ...history, faults: await findDamage(client) };
  });
}

/**
 * What `migrate` would run now, oldest first. Changes nothing.
 * @throws SuError `store-unavailable`
 */
export async function planMigrations(url: string): Promise<readonly PlannedMigration[]> {
  const migrations = await readMigrations();
  return withConnection(url, async (client) => {
    const planned: PlannedMigration[] = [];
    for (const migration of await findPending(client, migrations)) {
      const { version, name, sql } = migration;
      const isUnique = version === UNIQUE_NONCES_VERSION;
      planned.push({
        version,
        name,
        sql: isUnique ? await planUniqueNonces(client, migration) : sql,
      });
    }
    return planned;
  });
}

/** The lock of a migration belongs to the session of its connection and ends with it. */
async function withConnection<Result>(
  url: string,
  work: (client: pg.Client) => Promise<Result>,
): Promise<Result> {
  let client: pg.Client | undefined;
  try {
    client = await openLongConnection(url);
    return await work(client);
  } catch (error) {
    throw toOperatorsError(error);
  } finally {
    // What the work brought counts; a connection that cannot be closed properly is gone anyway.
    await client?.end().catch(() => undefined);
  }
}

async function findPending(
  client: pg.Client,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const applied = await readApplied(client);
  return migrations.filter((migration) => !applied.has(migration.version));
}

/** Applied versions, and when, by the clock and in the time zone of whoever applied them. */
async function readApplied(client: pg.Client): Promise<ReadonlyMap<string, string>> {
  const { rows: tables } = await client.query<{ exists: boolean }>(
    `select to_regclass('__diesel_schema_migrations') is not null as exists`,
  );
  if (tables[0]?.exists !== true) return new Map();
  const { rows } = await client.query<{ version: string; applied_at: string }>(
    `select version, to_char(run_on, 'YYYY-MM-DD"T"HH24:MI:SS') as applied_at
       from __diesel_schema_migrations`,
  );
  return new Map(rows.map((row) => [row.version, row.applied_at]));
}

async function acquireLock(client: pg.Client, { log, signal }: MigrateOptions): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const { rows } = await client.query<{ locked: boolean }>(
      `select pg_try_advisory_lock(${LOCK_KEY}) as locked`,
    );
    if (rows[0]?.locked === true) return;
    if (attempt === 1)
      log.info(
        { event: 'migration-waits-for-another' },
        'another program is migrating this database: waiting',
      );
    try {
      await sleep(LOCK_POLL_MS, undefined, signal === undefined ? {} : { signal });
    } catch {
      throw new SuError('interrupted', 'stopped while another program was migrating the database');
    }
  }
}

async function apply(client: pg.Client, migration: Migration, log: StoreLog): Promise<void> {
  try {
    if (migration.version === UNIQUE_NONCES_VERSION) {
      await buildUniqueNonces(client, migration, log);
      await recordVersion(client, migration);
    } else {
      await applyInTransaction(client, migration);
    }
  } catch (error) {
    throw migrationError(migration, error);
  }
  log.info({ event: 'migration-applied', version: migration.version, migration: migration.name });
}

async function applyInTransaction(client: pg.Client, migration: Migration): Promise<void> {
  try {
    await client.query(`begin; set local lock_timeout = ${LOCK_TIMEOUT_MS}`);
    await client.query(
      `create table if not exists __diesel_schema_migrations (
         version varchar(50) primary key not null,
         run_on timestamp not null default current_timestamp
       )`,
    );
    await client.query(migration.sql);
    await recordVersion(client, migration);
    await client.query('commit');
  } catch (error) {
    // When the connection is gone the transaction is too, and the first error is the one to report.
    await client.query('rollback').catch(() => undefined);
    throw error;
  }
}

async function recordVersion(client: pg.Client, migration: Migration): Promise<void> {
  await client.query(
    'insert into __diesel_schema_migrations (version) values ($1) on conflict do nothing',
    [migration.version],
  );
}

function interrupted(cause: unknown): SuError {
  const sentence =
    'stopped while the database was migrated: what was begun is done at the next start';
  return new SuError('interrupted', sentence, { cause });
}

/** Unlike a client of the scheduler, the operator who migrates is told what the driver says. */
function toOperatorsError(error: unknown): unknown {
  const known = toStoreError(error);
  if (!(known instanceof SuError) || known === error) return known;
  const { code, details } = known;
  return new SuError(code, `the database cannot be used: ${describe(error)}`, {
    cause: error,
    details,
  });
}

/** A migration that the server rejects has met tables that are not as its version left them. */
function migrationError(migration: Migration, error: unknown): unknown {
  const kind = classifyFailure(error);
  if (sqlState(error) === undefined || kind === 'away' || kind === 'again') return error;
  return new SuError(
    'schema-damaged',
    `migration ${migration.version} does not fit the tables that are there: ${describe(error)}`,
    { cause: error, details: { version: migration.version, sqlState: sqlState(error) } },
  );
}
