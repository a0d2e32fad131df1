import { expect } from 'chai';
import type { LogEntry } from '../../../src/lib/scheduler/ports.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { collect } from '../conformance/open-store.js';
import { newLog, runOf } from '../conformance/log-builder.js';

describe('what is read from the embedded store', () => {
  let temp: TempRocksdb;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
  });
  afterEach(() => temp.destroy());

  it('stays as it is while the store goes on, and after it is closed', async () => {
    const opened = await temp.open({ processCacheSize: 1 });
    const { builder, run } = await newLog(400);
    await opened.store.append([run]);
    const query = {
      processId: builder.processId,
      by: 'nonce',
      from: undefined,
      to: undefined,
    } as const;
    const entries = await collect(
      opened.reader.readRange({ ...query, limit: 1000, showAnchor: false }),
    );
    const text = (nodes: readonly LogEntry[]): string[] =>
      nodes.map(({ node }) => Buffer.from(node).toString('utf8'));
    const before = text(entries);
    for (let round = 0; round < 20; round += 1) {
      const onto = builder.head;
      await opened.store.append([runOf(onto, ...(await builder.messages(20)))]);
    }
    await opened.close();
    global.gc?.();
    expect(text(entries)).to.deep.equal(before);
    for (const [index, json] of before.entries()) {
      const node = JSON.parse(json) as { message: { id: string } };
      expect(node.message.id).to.equal(run.entries[index + 1]?.messageId);
    }
  });

  it('has neither gaps nor repeats while entries are appended and ranges are read at once', async () => {
    const opened = await temp.open();
    try {
      const { builder, run } = await newLog(1500);
      await opened.store.append([run]);
      const query = {
        processId: builder.processId,
        by: 'nonce',
        from: undefined,
        to: undefined,
      } as const;
      let stored = 1500;
      let isDone = false;
      const append = async (): Promise<void> => {
        for (let round = 0; round < 30; round += 1) {
          const onto = builder.head;
          await opened.store.append([runOf(onto, ...(await builder.messages(10)))]);
          stored += 10;
        }
        isDone = true;
      };
      const read = async (): Promise<void> => {
        while (!isDone) {
          const least = stored;
          const nonces: number[] = [];
          for await (const piece of opened.reader.readRange({
            ...query,
            limit: 10_000,
            showAnchor: false,
          })) {
            nonces.push(...piece.map(({ nonce }) => nonce));
          }
          expect(nonces.length).to.be.at.least(least);
          expect(nonces).to.deep.equal(nonces.map((_, index) => index + 1));
        }
      };
      await Promise.all([append(), read(), read()]);
    } finally {
      await opened.close();
    }
  }).timeout(30_000);

  it('is refused, not read, when the store is closed in the middle of a range', async () => {
    const opened = await temp.open();
    const { builder, run } = await newLog(2500);
    await opened.store.append([run]);
    const query = {
      processId: builder.processId,
      by: 'nonce',
      from: undefined,
      to: undefined,
    } as const;
    let code: unknown;
    try {
      for await (const piece of opened.reader.readRange({
        ...query,
        limit: 9999,
        showAnchor: false,
      })) {
        expect(piece.length).to.be.greaterThan(0);
        await opened.close();
      }
    } catch (error) {
      code = (error as { code?: unknown }).code;
    }
    expect(code).to.equal('store-unavailable');
  }).timeout(30_000);
});
