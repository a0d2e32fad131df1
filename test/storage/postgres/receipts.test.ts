import { expect } from 'chai';
import { parseId, type Id } from '../../../src/lib/protocol/ids.js';
import type { ReceiptQuery, Run } from '../../../src/lib/scheduler/ports.js';
import type { Queryable } from '../../../src/lib/storage/postgres/pool.js';
import { findReceipts } from '../../../src/lib/storage/postgres/receipts.js';
import { migratedDatabase, type TestDatabase } from '../../support/postgres.js';
import pg from 'pg';
import { LogBuilder, newLog, runOf } from '../conformance/log-builder.js';
import { openStoreOn } from './opened-store.js';

type AssignQuery = Extract<ReceiptQuery, { kind: 'assign' }>;

describe('the receipts of repeated assigns in PostgreSQL', function () {
  this.timeout(20_000);
  let database: TestDatabase;
  let client: pg.Client;
  let builder: LogBuilder;
  let run: Run;
  const assigns: { readonly exclude: readonly string[]; readonly id: Id; readonly at: number }[] =
    [];
  const transactionId = parseId('x'.repeat(42) + 'A', 'a transaction');

  before(async () => {
    database = await migratedDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { store, close } = await openStoreOn(database);
    ({ run, builder } = await newLog(1));
    await store.append([run]);
    for (const exclude of [[], ['a'], ['a', 'b'], ['a,b'], ['a'], []]) {
      const onto = builder.head;
      const entry = await builder.assign(transactionId, exclude, (onto?.timestamp ?? 0) + 1);
      expect((await store.append([runOf(onto, entry)]))[0]?.status).to.equal('appended');
      assigns.push({ exclude, id: entry.assignment?.id as Id, at: entry.head.timestamp });
    }
    await close();
  });
  after(async () => {
    await client.end();
    await database.drop();
  });

  const asked = (more: Partial<AssignQuery>): AssignQuery => ({
    kind: 'assign',
    processId: builder.processId,
    transactionId,
    exclude: [],
    since: 0,
    attempts: undefined,
    ...more,
  });

  it('are the first with the same list since the moment that each asks for', async () => {
    const queries = [
      asked({}),
      asked({ exclude: ['a'] }),
      asked({ exclude: ['a'], since: (assigns[1]?.at ?? 0) + 1 }),
      asked({ exclude: ['a', 'b'] }),
      asked({ exclude: ['a,b'] }),
      asked({ exclude: ['b'] }),
      asked({ since: (assigns[5]?.at ?? 0) + 1 }),
      asked({ attempts: [] }),
      asked({ attempts: [assigns[5]?.id as Id] }),
      asked({ exclude: ['a'], attempts: [assigns[5]?.id as Id] }),
      asked({ processId: transactionId }),
    ];
    const receipts = await findReceipts(client, queries);
    expect(receipts.map((receipt) => receipt?.id)).to.deep.equal([
      assigns[0]?.id,
      assigns[1]?.id,
      assigns[4]?.id,
      assigns[2]?.id,
      assigns[3]?.id,
      undefined,
      undefined,
      undefined,
      assigns[5]?.id,
      undefined,
      undefined,
    ]);
  });

  it('are read once, however many ask, and not at all for an attempt that has none before it', async () => {
    const statements: (readonly unknown[])[] = [];
    const counting = {
      query: async (text: string, values: readonly unknown[]) => {
        const { rows } = await client.query(text, [...values]);
        statements.push(rows);
        return { rows };
      },
    } as unknown as Queryable;
    const many = Array.from({ length: 100 }, (_, index) => asked({ since: index }));
    await findReceipts(counting, many);
    expect(statements.map((rows) => rows.length)).to.deep.equal([assigns.length]);
    statements.length = 0;
    await findReceipts(
      counting,
      many.map(() => asked({ attempts: [] })),
    );
    expect(statements).to.deep.equal([]);
  });
});
