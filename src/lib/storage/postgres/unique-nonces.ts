import type pg from 'pg';
import { SuError } from '../../errors.js';
import { sqlState } from './database-errors.js';
import { readMigrationFile, type Migration } from './migration-files.js';
import type { Queryable, StoreLog } from './pool.js';

/** The folder whose indexes are built concurrently, outside a transaction. */
export const UNIQUE_NONCES_VERSION = '20261123000200';

/** Unique over all rows. */
const UNIQUE_INDEX = 'su_messages_position';
/** Unique over the rows that came after the duplicates. */
const PARTIAL_INDEX = 'su_messages_position_new';
/** Beside the partial one, for the order of reads. */
const PLAIN_INDEX = 'su_messages_position_all';

/** New duplicates can appear while the index is built, if a program without our guard writes meanwhile. */
const BUILD_ATTEMPTS = 5;
const DUPLICATES_LOGGED = 20;

/**
 * Makes (process_id, epoch, nonce) unique for every row to come. A table that already holds a nonce twice, as old bugs
 * left it, keeps those rows: then the rule covers only the rows after the last existing one, and the log says
 * which were found. Can be run again after it was interrupted at any point.
 *
 * @throws SuError `schema-damaged` when a row with a nonce that exists is added during each of several attempts;
 * the driver's errors
 */
export async function buildUniqueNonces(
  client: pg.Client,
  migration: Migration,
  log: StoreLog,
): Promise<void> {
  if (await stillToBuild(client, UNIQUE_INDEX)) {
    const partialExists = !(await stillToBuild(client, PARTIAL_INDEX));
    if (!partialExists && (await build(client, migration.sql))) return;
    await dropInvalid(client, UNIQUE_INDEX);
    await buildBesideDuplicates(client, { migration, log });
  }
}

/**
 * The statements that `buildUniqueNonces` would run on the rows as they are now.
 */
export async function planUniqueNonces(client: pg.Client, migration: Migration): Promise<string> {
  const { rows } = await client.query<{ exists: boolean }>(
    `select to_regclass('messages') is not null as exists`,
  );
  if (rows[0]?.exists !== true) return migration.sql;
  const { rows: repeated } = await client.query(
    'select from messages group by process_id, epoch, nonce having count(*) > 1 limit 1',
  );
  if (repeated.length === 0) return migration.sql;
  const sql = await readMigrationFile(migration, 'up-beside-duplicates.sql');
  return sql.replaceAll(/:last_row_id(?=;)/g, String(await readLastRowId(client)));
}

/**
 * What is wrong with the indexes that keep nonces unique, undefined when they are as they should be.
 */
export async function findIndexDamage(
  client: Pick<pg.Client, 'query'>,
): Promise<string | undefined> {
  const valid = await validIndexes(client);
  if (valid.has(UNIQUE_INDEX)) return undefined;
  if (valid.has(PARTIAL_INDEX) && valid.has(PLAIN_INDEX)) return undefined;
  return (
    `the index ${UNIQUE_INDEX} is missing or invalid, so that nothing keeps nonces unique: ` +
    `delete version ${UNIQUE_NONCES_VERSION} from __diesel_schema_migrations and migrate again`
  );
}

/**
 * Takes the rule away for rows that a copy brings, in the caller's transaction; the order of reads keeps its index. The
 * version is pending afterwards, so the next migration builds the rule again, for the rows to come.
 */
export async function admitRepeatedNonces(client: Queryable): Promise<void> {
  // At once, not by and by: a lock that grows while others write beside it ends in a deadlock.
  await client.query('lock table messages in access exclusive mode');
  await client.query(
    `create index if not exists ${PLAIN_INDEX} on messages (process_id, epoch, nonce)`,
  );
  await client.query(`drop index if exists ${UNIQUE_INDEX}`);
  await client.query(`drop index if exists ${PARTIAL_INDEX}`);
  await client.query('delete from __diesel_schema_migrations where version = $1', [
    UNIQUE_NONCES_VERSION,
  ]);
}

async function buildBesideDuplicates(
  client: pg.Client,
  { migration, log }: { readonly migration: Migration; readonly log: StoreLog },
): Promise<void> {
  await reportDuplicates(client, log);
  const statements = (await readMigrationFile(migration, 'up-beside-duplicates.sql')).split(
    /;\s*$/m,
  );
  for (let attempt = 1; attempt <= BUILD_ATTEMPTS; attempt += 1) {
    const lastRowId = await readLastRowId(client);
    const built = await buildAll(
      client,
      statements.map((statement) => statement.replaceAll(':last_row_id', String(lastRowId))),
    );
    if (built) return;
  }
  throw new SuError(
    'schema-damaged',
    'messages with a nonce that already exists keep being added: stop the other program that writes to this database',
  );
}

async function buildAll(client: pg.Client, statements: readonly string[]): Promise<boolean> {
  for (const statement of statements) {
    const name = /index concurrently (\w+)/.exec(statement)?.[1];
    if (name === undefined) continue;
    if ((await stillToBuild(client, name)) && !(await build(client, statement))) return false;
  }
  return true;
}

/** False when rows with the same nonce stand in the way; what the attempt left is then an invalid index. */
async function build(client: pg.Client, statement: string): Promise<boolean> {
  try {
    await client.query(statement);
    return true;
  } catch (error) {
    if (sqlState(error) === '23505') return false;
    throw error;
  }
}

/** Drops what an interrupted build has left under the name: such an index costs at every write and guards nothing. */
async function stillToBuild(client: pg.Client, index: string): Promise<boolean> {
  if ((await validIndexes(client)).has(index)) return false;
  await dropInvalid(client, index);
  return true;
}

async function dropInvalid(client: pg.Client, index: string): Promise<void> {
  await client.query(`drop index concurrently if exists ${index}`);
}

async function validIndexes(client: Pick<pg.Client, 'query'>): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname as name
       from pg_index i
       join pg_class c on c.oid = i.indexrelid
      where i.indrelid = to_regclass('messages') and i.indisvalid and i.indisready
        and (i.indisunique or c.relname = $1)`,
    [PLAIN_INDEX],
  );
  return new Set(rows.map((row) => row.name));
}

async function readLastRowId(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ last: number }>(
    'select coalesce(max(row_id), 0) as last from messages',
  );
  return rows[0]?.last ?? 0;
}

async function reportDuplicates(client: pg.Client, log: StoreLog): Promise<void> {
  const { rows } = await client.query<{
    process_id: string;
    epoch: number;
    nonce: number;
    rows: string;
    total: string;
  }>(
    `select process_id, epoch, nonce, count(*) as rows, count(*) over () as total
       from messages
      group by process_id, epoch, nonce
     having count(*) > 1
      order by process_id, epoch, nonce
      limit ${DUPLICATES_LOGGED}`,
  );
  log.warn(
    {
      event: 'duplicate-nonces-found',
      places: Number(rows[0]?.total ?? 0),
      first: rows.map((row) => ({ ...row, rows: Number(row.rows), total: undefined })),
    },
    'old messages with the same nonce: only new rows are kept unique',
  );
}
