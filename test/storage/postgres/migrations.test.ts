import { readFileSync, readdirSync } from 'node:fs';
import { expect } from 'chai';
import pg from 'pg';
import { isSuError } from '../../../src/lib/errors.js';
import {
  inspectSchema,
  migrate,
  migrationStatus,
  planMigrations,
} from '../../../src/lib/storage/postgres/migrations.js';
import { changedRows, digestRows, readColumns } from '../../support/row-digests.js';
import {
  emptyDatabase,
  silentLog,
  type TestDatabase,
  untilLockIsAwaited,
} from '../../support/postgres.js';

const FOLDER = new URL('../../vectors/databases/', import.meta.url);
const STAGES = readdirSync(FOLDER)
  .filter((name) => name.startsWith('stage-'))
  .map((name) => name.slice('stage-'.length, -'.sql'.length))
  .toSorted();
const OURS = ['20261123000100', '20261123000200', '20261123000300'];

const dumpOf = (name: string): string => readFileSync(new URL(`${name}.sql`, FOLDER), 'utf8');

/** All that makes up the schema but the time of migrations. */
async function schemaOf(database: TestDatabase): Promise<unknown> {
  return {
    columns: await database.query(
      `select table_name, column_name, data_type, character_maximum_length, column_default, is_nullable
         from information_schema.columns where table_schema = 'public'
        order by table_name, column_name`,
    ),
    indexes: await database.query(
      `select indexname, indexdef from pg_indexes where schemaname = 'public' order by indexname`,
    ),
    constraints: await database.query(
      `select conname, pg_get_constraintdef(oid) from pg_constraint
        where connamespace = 'public'::regnamespace and contype <> 'n' order by conname`,
    ),
    functions: await database.query(
      `select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace order by proname`,
    ),
    versions: await database.query(
      'select version from __diesel_schema_migrations order by version',
    ),
  };
}

const MESSAGE = `insert into messages
  (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain) values`;
const PROCESS = `insert into processes (process_id, process_data, bundle) values ('p', '{}', '')`;

describe('migrating a PostgreSQL database', function () {
  this.timeout(30_000);
  const opened: TestDatabase[] = [];
  const open = async (dump?: string): Promise<TestDatabase> => {
    const database = await emptyDatabase(dump);
    opened.push(database);
    return database;
  };
  afterEach(async () => {
    for (const database of opened.splice(0)) await database.drop();
  });

  it('gives an empty database the eight versions of the field and then ours', async () => {
    const database = await open();
    expect(await migrate({ url: database.url, log: silentLog })).to.deep.equal([
      ...STAGES,
      ...OURS,
    ]);
    expect(await migrate({ url: database.url, log: silentLog })).to.deep.equal([]);
  });

  it('ends with the same schema from every stage as from an empty database', async () => {
    const fresh = await open();
    await migrate({ url: fresh.url, log: silentLog });
    const expected = await schemaOf(fresh);
    for (const [index, stage] of STAGES.entries()) {
      const database = await open(dumpOf(`stage-${stage}`));
      const applied = await migrate({ url: database.url, log: silentLog });
      expect(applied, stage).to.deep.equal([...STAGES.slice(index + 1), ...OURS]);
      expect(await schemaOf(database), stage).to.deep.equal(expected);
    }
  });

  it('says which versions are applied, pending or not known, and changes nothing', async () => {
    const database = await open(dumpOf('stage-20240529143054'));
    await database.query(
      `insert into __diesel_schema_migrations (version) values ('20991231000000')`,
    );
    const status = await migrationStatus(database.url);
    expect(status.map(({ version, state }) => `${version} ${state}`)).to.deep.equal([
      ...STAGES.slice(0, 4).map((version) => `${version} applied`),
      ...STAGES.slice(4).map((version) => `${version} pending`),
      ...OURS.map((version) => `${version} pending`),
      '20991231000000 unknown',
    ]);
    expect(await migrationStatus((await open()).url)).to.have.lengthOf(STAGES.length + OURS.length);
  });

  it('says when each version was applied, as the database wrote it down', async () => {
    const database = await open(dumpOf('with-process-assignment'));
    const [first, second] = await migrationStatus(database.url);
    expect(first).to.deep.include({ state: 'applied', appliedAt: '2026-11-23T02:39:53' });
    expect(second).to.have.property('appliedAt', '2026-11-23T02:39:53');
    expect((await migrationStatus(database.url)).at(-1)).to.have.property('appliedAt', undefined);
  });

  it('can show the SQL that would be run, and runs none of it', async () => {
    const database = await open(dumpOf('stage-20240904145702'));
    const before = await schemaOf(database);
    const plan = await planMigrations(database.url);
    expect(plan.map(({ version }) => version)).to.deep.equal([...STAGES.slice(6), ...OURS]);
    expect(plan.map(({ sql }) => sql).join('\n'))
      .to.include('add column wallets_to_route text')
      .and.include('create unique index concurrently su_messages_position on messages');
    await database.query(
      `${PROCESS}; ${MESSAGE} ('p', 'a', '{}', 0, 1, 1, '', ''), ('p', 'b', '{}', 0, 1, 2, '', '')`,
    );
    const beside = (await planMigrations(database.url)).find(({ version }) => version === OURS[1]);
    expect(beside?.sql).to.include('where row_id > 2;');
    expect(await schemaOf(database)).to.deep.equal(before);
    await migrate({ url: database.url, log: silentLog });
    expect(await planMigrations(database.url)).to.deep.equal([]);
  });

  for (const [what, stage, alteration, named] of [
    [
      'a version is recorded and its column missing',
      '20241126200327',
      'alter table processes drop column hash_chain',
      'column processes.hash_chain is missing, though version 20240904145702 is recorded',
    ],
    [
      'a column is there and its version not recorded',
      '20240805190651',
      'alter table schedulers add column wallets_only boolean',
      'column schedulers.wallets_only is there, though version 20241126200327, which makes it, is not',
    ],
    [
      'the tables are there and no version is recorded',
      '20250318144400',
      'drop table __diesel_schema_migrations',
      'table messages is there, though version 20231213213153, which makes it, is not recorded',
    ],
    [
      'message ids are still unique',
      '20250318144400',
      'alter table messages add constraint messages_message_id_key unique (message_id)',
      'messages_message_id_key is there, though version 20240327163751, which drops it',
    ],
    [
      'a column has another type',
      '20250318144400',
      'alter table messages alter column nonce type bigint',
      'column messages.nonce is bigint not null, expected integer not null',
    ],
    [
      'a column that is not ours needs a value',
      '20231213213153',
      'alter table messages add column mine integer not null',
      'column messages.mine is unknown and needs a value',
    ],
    [
      'a column is missing that came with its table',
      '20231213213153',
      'alter table messages drop column hash_chain',
      'column messages.hash_chain is missing',
    ],
  ] as const) {
    it(`names it and changes nothing when ${what}`, async () => {
      const database = await open(dumpOf(`stage-${stage}`));
      await database.query(alteration);
      const versions = (await migrationStatus(database.url)).map(({ state }) => state);
      expect((await inspectSchema(database.url)).faults.join('; ')).to.include(named);
      const failure: unknown = await migrate({ url: database.url, log: silentLog }).catch(
        (error: unknown) => error,
      );
      expect(isSuError(failure, 'schema-damaged'), String(failure)).to.equal(true);
      expect(failure).to.have.property('message').that.includes(named);
      expect((await migrationStatus(database.url)).map(({ state }) => state)).to.deep.equal(
        versions,
      );
    });
  }

  it('warns of an index that is missing or invalid, which costs speed alone, and goes on', async () => {
    const database = await open(dumpOf('stage-20250318144400'));
    await database.query(
      `${PROCESS}; ${MESSAGE} ('p', 'a', '{}', 0, 1, 1, '', ''), ('p', 'b', '{}', 0, 1, 2, '', '');
       drop index idx_messages_process_id_timestamp`,
    );
    await database
      .query('create unique index concurrently left_over on messages (process_id, nonce)')
      .catch(() => undefined);
    const warnings: object[] = [];
    const log = { ...silentLog, warn: (fields: object) => void warnings.push(fields) };
    await migrate({ url: database.url, log });
    expect(JSON.stringify(warnings))
      .to.include('idx_messages_process_id_timestamp is missing')
      .and.include('index left_over is invalid');
    const { faults, warnings: told } = await inspectSchema(database.url);
    expect(faults).to.deep.equal([]);
    expect(told).to.have.lengthOf(2);
  });

  it('changes no row of any stage, with rows in every table', async () => {
    for (const stage of STAGES.slice(1)) {
      const database = await open(dumpOf(`stage-${stage}`));
      await database.query(`${PROCESS}; ${MESSAGE} ('p', 'a', '{"x": 1}', 0, 1, 1, 'b', 'c');
        insert into schedulers (url, process_count) values ('http://su', 1);
        insert into process_schedulers (process_id, scheduler_row_id) values ('p', 1)`);
      const columns = await readColumns(database);
      const before = await digestRows(database, columns);
      expect(before.size).to.be.greaterThan(5);
      await migrate({ url: database.url, log: silentLog });
      expect(changedRows(before, await digestRows(database, columns)), stage).to.deep.equal([]);
    }
  });

  it('is done once when several programs start at the same moment', async () => {
    const database = await open(dumpOf('stage-20231213213153'));
    const applied = await Promise.all(
      [1, 2, 3].map(() => migrate({ url: database.url, log: silentLog })),
    );
    expect(applied.flat().toSorted()).to.deep.equal([...STAGES.slice(2), ...OURS]);
  });

  it('can be told to stop waiting for another program that migrates', async () => {
    const database = await open();
    const stop = new AbortController();
    const log = { ...silentLog, info: () => stop.abort() };
    const holder = holdLock(database);
    await holder.held;
    const failure: unknown = await migrate({ url: database.url, log, signal: stop.signal }).catch(
      (error: unknown) => error,
    );
    await holder.release();
    expect(isSuError(failure, 'interrupted')).to.equal(true);
  });

  it('can be stopped while a statement waits for a table that another program holds', async () => {
    const database = await open(dumpOf('stage-20240805190651'));
    const stop = new AbortController();
    const holder = holdTable(database);
    await holder.held;
    const startedAt = performance.now();
    const failing = migrate({ url: database.url, log: silentLog, signal: stop.signal }).catch(
      (error: unknown) => error,
    );
    await untilLockIsAwaited(database);
    stop.abort();
    const failure: unknown = await failing;
    expect(performance.now() - startedAt, 'lock_timeout did not end it').to.be.below(8_000);
    await holder.release();
    expect(isSuError(failure, 'interrupted'), String(failure)).to.equal(true);
    expect(await migrate({ url: database.url, log: silentLog })).to.include('20240904145702');
  });

  it('keeps rows that repeat a nonce, says which, and makes only later rows unique', async () => {
    const database = await open(dumpOf('stage-20250318144400'));
    await database.query(`${PROCESS}; ${MESSAGE}
      ('p', 'a', '{}', 0, 1, 1, '', ''), ('p', 'b', '{}', 0, 1, 2, '', ''), ('p', 'c', '{}', 0, 2, 3, '', '')`);
    const warnings: object[] = [];
    const log = { ...silentLog, warn: (fields: object) => void warnings.push(fields) };
    await migrate({ url: database.url, log });
    expect(warnings).to.have.lengthOf(1);
    expect(warnings[0]).to.deep.include({ event: 'duplicate-nonces-found', places: 1 });
    expect(JSON.stringify(warnings[0])).to.include(
      '{"process_id":"p","epoch":0,"nonce":1,"rows":2}',
    );
    await database.query(`${MESSAGE} ('p', 'd', '{}', 0, 3, 4, '', '')`);
    const repeated: unknown = await database
      .query(`${MESSAGE} ('p', 'e', '{}', 0, 3, 5, '', '')`)
      .catch((error: unknown) => error);
    expect(repeated).to.have.property('code', '23505');
    expect(await database.query('select from messages')).to.have.lengthOf(4);
  });

  it('builds the unique index again when an earlier build was cut off', async () => {
    const database = await open(dumpOf('stage-20250318144400'));
    await database.query(
      `${PROCESS}; ${MESSAGE} ('p', 'a', '{}', 0, 1, 1, '', ''), ('p', 'b', '{}', 0, 1, 2, '', '')`,
    );
    const failed: unknown = await database
      .query(
        'create unique index concurrently su_messages_position on messages (process_id, epoch, nonce)',
      )
      .catch((error: unknown) => error);
    expect(failed).to.have.property('code', '23505');
    await database.query(`delete from messages where message_id = 'b'`);
    await migrate({ url: database.url, log: silentLog });
    const [index] = await database.query<{ indisvalid: boolean; indisunique: boolean }>(
      `select indisvalid, indisunique from pg_index where indexrelid = 'su_messages_position'::regclass`,
    );
    expect(index).to.deep.equal({ indisvalid: true, indisunique: true });
  });

  for (const [what, alteration, named] of [
    [
      'a column is missing',
      'alter table messages drop column hash_chain cascade',
      'messages.hash_chain is missing',
    ],
    [
      'a column has another type',
      'alter table processes alter column nonce type bigint',
      'processes.nonce is bigint',
    ],
    ['a table is missing', 'drop table su_outbox', 'table su_outbox is missing'],
    [
      'an unknown column needs a value',
      'alter table messages add column x integer not null',
      'messages.x is unknown',
    ],
    [
      'ids of assignments need not be unique',
      'alter table messages drop constraint messages_assignment_id_key',
      'messages.assignment_id has lost its unique key',
    ],
    ['the unique index is missing', 'drop index su_messages_position', 'su_messages_position'],
  ] as const) {
    it(`names what differs when ${what}`, async () => {
      const database = await open();
      await migrate({ url: database.url, log: silentLog });
      await database.query(alteration);
      const failure: unknown = await migrate({ url: database.url, log: silentLog }).catch(
        (error: unknown) => error,
      );
      expect(isSuError(failure, 'schema-damaged')).to.equal(true);
      expect(failure).to.have.property('message').that.includes(named);
    });
  }

  it('tells the operator what the driver says when the database cannot be used', async () => {
    const away: unknown = await migrationStatus('postgres://127.0.0.1:1/none').catch(
      (error: unknown) => error,
    );
    expect(isSuError(away, 'store-unavailable')).to.equal(true);
    expect(away).to.have.property('message').that.includes('ECONNREFUSED');
    const unknown = (await open()).url.replace(/[^/]*$/, 'no_such_database');
    const missing: unknown = await migrate({ url: unknown, log: silentLog }).catch(
      (error: unknown) => error,
    );
    expect(missing).to.have.property('message').that.includes('"no_such_database" does not exist');
  });

  it('names the version that does not fit the tables, and leaves them as they were', async () => {
    const database = await open(dumpOf('stage-20240805190651'));
    await database.query('alter table processes add column epoch integer');
    const failure: unknown = await migrate({ url: database.url, log: silentLog }).catch(
      (error: unknown) => error,
    );
    expect(isSuError(failure, 'schema-damaged')).to.equal(true);
    expect(failure).to.have.property('message').that.includes('20240904145702');
    const status = await migrationStatus(database.url);
    expect(status.filter(({ state }) => state === 'applied')).to.have.lengthOf(5);
  });
});

/** Holds the lock that a migrating program holds. */
function holdLock(database: TestDatabase): { held: Promise<void>; release(): Promise<void> } {
  // The lock's number is not exported: what counts is that two programs agree on it, now and in later versions.
  const sleeper = database
    .query('select pg_advisory_lock(1937075561), pg_sleep(60)')
    .catch(() => []);
  const held = (async () => {
    for (;;) {
      const rows = await database.query(
        `select from pg_locks where locktype = 'advisory' and granted`,
      );
      if (rows.length > 0) return;
    }
  })();
  return {
    held,
    release: async () => {
      await database.query(
        `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()`,
      );
      await sleeper;
    },
  };
}

/** A transaction that keeps everybody from altering `processes` and `schedulers`. */
function holdTable(database: TestDatabase) {
  const client = new pg.Client({ connectionString: database.url });
  const held = (async () => {
    await client.connect();
    await client.query('begin; lock table processes, schedulers in access share mode');
  })();
  return {
    held,
    release: () => client.end(),
  };
}
