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
  const { rows } = await client.query<ColumnRow>(
    `select table_name, column_name, data_type, is_nullable,
            (is_nullable = 'NO' and column_default is null and is_identity = 'NO' and is_generated = 'NEVER') as needs_value
       from information_schema.columns
      where table_schema = current_schema() and table_name = any($1)`,
    [Object.keys(EXPECTED)],
  );
  const damage = Object.entries(EXPECTED).flatMap(([table, columns]) =>
    compareTable(
      table,
      columns,
      rows.filter((row) => row.table_name === table),
    ),
  );
  const indexDamage = damage.length === 0 ? await findIndexDamage(client) : undefined;
  if (indexDamage !== undefined) damage.push(indexDamage);
  if (damage.length === 0) return;
  throw new SuError(
    'schema-damaged',
    `the database's schema is not as expected: ${damage.join('; ')}`,
    {
      details: { damage },
    },
  );
}

function compareTable(table: string, columns: Columns, found: readonly ColumnRow[]): string[] {
  if (found.length === 0) return [`table ${table} is missing`];
  const byName = new Map(found.map((row) => [row.column_name, row]));
  const damage = Object.entries(columns).flatMap(([name, expected]) => {
    const row = byName.get(name);
    if (row === undefined) return [`column ${table}.${name} is missing`];
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
