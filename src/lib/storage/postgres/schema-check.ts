import type pg from 'pg';
import { SuError } from '../../errors.js';
import { findIndexDamage } from './unique-nonces.js';

/** `type`, with ` not null` where the column must be. */
type Columns = Readonly<Record<string, string>>;

/** What the program reads and writes. Further columns do no harm as long as they need no value. */
const EXPECTED: Readonly<Record<string, Columns>> = {
  processes: {
    row_id: 'integer not null',
    process_id: 'character varying not null',
    process_data: 'jsonb not null',
    bundle: 'bytea not null',
    epoch: 'integer',
    nonce: 'integer',
    hash_chain: 'text',
    timestamp: 'bigint',
  },
  messages: {
    row_id: 'integer not null',
    process_id: 'character varying not null',
    message_id: 'character varying not null',
    message_data: 'jsonb not null',
    epoch: 'integer not null',
    nonce: 'integer not null',
    timestamp: 'bigint not null',
    bundle: 'bytea not null',
    hash_chain: 'text not null',
    assignment_id: 'character varying',
  },
  schedulers: {
    row_id: 'integer not null',
    url: 'character varying not null',
    process_count: 'integer not null',
    no_route: 'boolean',
    wallets_to_route: 'text',
    wallets_only: 'boolean',
  },
  process_schedulers: {
    row_id: 'integer not null',
    process_id: 'character varying not null',
    scheduler_row_id: 'integer not null',
  },
  su_outbox: {
    row_id: 'bigint not null',
    process_id: 'character varying not null',
    message_id: 'character varying not null',
    assignment_id: 'character varying',
    parts: 'smallint not null',
    attempts: 'integer not null',
    due_at: 'timestamp with time zone not null',
    queued_at: 'timestamp with time zone not null',
    parked_at: 'timestamp with time zone',
    reason: 'text',
  },
  su_deep_hashes: {
    process_id: 'character varying not null',
    version: 'text not null',
    hash: 'bytea not null',
    message_id: 'character varying not null',
    epoch: 'integer not null',
    nonce: 'integer not null',
  },
  su_deep_hash_coverage: {
    process_id: 'character varying not null',
    version: 'text not null',
    epoch: 'integer',
    nonce: 'integer',
  },
};

interface ColumnRow {
  readonly table_name: string;
  readonly column_name: string;
  readonly data_type: string;
  readonly is_nullable: 'YES' | 'NO';
  readonly needs_value: boolean;
}

/**
 * Compares the migrated database with what this program reads and writes: a schema that was altered by hand is found
 * here and not by the first message.
 *
 * @throws SuError `schema-damaged` naming every difference
 */
export async function checkSchema(client: Pick<pg.Client, 'query'>): Promise<void> {
  refuseDamage(await findDamage(client));
}

/** @throws SuError `schema-damaged` naming every difference, when there are any */
export function refuseDamage(damage: readonly string[]): void {
  if (damage.length === 0) return;
  throw new SuError(
    'schema-damaged',
    `the database's schema is not as expected: ${damage.join('; ')}`,
    { details: { damage } },
  );
}

/** Every difference between the migrated database and what this program reads and writes. */
export async function findDamage(client: Pick<pg.Client, 'query'>): Promise<readonly string[]> {
  const tables = await readTables(client);
  const damage = Object.entries(EXPECTED).flatMap(([table, columns]) => {
    const found = tables.get(table);
    return found === undefined ? [`table ${table} is missing`] : compareTable(columns, found);
  });
  if (damage.length > 0) return damage;
  const keys = await findMissingKeys(client);
  const indexDamage = await findIndexDamage(client);
  return indexDamage === undefined ? keys : [...keys, indexDamage];
}

/**
 * What of a database at any version was altered: no version changes a column that an earlier one has made.
 *
 * @param later columns, as `table.column`, that a version adds to a table, and which may not be there yet
 */
export async function findAlteredColumns(
  client: Pick<pg.Client, 'query'>,
  later: ReadonlySet<string>,
): Promise<readonly string[]> {
  const tables = await readTables(client);
  return Object.entries(EXPECTED).flatMap(([table, columns]) => {
    const found = tables.get(table);
    return found === undefined ? [] : compareTable(columns, found, later);
  });
}

/** The columns of the tables that are there. */
async function readTables(
  client: Pick<pg.Client, 'query'>,
): Promise<ReadonlyMap<string, readonly ColumnRow[]>> {
  const { rows } = await client.query<ColumnRow>(
    `select table_name, column_name, data_type, is_nullable,
            (is_nullable = 'NO' and column_default is null and is_identity = 'NO' and is_generated = 'NEVER') as needs_value
       from information_schema.columns
      where table_schema = current_schema() and table_name = any($1)`,
    [Object.keys(EXPECTED)],
  );
  const names = new Set(rows.map((row) => row.table_name));
  return new Map(
    [...names].map((name) => [name, rows.filter(({ table_name }) => table_name === name)]),
  );
}

/** Columns whose values the program takes to be unique: an insert that must not repeat one relies on it. */
const UNIQUE_COLUMNS = [
  'processes.process_id',
  'messages.assignment_id',
  'schedulers.url',
  'process_schedulers.process_id',
] as const;

async function findMissingKeys(client: Pick<pg.Client, 'query'>): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname || '.' || a.attname as name
       from pg_index i
       join pg_class c on c.oid = i.indrelid
       join pg_namespace n on n.oid = c.relnamespace
       join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
      where n.nspname = current_schema() and i.indisunique and i.indisvalid
        and i.indnkeyatts = 1 and i.indpred is null`,
  );
  const unique = new Set(rows.map(({ name }) => name));
  return UNIQUE_COLUMNS.filter((name) => !unique.has(name)).map(
    (name) => `column ${name} has lost its unique key`,
  );
}

function compareTable(
  columns: Columns,
  found: readonly ColumnRow[],
  mayLack: ReadonlySet<string> = new Set(),
): readonly string[] {
  const table = found[0]?.table_name ?? '';
  const byName = new Map(found.map((row) => [row.column_name, row]));
  const damage = Object.entries(columns).flatMap(([name, expected]) => {
    const row = byName.get(name);
    if (row === undefined) {
      const isMissing = !mayLack.has(`${table}.${name}`);
      return isMissing ? [`column ${table}.${name} is missing`] : [];
    }
    const actual = row.is_nullable === 'NO' ? `${row.data_type} not null` : row.data_type;
    return actual === expected
      ? []
      : [`column ${table}.${name} is ${actual}, expected ${expected}`];
  });
  const unknown = found.filter((row) => columns[row.column_name] === undefined && row.needs_value);
  return [
    ...damage,
    ...unknown.map((row) => `column ${table}.${row.column_name} is unknown and needs a value`),
  ];
}
