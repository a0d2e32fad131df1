import { expect } from 'chai';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSuError } from '../../../src/lib/errors.js';
import { parseMessageBundle } from '../../../src/lib/protocol/bundle.js';
import { renderNode } from '../../../src/lib/protocol/wire.js';
import type { NewEntry } from '../../../src/lib/scheduler/ports.js';
import { Database } from '../../../src/lib/storage/rocksdb/database.js';
import { entryKey, stretchKey, type ColumnName } from '../../../src/lib/storage/rocksdb/keys.js';
import type { RocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { collect } from '../conformance/open-store.js';
import { newLog, runOf } from '../conformance/log-builder.js';

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    return isSuError(error) ? error.code : String(error);
  }
}

describe('a damaged embedded store', () => {
  let temp: TempRocksdb;
  let opened: RocksdbStore | undefined;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
    opened = undefined;
  });
  afterEach(async () => {
    await opened?.close();
    await temp.destroy();
  });

  /** A stored log whose entry at nonce 2 is then removed from a column behind the store's back. */
  async function logWithout(column: ColumnName, dataBytes: number): Promise<NewEntry> {
    const { builder, run } = await newLog(1);
    const victim = await builder.message({ data: Buffer.alloc(dataBytes, 'v') });
    const store = await temp.open();
    const outcome = await store.store.append([runOf(undefined, ...run.entries, victim)]);
    expect(outcome[0]?.status).to.equal('appended');
    await store.close();
    const database = await Database.open(join(temp.folder, 'db'), { createIfMissing: false });
    const key = entryKey({ processId: victim.processId, epoch: 0, nonce: 2, suffix: 0 });
    const batch = database.batch();
    batch.del(key, { column: database.column(column) });
    await batch.write({ sync: true });
    await database.close();
    opened = await temp.open();
    return victim;
  }

  it('says so when an index names an entry that is not there', async () => {
    const { messageId, assignment, processId, head } = await logWithout('nodes', 10);
    const reader = opened?.reader as RocksdbStore['reader'];
    expect(await codeOf(reader.findEntry(messageId, undefined))).to.equal('invariant');
    expect(await codeOf(reader.findEntry(assignment?.id as never, processId))).to.equal(
      'invariant',
    );
    const range = { processId, to: undefined, limit: 10, showAnchor: false };
    const later = { ...range, by: 'timestamp', from: head.timestamp - 1 } as const;
    expect(await codeOf(collect(reader.readRange(later)))).to.equal('invariant');
  });

  it('says so when an entry that is rendered at each read has no bundle', async () => {
    const { messageId, processId } = await logWithout('bundles', 100_000);
    const reader = opened?.reader as RocksdbStore['reader'];
    expect(await codeOf(reader.findEntry(messageId, undefined))).to.equal('invariant');
    const range = { processId, to: undefined, limit: 10, showAnchor: false };
    const whole = { ...range, by: 'nonce', from: undefined } as const;
    expect(await codeOf(collect(reader.readRange(whole)))).to.equal('invariant');
    await temp.pass(1001);
    const rows = (await opened?.outbox.claim(10)) ?? [];
    const row = rows.find((candidate) => candidate.messageId === messageId);
    expect(await codeOf(opened?.outbox.readUploads(row as never) as Promise<unknown>)).to.equal(
      'invariant',
    );
  });

  it('reads entries from their bundles where what pages send of them is damaged, and says so once', async () => {
    const { builder, run } = await newLog(200);
    let store = await temp.open();
    await store.store.append([run]);
    await store.close();
    const { processId } = builder;
    const database = await Database.open(join(temp.folder, 'db'), { createIfMissing: false });
    const batch = database.batch();
    const damage = (nonce: number, work: (value: Buffer) => Buffer): void => {
      const key = stretchKey({ processId, epoch: 0, nonce });
      const value = database.read('nodes', key) ?? Buffer.alloc(0);
      batch.put(key, work(value), { column: database.column('nodes') });
    };
    damage(33, (value) => value.subarray(0, value.length - 5));
    damage(
      97,
      () => database.read('nodes', stretchKey({ processId, epoch: 0, nonce: 1 })) as Buffer,
    );
    await batch.write({ sync: true });
    await database.close();
    store = await temp.open();
    opened = store;
    const range = { processId, by: 'nonce', to: undefined, limit: 300, showAnchor: false } as const;
    const texts = run.entries.slice(1).map(({ bundle }) => renderNode(parseMessageBundle(bundle)));
    for (const from of [0, 40, 70, 100]) {
      const found = await collect(store.reader.readRange({ ...range, from }));
      expect(found.map(({ node }) => Buffer.from(node).toString())).to.deep.equal(
        texts.slice(from),
      );
    }
    expect(temp.logged.filter((event) => event === 'stored-pages-unread')).to.have.lengthOf(1);
  });

  it('fails a range, and nothing else, when it is closed while that is read', async () => {
    const { builder, entries } = await newLog(0);
    const data = Buffer.alloc(20_000, 'd');
    for (let count = 0; count < 300; count += 1) entries.push(await builder.message({ data }));
    const store = await temp.open();
    await store.store.append([runOf(undefined, ...entries)]);
    const query = { processId: builder.processId, by: 'nonce', from: 0, to: undefined } as const;
    let read = 0;
    const readUntilClosed = async (): Promise<void> => {
      const range = { ...query, limit: 1000, showAnchor: false };
      for await (const piece of store.reader.readRange(range)) {
        if (read === 0) await store.close();
        read += piece.length;
      }
    };
    expect(await codeOf(readUntilClosed())).to.equal('store-unavailable');
    expect(read).to.be.within(1, 299);
  });

  it('answers store-unavailable, and lives on, when blocks of its files are overwritten', async () => {
    const { builder, run } = await newLog(300);
    let store = await temp.open();
    await store.store.append([run]);
    await store.close();
    // Opening writes what was only in the log into table files.
    store = await temp.open();
    await store.close();
    const folder = join(temp.folder, 'db');
    const files = (await readdir(folder, { recursive: true })).filter((name) =>
      /\.(?:sst|blob)$/.test(name),
    );
    for (const name of files) {
      const file = await open(join(folder, name), 'r+');
      const { size } = await file.stat();
      // The small tables hold heads, indexes and counters; without those a store does not open at all.
      const begin = size > 400_000 ? 100 : size;
      for (let at = begin; at < size - 8192; at += 1000)
        await file.write(Buffer.alloc(16, 7), 0, 16, at);
      await file.close();
    }
    opened = await temp.open();
    const { reader } = opened;
    const range = { processId: builder.processId, by: 'nonce', from: 20, to: undefined } as const;
    const read = (): Promise<unknown> =>
      collect(reader.readRange({ ...range, limit: 100, showAnchor: false }));
    expect(await codeOf(read())).to.equal('store-unavailable');
    const ids = run.entries.map(({ messageId }) => messageId);
    const codes = await Promise.all(ids.map((id) => codeOf(reader.findEntry(id, undefined))));
    expect(codes).to.include('store-unavailable');
    expect(await codeOf(read())).to.equal('store-unavailable');
  });
});
