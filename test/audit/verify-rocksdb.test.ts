import { expect } from 'chai';
import { join } from 'node:path';
import { sourceOfStore } from '../../src/lib/audit/store-source.js';
import { CheckThreads } from '../../src/lib/audit/check-threads.js';
import { Database } from '../../src/lib/storage/rocksdb/database.js';
import { entryKey } from '../../src/lib/storage/rocksdb/keys.js';
import type { RocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import { makeTempRocksdb, type TempRocksdb } from '../support/temp-rocksdb.js';
import { auditOf, briefly } from './audited.js';
import { plantFaults, type PlantedLog } from './planted-faults.js';
import { SignedLog } from './signed-log.js';

describe('an audit of an embedded store', () => {
  let temp: TempRocksdb;
  let store: RocksdbStore;
  let planted: readonly PlantedLog[];

  before(async function () {
    this.timeout(120_000);
    temp = await makeTempRocksdb(1000);
    store = await temp.open();
    planted = await plantFaults();
    for (const { process, messages } of planted) {
      await store.raw.writer.writeRows(process, messages);
    }
    await store.close();
    await damage();
    store = await temp.open();
  });
  after(async () => {
    await store.close();
    await temp.destroy();
  });

  /** Behind the store's back: bundles are replaced, and the JSON of one entry. */
  async function damage(): Promise<void> {
    const database = await Database.open(join(temp.folder, 'db'), { createIfMissing: false });
    const batch = database.batch();
    const column = database.column('bundles');
    for (const { process, damage: bundles } of planted) {
      for (const [nonce, bundle] of bundles) {
        const key = entryKey({ processId: process.processId, epoch: 0, nonce, suffix: 0 });
        if (bundle.length === 0) batch.del(key, { column });
        else batch.put(key, bundle, { column });
      }
    }
    await batch.write({ sync: true });
    await database.close();
  }

  it('finds each planted fault and nothing else', async function () {
    this.timeout(60_000);
    const { findings, summary } = await auditOf(sourceOfStore(store.raw.reader, 'planted'));
    for (const { name, process, expected } of planted) {
      const found = findings.filter((finding) => finding.process === process.processId);
      expect(briefly(found), `${name}: ${JSON.stringify(found)}`).to.have.members(expected);
    }
    expect(summary.processes).to.equal(planted.length);
  });

  it('finds the same on threads of its own', async function () {
    this.timeout(60_000);
    const checks = new CheckThreads(2);
    const { findings } = await auditOf(sourceOfStore(store.raw.reader, 'planted'), { checks });
    await checks.close();
    expect(briefly(findings)).to.have.members(planted.flatMap(({ expected }) => expected));
  });

  it('finds changed JSON of an entry', async () => {
    const log = await SignedLog.begin();
    await log.append(3);
    await store.raw.writer.writeRows(log.process, log.messages);
    await store.close();
    const database = await Database.open(join(temp.folder, 'db'), { createIfMissing: false });
    const key = entryKey({ processId: log.processId, epoch: 0, nonce: 2, suffix: 0 });
    const node = Buffer.from(database.read('nodes', key) ?? []);
    node.write('"Action1"', node.lastIndexOf('"Variant"'), 'latin1');
    const batch = database.batch();
    batch.put(key, node, { column: database.column('nodes') });
    await batch.write({ sync: true });
    await database.close();
    store = await temp.open();
    const source = sourceOfStore(store.raw.reader, 'planted');
    const { findings } = await auditOf(source, { processes: [log.processId] });
    expect(briefly(findings)).to.deep.equal(['stored-json 2']);
  });
});
