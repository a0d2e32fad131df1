import type pg from 'pg';
import { findAlteredColumns } from './schema-check.js';

/*
 * What each version leaves behind, to tell a database whose list of versions and whose tables do not agree: a dump that was
 * restored in part, a migration that somebody ran by hand, a column that somebody dropped or altered.
 */

interface Traces {
  readonly tables?: readonly string[];
  /** `table.column` */
  readonly columns?: readonly string[];
  readonly indexes?: readonly string[];
  readonly functions?: readonly string[];
  /** What the version took away. */
  readonly gone?: readonly string[];
}

const TRACES: Readonly<Record<string, Traces>> = {
  '00000000000000': { functions: ['diesel_manage_updated_at', 'diesel_set_updated_at'] },
  '20231213213153': { tables: ['processes', 'messages', 'schedulers', 'process_schedulers'] },
  '20240327163751': {
    columns: ['messages.assignment_id'],
    indexes: ['idx_assignments_assignment_id'],
    gone: ['messages_message_id_key'],
  },
  '20240529143054': {
    indexes: ['idx_messages_process_id_timestamp'],
    gone: ['idx_messages_process_id'],
  },
  '20240805190651': { columns: ['schedulers.no_route'] },
  '20240904145702': {
    columns: ['processes.epoch', 'processes.nonce', 'processes.hash_chain', 'processes.timestamp'],
  },
  '20241126200327': { columns: ['schedulers.wallets_to_route', 'schedulers.wallets_only'] },
  '20250318144400': { indexes: ['idx_messages_process_id_nonce'] },
  '20261123000100': { tables: ['su_outbox'] },
  '20261123000300': { tables: ['su_deep_hashes', 'su_deep_hash_coverage'] },
};

const LATER_COLUMNS: ReadonlySet<string> = new Set(
  Object.values(TRACES).flatMap(({ columns = [] }) => columns),
);

/** Without these only speed is lost. */
const KIND_OF_SPEED = 'index';

interface Trace {
  readonly kind: 'table' | 'column' | 'index' | 'function';
  readonly name: string;
}

/** What is wrong with a schema: faults keep the program from working, the rest costs speed. */
export interface SchemaFindings {
  readonly faults: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Compares the list of versions with the tables, and the columns that are there with what this program expects. Reads only.
 *
 * @param applied the versions that the database says it has
 */
export async function compareHistory(
  client: Pick<pg.Client, 'query'>,
  applied: ReadonlySet<string>,
): Promise<SchemaFindings> {
  const { present, invalid } = await readObjects(client);
  const faults: string[] = [];
  const warnings: string[] = [];
  for (const [version, traces] of Object.entries(TRACES)) {
    const isApplied = applied.has(version);
    for (const trace of tracesOf(traces)) {
      const isThere = present.has(keyOf(trace));
      if (isApplied && !isThere) {
        // The functions are called by nobody.
        if (trace.kind === 'function') continue;
        const sentence = `${trace.kind} ${trace.name} is missing, though version ${version} is recorded as applied`;
        (trace.kind === KIND_OF_SPEED ? warnings : faults).push(sentence);
      }
      if (!isApplied && isThere) {
        faults.push(
          `${trace.kind} ${trace.name} is there, though version ${version}, which makes it, is not recorded as applied`,
        );
      }
    }
    const left = isApplied
      ? (traces.gone ?? []).filter((name) => present.has(`index ${name}`))
      : [];
    for (const name of left) {
      const sentence = `${name} is there, though version ${version}, which drops it, is recorded as applied`;
      (name.endsWith('_key') ? faults : warnings).push(sentence);
    }
  }
  faults.push(...(await findAlteredColumns(client, LATER_COLUMNS)));
  for (const name of invalid) {
    warnings.push(
      `index ${name} is invalid, the rest of a build that was cut off: it costs time and is never used`,
    );
  }
  return { faults, warnings };
}

function tracesOf({ tables, columns, indexes, functions }: Traces): readonly Trace[] {
  const named = (kind: Trace['kind'], names: readonly string[] = []): readonly Trace[] =>
    names.map((name) => ({ kind, name }));
  return [
    ...named('table', tables),
    ...named('column', columns),
    ...named('index', indexes),
    ...named('function', functions),
  ];
}

function keyOf({ kind, name }: Trace): string {
  return `${kind} ${name}`;
}

async function readObjects(
  client: Pick<pg.Client, 'query'>,
): Promise<{ readonly present: ReadonlySet<string>; readonly invalid: readonly string[] }> {
  const { rows } = await client.query<{ kind: string; name: string; valid: boolean }>(
    `with here as (select oid from pg_namespace where nspname = current_schema())
     select 'table' as kind, c.relname::text as name, true as valid
       from pg_class c join here on here.oid = c.relnamespace
      where c.relkind in ('r', 'p')
     union all
     select 'column', c.relname || '.' || a.attname, true
       from pg_attribute a join pg_class c on c.oid = a.attrelid join here on here.oid = c.relnamespace
      where c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
     union all
     select 'index', c.relname, i.indisvalid
       from pg_index i join pg_class c on c.oid = i.indexrelid join here on here.oid = c.relnamespace
     union all
     select 'function', p.proname, true
       from pg_proc p join here on here.oid = p.pronamespace`,
  );
  return {
    present: new Set(rows.map(({ kind, name }) => `${kind} ${name}`)),
    invalid: rows.filter(({ valid }) => !valid).map(({ name }) => name),
  };
}
