import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import pg from 'pg';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { emptyDatabase, silentLog, type TestDatabase } from '../support/postgres.js';
import { changedRows, digestRows, readColumns } from '../support/row-digests.js';
import { waitFor } from '../support/su-process.js';

const ENTRY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));
const FOLDER = new URL('../vectors/databases/', import.meta.url);
const NAMES = readdirSync(FOLDER)
  .filter((name) => name.endsWith('.sql'))
  .map((name) => name.slice(0, -'.sql'.length));

interface Child {
  output(): string;
  kill(): void;
  readonly exited: Promise<number | string>;
}

/** `su db:migrate` as a program of its own. */
function startMigration(database: TestDatabase): Child {
  const child = spawn(process.execPath, [ENTRY, 'db:migrate'], {
    env: { PATH: process.env['PATH'], DATABASE_URL: database.url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  return {
    output: () => output,
    kill: () => void child.kill('SIGKILL'),
    exited: once(child, 'exit').then(
      ([code, signal]: (number | string | null)[]) => code ?? signal ?? '',
    ),
  };
}

const FILL = `
  insert into processes (process_id, process_data, bundle)
  select 'p' || n, '{}', 'b' from generate_series(1, 20) n;
  insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain)
  select 'p' || (n % 20 + 1), 'm' || n, '{"a": 1}', 0, n / 20, n, 'bundle', 'chain' from generate_series(1, 4000) n`;

describe('a migration in a program of its own', function () {
  this.timeout(120_000);
  const opened: TestDatabase[] = [];
  const open = async (name: string | undefined): Promise<TestDatabase> => {
    const database = await emptyDatabase(
      name === undefined ? undefined : readFileSync(new URL(`${name}.sql`, FOLDER), 'utf8'),
    );
    opened.push(database);
    return database;
  };
  let expected: unknown;
  before(async () => {
    const fresh = await open(undefined);
    await migrate({ url: fresh.url, log: silentLog });
    expected = await schemaOf(fresh);
    await fresh.drop();
  });
  afterEach(async () => {
    for (const database of opened.splice(0)) await database.drop();
  });

  for (const name of [undefined, ...NAMES]) {
    it(`is done by one of two that start at once, and the other finds it done: ${name ?? 'empty'}`, async () => {
      const database = await open(name);
      const columns = await readColumns(database);
      const before = await digestRows(database, columns);
      const children = [startMigration(database), startMigration(database)];
      for (const child of children) expect(await child.exited, child.output()).to.equal(0);
      expect(await schemaOf(database)).to.deep.equal(expected);
      expect(changedRows(before, await digestRows(database, columns))).to.deep.equal([]);
    });
  }

  it('killed after each of its steps leaves what the next start completes', async () => {
    for (let step = 1; step <= 8; step += 1) {
      const database = await open('stage-20231213213153');
      await database.query(FILL);
      const columns = await readColumns(database);
      const before = await digestRows(database, columns);
      const child = startMigration(database);
      await waitFor(
        () => child.output().split('migration-applied').length > step || undefined,
        () => `it never came to step ${step}:\n${child.output()}`,
      );
      child.kill();
      await child.exited;
      await migrate({ url: database.url, log: silentLog });
      expect(await schemaOf(database), `step ${step}`).to.deep.equal(expected);
      expect(changedRows(before, await digestRows(database, columns))).to.deep.equal([]);
    }
  });

  for (const [what, stage, statement] of [
    ['a table is being altered', 'stage-20240529143054', 'alter table'],
    ['the unique index is being built', 'stage-20250318144400', 'create unique index concurrently'],
  ] as const) {
    it(`killed while ${what} leaves what another, which waits, completes`, async () => {
      const database = await open(stage);
      await database.query(FILL);
      const columns = await readColumns(database);
      const before = await digestRows(database, columns);
      const blocker = new pg.Client({ connectionString: database.url });
      await blocker.connect();
      try {
        // An open transaction that has read the tables: neither statement can end before it.
        await blocker.query(
          'begin isolation level repeatable read; select from schedulers; select from processes; select from messages limit 1',
        );
        const first = startMigration(database);
        await waitFor(
          async () => ((await isRunning(database, statement)) ? true : undefined),
          () => `it never came to ${statement}:\n${first.output()}`,
        );
        const second = startMigration(database);
        await waitFor(
          () => second.output().includes('migration-waits-for-another') || undefined,
          () => `the second did not wait:\n${second.output()}`,
        );
        first.kill();
        await first.exited;
        await blocker.query('commit');
        expect(await second.exited, second.output()).to.equal(0);
      } finally {
        await blocker.end();
      }
      expect(await schemaOf(database)).to.deep.equal(expected);
      expect(changedRows(before, await digestRows(database, columns))).to.deep.equal([]);
    });
  }

  it('tells how far a long index build has come', async () => {
    const database = await open('stage-20250318144400');
    await database.query(FILL);
    const blocker = new pg.Client({ connectionString: database.url });
    await blocker.connect();
    try {
      await blocker.query('begin isolation level repeatable read; select from messages limit 1');
      const child = startMigration(database);
      await waitFor(
        () => child.output().includes('index-build') || undefined,
        () => `nothing was told:\n${child.output()}`,
      );
      await blocker.query('commit');
      expect(await child.exited, child.output()).to.equal(0);
      expect(child.output()).to.match(/index-build.*su_messages_position/s);
    } finally {
      await blocker.end();
    }
  });
});

async function isRunning(database: TestDatabase, statement: string): Promise<boolean> {
  const rows = await database.query(
    `select from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()
        and state = 'active' and query ilike $1`,
    [`%${statement}%`],
  );
  return rows.length > 0;
}

/** All that makes up the schema but the time of migrations. */
async function schemaOf(database: TestDatabase): Promise<unknown> {
  return {
    columns: await database.query(
      `select table_name, column_name, data_type, is_nullable, column_default
         from information_schema.columns where table_schema = 'public' order by table_name, column_name`,
    ),
    indexes: await database.query(
      `select indexname, indexdef, (select indisvalid from pg_index where indexrelid = to_regclass(indexname::text)) as valid
         from pg_indexes where schemaname = 'public' order by indexname`,
    ),
    versions: await database.query(
      'select version from __diesel_schema_migrations order by version',
    ),
  };
}
