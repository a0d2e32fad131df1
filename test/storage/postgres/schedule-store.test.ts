import { expect } from 'chai';
import pg from 'pg';
import type { NewEntry, RunOutcome } from '../../../src/lib/scheduler/ports.js';
import type { PostgresStore } from '../../../src/lib/storage/postgres/open-store.js';
import {
  emptyDatabase,
  migratedDatabase,
  silentLog,
  type TestDatabase,
  untilLockIsAwaited,
} from '../../support/postgres.js';
import { LogBuilder, newLog, runOf } from '../conformance/log-builder.js';
import { openStoreOn } from './opened-store.js';

const statuses = (outcomes: readonly RunOutcome[]): string[] =>
  outcomes.map(({ status }) => status);

describe('appending to PostgreSQL', function () {
  this.timeout(20_000);
  let database: TestDatabase;
  let stores: PostgresStore[];
  const open = async (): Promise<PostgresStore> => {
    const opened = await openStoreOn(database);
    stores.push(opened);
    return opened;
  };
  /** A store with a log in it, and the events of which it has warned since. */
  const openWarning = async (): Promise<{
    readonly store: PostgresStore['store'];
    readonly builder: LogBuilder;
    readonly warned: string[];
  }> => {
    const warned: string[] = [];
    const warn = (fields: object): void => void warned.push((fields as { event: string }).event);
    const opened = await openStoreOn(database, { log: { ...silentLog, warn } });
    stores.push(opened);
    const { run, builder } = await newLog(1);
    await opened.store.append([run]);
    warned.length = 0;
    return { store: opened.store, builder, warned };
  };
  /** Another program's connection, in a transaction of its own. */
  const others: pg.Client[] = [];
  const connect = async (): Promise<pg.Client> => {
    const client = new pg.Client({ connectionString: database.url });
    client.on('error', () => undefined);
    others.push(client);
    await client.connect();
    return client;
  };
  const noncesOf = async (processId: string): Promise<number[]> => {
    const rows = await database.query<{ nonce: number }>(
      'select nonce from messages where process_id = $1 order by epoch, nonce, row_id',
      [processId],
    );
    return rows.map(({ nonce }) => nonce);
  };

  beforeEach(async () => {
    database = await migratedDatabase();
    stores = [];
  });
  afterEach(async () => {
    await Promise.all(others.splice(0).map((client) => client.end()));
    await Promise.all(stores.map((store) => store.close()));
    await database.drop();
  });

  it('leaves one chain without gap or fork when two servers append to one process', async () => {
    const [one, two] = [await open(), await open()];
    const { run, builder } = await newLog(0);
    await one.store.append([run]);
    const writer = async ({ store }: PostgresStore): Promise<number> => {
      let lost = 0;
      for (let stored = 0; stored < 20;) {
        const [head] = await store.readHeads([builder.processId]);
        const rival = new LogBuilder();
        Object.assign(rival, { processId: builder.processId, head });
        const [outcome] = await store.append([runOf(head, await rival.message())]);
        if (outcome?.status === 'appended') stored += 1;
        else if (outcome?.status === 'moved') lost += 1;
        else throw new Error(`the run was ${outcome?.status}`);
      }
      return lost;
    };
    await Promise.all([writer(one), writer(two)]);
    expect(await noncesOf(builder.processId)).to.deep.equal(
      Array.from({ length: 40 }, (_, i) => i + 1),
    );
  });

  it('answers moved when a program without our locks has taken the nonce', async () => {
    const { store } = await open();
    const { run, builder, entries } = await newLog(1);
    await store.append([run]);
    const onto = builder.head;
    const next = await builder.message();
    const other = await connect();
    await other.query('begin');
    await other.query(
      `insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain)
       select process_id, 'other', message_data, 0, $2, timestamp + 1, bundle, hash_chain
         from messages where message_id = $1`,
      [entries[1]?.messageId, next.head.nonce],
    );
    const appending = store.append([runOf(onto, next)]);
    await untilLockIsAwaited(database);
    await other.query('commit');
    expect(statuses(await appending)).to.deep.equal(['moved']);
    expect(await noncesOf(builder.processId)).to.deep.equal([1, 2]);
  });

  it('writes nothing, answers unknown and goes on when its connection is cut off in the middle', async () => {
    const { store } = await open();
    const [cut, later] = [await newLog(1), await newLog(1)];
    await store.append([cut.run, later.run]);
    const other = await connect();
    await other.query('begin');
    await other.query('select from processes where process_id = $1 for update', [
      cut.builder.processId,
    ]);
    const onto = cut.builder.head;
    const message = await cut.builder.message();
    const appending = store.append([runOf(onto, message)]);
    await untilLockIsAwaited(database);
    await database.query(
      `select pg_terminate_backend(pid) from pg_locks where not granted and pid <> pg_backend_pid()`,
    );
    expect(statuses(await appending)).to.deep.equal(['unknown']);
    await other.query('rollback');
    expect(await store.findReceipts([message.identity])).to.deep.equal([undefined]);
    expect(statuses(await store.append([runOf(onto, message)]))).to.deep.equal(['appended']);
  });

  it('refuses exactly the entry that the database cannot store, and costs no other process its run', async () => {
    const { store } = await open();
    const logs = [await newLog(2), await newLog(5), await newLog(1)];
    const bad = logs[1]?.entries[3] as NewEntry;
    await database.query(
      `alter table messages add constraint odd check (message_id <> '${bad.messageId}')`,
    );
    const outcomes = await store.append(logs.map(({ run }) => run));
    expect(statuses(outcomes)).to.deep.equal(['appended', 'refused', 'appended']);
    expect(outcomes[1]).to.deep.include({ index: 3 });
    expect(outcomes[1]).to.have.nested.property('error.code', 'refused-by-store');
    const [head] = await store.readHeads([logs[1]?.builder.processId as never]);
    expect(head).to.equal(undefined);
  });

  it('takes back the messages whose uploads cannot be queued, and only those', async () => {
    const { store } = await open();
    const [sound, odd] = [await newLog(1), await newLog(1)];
    await store.append([sound.run, odd.run]);
    const [next, bad] = [await sound.builder.message(), await odd.builder.message()];
    await database.query(
      `alter table su_outbox add constraint odd check (message_id <> '${bad.messageId}')`,
    );
    const outcomes = await store.append([
      runOf(sound.entries[1]?.head, next),
      runOf(odd.entries[1]?.head, bad),
    ]);
    expect(statuses(outcomes)).to.deep.equal(['appended', 'refused']);
    expect(await noncesOf(sound.builder.processId)).to.deep.equal([1, 2]);
    expect(await noncesOf(odd.builder.processId)).to.deep.equal([1]);
  });

  it('writes nothing when the commit itself is refused, and goes on', async () => {
    const { store } = await open();
    const { run, builder } = await newLog(1);
    await store.append([run]);
    await database.query(`create function refuse() returns trigger language plpgsql as $$ begin
        raise exception 'not now' using errcode = '53100'; end $$;
      create constraint trigger late after insert on messages deferrable initially deferred
        for each row execute function refuse()`);
    const onto = builder.head;
    const message = await builder.message();
    expect(statuses(await store.append([runOf(onto, message)]))).to.deep.equal(['unknown']);
    expect(await noncesOf(builder.processId)).to.deep.equal([1]);
    expect(await database.query('select from su_outbox')).to.have.lengthOf(2);
    await database.query('drop trigger late on messages');
    expect(statuses(await store.append([runOf(onto, message)]))).to.deep.equal(['appended']);
  });

  it('looks before it writes, and blames only who is behind, when writing at once was in vain', async () => {
    const { store } = await open();
    const [behind, atHead] = [await newLog(1), await newLog(1)];
    await store.append([behind.run, atHead.run]);
    const onto = behind.builder.head;
    await store.append([runOf(onto, await behind.builder.message())]);
    behind.builder.head = onto;
    const late = runOf(onto, await behind.builder.message());
    const good = runOf(atHead.builder.head, await atHead.builder.message());
    const outcomes = await store.append([late, good]);
    expect(statuses(outcomes)).to.deep.equal(['moved', 'appended']);
    expect(await noncesOf(behind.builder.processId)).to.deep.equal([1, 2]);
    expect(await noncesOf(atHead.builder.processId)).to.deep.equal([1, 2]);
    expect(await database.query('select from su_outbox')).to.have.length(6);
    for (const nonce of [3, 4, 5]) {
      const next = runOf(atHead.builder.head, await atHead.builder.message());
      expect(statuses(await store.append([next]))).to.deep.equal(['appended']);
      expect((await noncesOf(atHead.builder.processId)).at(-1)).to.equal(nonce);
    }
  });

  it('runs a transaction again that lost a deadlock', async () => {
    const { store, warned, builder } = await openWarning();
    // A sequence is not set back with the transaction, so it counts them.
    await database.query(`create sequence tries;
      create function lose() returns trigger language plpgsql as $$ begin
        if nextval('tries') < 4 then raise exception 'lost' using errcode = '40P01'; end if;
        return null; end $$;
      create trigger lose after insert on messages for each statement execute function lose()`);
    const onto = builder.head;
    const outcomes = await store.append([runOf(onto, await builder.message())]);
    expect(statuses(outcomes)).to.deep.equal(['appended']);
    expect(await noncesOf(builder.processId)).to.deep.equal([1, 2]);
    expect(warned).to.have.length(2);
  });

  it('runs a transaction again when the session has lost its statements in the middle', async () => {
    const { store, warned, builder } = await openWarning();
    // What a pooler does that hands each transaction another session.
    await database.query(`create function forget() returns trigger language plpgsql as $$ begin
        execute 'deallocate all'; return null; end $$;
      create trigger forget after insert on messages for each statement execute function forget()`);
    for (const nonce of [2, 3]) {
      const onto = builder.head;
      const outcomes = await store.append([runOf(onto, await builder.message())]);
      expect(statuses(outcomes)).to.deep.equal(['appended']);
      expect((await noncesOf(builder.processId)).at(-1)).to.equal(nonce);
    }
    expect(warned).to.deep.equal(['database-statement-lost']);
  });

  it('does not blame an entry for row numbers that have run out', async () => {
    const { store } = await open();
    await database.query(`select setval('messages_row_id_seq', 2147483647)`);
    const { run } = await newLog(1);
    const [outcome] = await store.append([run]);
    expect(outcome).to.deep.include({ status: 'unknown' });
    expect(outcome).to.have.nested.property('error.code', 'store-unavailable');
  });

  it('does not let the damaged log of one process stop the others', async () => {
    const { store } = await open();
    const [damaged, sound] = [await newLog(0), await newLog(0)];
    await store.append([damaged.run, sound.run]);
    await database.query(`update processes set bundle = 'junk' where process_id = $1`, [
      damaged.builder.processId,
    ]);
    const runs = [];
    for (const { builder } of [damaged, sound]) {
      const onto = builder.head;
      runs.push(runOf(onto, await builder.message()));
    }
    const outcomes = await store.append(runs);
    expect(statuses(outcomes)).to.deep.equal(['unknown', 'appended']);
    expect(outcomes[0]).to.have.nested.property('error.code', 'invariant');
  });

  it('never repeats a nonce where old rows hold one twice, and continues after the highest', async () => {
    await database.drop();
    database = await emptyDatabase();
    const source = await open();
    const { run, builder, entries } = await newLog(4);
    await source.store.append([run]);
    await database.query(`
      drop index su_messages_position;
      delete from __diesel_schema_migrations where version = '20261123000200';
      insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain)
      select process_id, 'twice', message_data, epoch, nonce, timestamp, bundle, hash_chain
        from messages where nonce = 2`);
    const { store } = await open();
    expect(await store.readHeads([builder.processId])).to.deep.equal([builder.head]);
    const onto = builder.head;
    const old = entries[2]?.head;
    builder.head = old;
    const repeated = await builder.message();
    expect(statuses(await store.append([runOf(old, repeated)]))).to.deep.equal(['moved']);
    builder.head = onto;
    const next = await builder.message();
    expect(statuses(await store.append([runOf(onto, next)]))).to.deep.equal(['appended']);
    expect(await noncesOf(builder.processId)).to.deep.equal([1, 2, 2, 3, 4, 5]);
  });

  it('waits for the disk and reads what others committed, whatever the database’s defaults are', async () => {
    await database.query(`create table seen (commits text, isolation text);
      create function note() returns trigger language plpgsql as $$ begin
        insert into seen values (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
        return new; end $$;
      create trigger note after insert on messages for each statement execute function note()`);
    await database.query(`
      alter database ${database.name} set synchronous_commit = off;
      alter database ${database.name} set default_transaction_isolation = 'serializable';
      alter database ${database.name} set default_transaction_read_only = on;
      alter database ${database.name} set bytea_output = 'escape'`);
    const { store, reader } = await open();
    const { run, builder } = await newLog(1);
    expect(statuses(await store.append([run]))).to.deep.equal(['appended']);
    expect(await database.query('select * from seen')).to.deep.equal([
      { commits: 'on', isolation: 'read committed' },
    ]);
    expect((await reader.findLatest(builder.processId))?.nonce).to.equal(1);
  });

  it('keeps a stronger setting of the database', async () => {
    await database.query(`alter database ${database.name} set synchronous_commit = remote_apply`);
    await database.query(`create table seen (commits text);
      create function note() returns trigger language plpgsql as $$ begin
        insert into seen values (current_setting('synchronous_commit')); return new; end $$;
      create trigger note after insert on messages for each statement execute function note()`);
    const { store } = await open();
    await store.append([(await newLog(1)).run]);
    expect(await database.query('select * from seen')).to.deep.equal([{ commits: 'remote_apply' }]);
  });

  it('stores JSON that the reference can read, without U+0000', async () => {
    const { store } = await open();
    const { run, builder } = await newLog(0);
    const message = await builder.message({ data: Buffer.from('a\0b') });
    const assigned = await builder.assign(builder.processId);
    await store.append([runOf(undefined, ...run.entries, message, assigned)]);
    const rows = await database.query<{ message_data: { message: { data: string } | null } }>(
      'select message_data from messages order by nonce',
    );
    expect(rows[0]?.message_data.message?.data).to.equal('a\uFFFDb');
    expect(rows[1]?.message_data).to.have.keys('message', 'assignment');
    expect(rows[1]?.message_data.message).to.equal(null);
    const [process] = await database.query<{ process_data: object }>(
      'select process_data from processes',
    );
    expect(process?.process_data).to.have.nested.property('process.process_id', builder.processId);
    expect(process?.process_data).to.have.nested.property('assignment.id');
  });
});
