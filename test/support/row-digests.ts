import type { TestDatabase } from './postgres.js';

/**
 * A digest of every row of the log's tables and of the router's, and where it lies: a row that was written again, even
 * with the same values, has another place and another transaction.
 *
 * @param columns which columns count, by table; all that the table has when it is left out
 */
export async function digestRows(
  database: TestDatabase,
  columns: ReadonlyMap<string, readonly string[]> = new Map(),
): Promise<ReadonlyMap<string, string>> {
  const digests = new Map<string, string>();
  for (const table of await readTables(database)) {
    const names = columns.get(table)?.map((name) => `t."${name}"`);
    const value = names === undefined ? 't.*' : names.join(', ');
    const rows = await database.query<{ key: string; digest: string }>(
      `select '${table}/' || ${table === '__diesel_schema_migrations' ? 'version' : 'row_id'} as key,
              md5(row(${value})::text) || ' ' || t.ctid || ' ' || t.xmin as digest
         from ${table} t`,
    );
    for (const { key, digest } of rows) digests.set(key, digest);
  }
  return digests;
}

/** The columns of each table as they are now: what to compare after a migration has added some. */
export async function readColumns(
  database: TestDatabase,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await database.query<{ table: string; columns: string[] }>(
    `select table_name as table, array_agg(column_name::text order by ordinal_position) as columns
       from information_schema.columns
      where table_schema = 'public'
      group by table_name`,
  );
  return new Map(rows.map(({ table, columns }) => [table, columns]));
}

/** What of `before` is no longer there or no longer the same. */
export function changedRows(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): readonly string[] {
  return [...before].filter(([key, digest]) => after.get(key) !== digest).map(([key]) => key);
}

const TABLES = [
  'processes',
  'messages',
  'schedulers',
  'process_schedulers',
  '__diesel_schema_migrations',
];

async function readTables(database: TestDatabase): Promise<readonly string[]> {
  const rows = await database.query<{ name: string }>(
    `select tablename as name from pg_tables where schemaname = 'public'`,
  );
  const existing = new Set(rows.map(({ name }) => name));
  return TABLES.filter((name) => existing.has(name));
}
