import { expect } from 'chai';
import { Engine } from '../../../src/lib/storage/rocksdb/engine.js';
import { RocksdbOutbox } from '../../../src/lib/storage/rocksdb/outbox.js';
import { RocksdbScheduleStore } from '../../../src/lib/storage/rocksdb/schedule-store.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { newLog, runOf } from '../conformance/log-builder.js';

const LEASE_MS = 1000;
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('the outbox of the embedded store with more rows than it may hold in memory', () => {
  let temp: TempRocksdb;
  let engine: Engine;
  let outbox: RocksdbOutbox;
  let store: RocksdbScheduleStore;

  beforeEach(async () => {
    temp = await makeTempRocksdb(LEASE_MS);
    engine = await Engine.open({ folder: temp.folder, headsMax: 10, log: quiet });
    const clock = (): number => temp.now();
    const { monotonicMs } = temp;
    outbox = new RocksdbOutbox({ engine, clock, monotonicMs, leaseMs: LEASE_MS, heldMax: 10 });
    store = new RocksdbScheduleStore({ engine, outbox, clock });
  });
  afterEach(async () => {
    await engine.close();
    await temp.destroy();
  });

  /** Claims and settles until every row was seen, as the clock goes on; gives how often each was. */
  async function drain(limit: number, rounds: number): Promise<Map<string, number>> {
    const seen = new Map<string, number>();
    for (let round = 0; round < rounds; round += 1) {
      await temp.pass(LEASE_MS + 1);
      const rows = await outbox.claim(limit);
      for (const { key } of rows) seen.set(key, (seen.get(key) ?? 0) + 1);
      await outbox.settle(rows.map(({ key }) => ({ key, status: 'done' }) as const));
    }
    return seen;
  }

  it('gives every row out once in the end', async () => {
    const { run, builder } = await newLog(39);
    await store.append([run]);
    const onto = builder.head;
    await store.append([runOf(onto, ...(await builder.messages(20)))]);
    const seen = await drain(7, 40);
    expect(seen.size).to.equal(60);
    expect([...seen.values()].every((times) => times === 1)).to.equal(true);
    expect(await outbox.counts()).to.deep.equal({ pending: 0, parked: 0 });
  });

  it('gives every row out although the clock was set back by an hour', async () => {
    const { run } = await newLog(29);
    const [outcome] = await store.append([run]);
    const keys = outcome?.status === 'appended' ? outcome.outboxKeys : [];
    // The first sweep ends, so that later ones mind the times that are stored.
    await drain(0, 1);
    await outbox.claim(100);
    await outbox.settle(
      keys.map(
        (key) => ({ key, status: 'retry', parts: 3, delayMs: 30_000, reason: 'x' }) as const,
      ),
    );
    await temp.setClock(-3_600_000);
    await temp.pass(30_000);
    const seen = await drain(7, 60);
    expect(seen.size).to.equal(30);
  });

  it('minds the delay of rows that did not fit', async () => {
    const { run } = await newLog(29);
    const [outcome] = await store.append([run]);
    const keys = outcome?.status === 'appended' ? outcome.outboxKeys : [];
    await outbox.settle(
      keys.map(
        (key) => ({ key, status: 'retry', parts: 3, delayMs: 60_000, reason: 'x' }) as const,
      ),
    );
    // Sweeps come at intervals; none of them may find a row before its delay has passed.
    for (let round = 0; round < 9; round += 1) {
      await temp.pass(6000);
      const early = await outbox.claim(100);
      // The first sweep after the start takes rows whatever they say: these rows were queued since.
      expect(early.length, `after ${round + 1} times 6 s`).to.equal(0);
    }
    await temp.pass(10_000);
    const seen = await drain(7, 60);
    expect(seen.size).to.equal(30);
  });
});
