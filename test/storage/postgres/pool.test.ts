import { expect } from 'chai';
import { DatabasePool } from '../../../src/lib/storage/postgres/pool.js';
import { silentLog, startPostgres, type TestServer } from '../../support/postgres.js';

describe('a pool of connections to PostgreSQL', function () {
  this.timeout(60_000);
  let server: TestServer;
  let pool: DatabasePool;
  let events: string[];

  before(async () => {
    server = await startPostgres();
  });
  beforeEach(() => {
    events = [];
    const warn = (fields: object): void => {
      if ('event' in fields) events.push(String(fields.event));
    };
    const log = { ...silentLog, warn, error: warn };
    const url = server.url('postgres');
    pool = new DatabasePool({ url, connections: 1, name: 'test', clock: Date.now, log });
  });
  afterEach(() => pool.close());
  after(() => server.destroy());

  const plans = async (): Promise<number> => {
    const { rows } = await pool.query<{ count: number }>(
      'select count(*)::int4 as count from pg_prepared_statements',
    );
    return rows[0]?.count ?? 0;
  };
  const double = async (number: number): Promise<number | undefined> => {
    const text = 'select 2 * $1::int4 as double';
    return (await pool.queryPlanned<{ double: number }>(text, [number])).rows[0]?.double;
  };

  it('has the server plan a statement once', async () => {
    for (const number of [1, 2, 3]) expect(await double(number)).to.equal(2 * number);
    expect(await plans()).to.equal(1);
  });

  it('answers all the same when a pooler has lost the plan, and makes no more', async () => {
    await double(1);
    await pool.query('deallocate all');
    for (const number of [2, 3]) expect(await double(number)).to.equal(2 * number);
    expect(events).to.deep.equal(['database-statement-lost']);
    expect(await plans()).to.equal(0);
  });

  it('answers all the same when a table was changed under a plan', async () => {
    await pool.query('create table planned (number int4)');
    await pool.query('insert into planned values (7)');
    const read = async (): Promise<unknown> =>
      (await pool.queryPlanned<{ number: unknown }>('select number from planned', [])).rows[0]
        ?.number;
    expect(await read()).to.equal(7);
    await pool.query('alter table planned alter column number type text');
    expect([await read(), await read()]).to.deep.equal(['7', '7']);
    expect(events).to.deep.equal([]);
  });

  it('reads no whole table for a plan that it keeps', async () => {
    const { rows } = await pool.query<{ value: string }>(
      `select current_setting('enable_seqscan') as value`,
    );
    expect(rows[0]?.value).to.equal('off');
  });
});
