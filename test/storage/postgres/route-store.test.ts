import { expect } from 'chai';
import { randomId } from '../../support/item-factory.js';
import { migratedDatabase, type TestDatabase } from '../../support/postgres.js';
import { describeRouteStore } from '../conformance/route-store.js';
import { openStoreOn } from './opened-store.js';

describeRouteStore('PostgreSQL', async () => {
  const database = await migratedDatabase();
  return {
    open: () => openStoreOn(database),
    spoilCount: async (url, count) => {
      await database.query('update schedulers set process_count = $2 where url = $1', [url, count]);
    },
    destroy: () => database.drop(),
  };
});

describe('the routes in PostgreSQL, in tables that others write too', function () {
  this.timeout(30_000);
  let database: TestDatabase;

  before(async () => {
    database = await migratedDatabase();
  });
  after(() => database.drop());
  afterEach(() => database.query('truncate process_schedulers, schedulers'));

  it('know an SU whose URL was stored with a slash at its end, and keep that spelling', async () => {
    await database.query(
      `insert into schedulers (url, process_count, wallets_to_route) values ('http://a.example/', 3, ' one, two ')`,
    );
    const opened = await openStoreOn(database);
    try {
      const [scheduler] = await opened.routes.readSchedulers();
      expect(scheduler).to.deep.include({
        url: 'http://a.example',
        processCount: 3,
        noRoute: false,
        walletsToRoute: ['one', 'two'],
        walletsOnly: false,
      });
      const after = await opened.routes.applyList([
        { url: 'http://a.example', noRoute: true, walletsToRoute: [], walletsOnly: false },
      ]);
      expect(after).to.have.lengthOf(1);
      expect(await database.query('select url, no_route from schedulers')).to.deep.equal([
        { url: 'http://a.example/', no_route: true },
      ]);
    } finally {
      await opened.close();
    }
  });

  it('place a process once and count exactly when several routers share the database', async () => {
    const routers = await Promise.all([1, 2, 3].map(() => openStoreOn(database)));
    try {
      const list = ['http://a', 'http://b'].map((url) => ({
        url,
        noRoute: false,
        walletsToRoute: [],
        walletsOnly: false,
      }));
      await Promise.all(routers.map(({ routes }) => routes.applyList(list)));
      const ids = Array.from({ length: 30 }, () => randomId());
      const rounds = await Promise.all(
        routers.map(({ routes }) =>
          Promise.all(
            ids.map((processId) =>
              routes.place([
                {
                  processId,
                  choose: (all) =>
                    all.toSorted((one, other) => one.processCount - other.processCount)[0]?.rowId,
                },
              ]),
            ),
          ),
        ),
      );
      for (const [index] of ids.entries()) {
        expect(new Set(rounds.map((round) => round[index]?.[0]?.rowId)).size).to.equal(1);
      }
      const counts = await database.query<{ process_count: number; placed: string }>(
        `select process_count, (select count(*) from process_schedulers p where p.scheduler_row_id = s.row_id) as placed
           from schedulers s order by row_id`,
      );
      expect(counts).to.deep.equal([
        { process_count: 15, placed: '15' },
        { process_count: 15, placed: '15' },
      ]);
    } finally {
      await Promise.all(routers.map((each) => each.close()));
    }
  });
});
