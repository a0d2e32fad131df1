import { expect } from 'chai';
import { Engine } from '../../../src/lib/storage/rocksdb/engine.js';
import {
  decodeScheduler,
  encodeScheduler,
  SCHEDULER_RANGE,
  schedulerKey,
} from '../../../src/lib/storage/rocksdb/route-rows.js';
import { randomId } from '../../support/item-factory.js';
import { makeTempRocksdb } from '../../support/temp-rocksdb.js';
import { describeRouteStore } from '../conformance/route-store.js';

const log = { info: () => undefined, warn: () => undefined, error: () => undefined };

async function spoilCount(folder: string, url: string, count: number): Promise<void> {
  const engine = await Engine.open({ folder, headsMax: 1, log });
  const rows = (await engine.database()).readFew('default', { ...SCHEDULER_RANGE, limit: 100 });
  const spoiled = rows
    .map(([key, value]) => decodeScheduler(key, value))
    .filter((scheduler) => scheduler.url === url)
    .map((scheduler) => ({ ...scheduler, processCount: count }));
  expect(spoiled).to.have.lengthOf(1);
  await engine.write({
    kind: 'put-rows',
    puts: spoiled.map((each) => [schedulerKey(each.rowId), encodeScheduler(each)]),
    removals: [],
  });
  await engine.close();
}

describeRouteStore('RocksDB', async () => {
  const temp = await makeTempRocksdb(1000);
  return {
    open: () => temp.open(),
    spoilCount: (url, count) => spoilCount(temp.folder, url, count),
    destroy: () => temp.destroy(),
  };
});

describe('the routes in RocksDB, beside a log', () => {
  it('count more placements than one look reads', async function () {
    this.timeout(60_000);
    const temp = await makeTempRocksdb(1000);
    const { routes, close } = await temp.open();
    try {
      await routes.applyList([
        { url: 'http://a', noRoute: false, walletsToRoute: [], walletsOnly: false },
      ]);
      const ids = Array.from({ length: 20_001 }, () => randomId());
      await routes.place(ids.map((processId) => ({ processId, choose: () => 1 })));
      expect([...(await routes.countPlacements())]).to.deep.equal([[1, 20_001]]);
    } finally {
      await close();
      await temp.destroy();
    }
  });
});
