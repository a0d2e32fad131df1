import { expect } from 'chai';
import { isSuError } from '../../../src/lib/errors.js';
import type { StoredMessage, StoredProcess } from '../../../src/lib/migrator/ports.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import type { RocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { LogBuilder, newLog, randomId, runOf } from '../conformance/log-builder.js';
import { collect } from '../conformance/open-store.js';

interface Rows {
  readonly process: StoredProcess;
  readonly messages: readonly StoredMessage[];
}

describe('the rows of an embedded store', () => {
  let temp: TempRocksdb;
  let one: RocksdbStore;
  let other: RocksdbStore;
  let otherTemp: TempRocksdb;

  beforeEach(async function () {
    this.timeout(30_000);
    temp = await makeTempRocksdb(1000);
    otherTemp = await makeTempRocksdb(1000);
    one = await temp.open();
    other = await otherTemp.open();
  });
  afterEach(async () => {
    await one.close();
    await other.close();
    await temp.destroy();
    await otherTemp.destroy();
  });

  async function rowsOf(store: RocksdbStore, processId: Id): Promise<Rows> {
    const process = await store.raw.reader.findProcess(processId);
    if (process === undefined) throw new Error('the process is not there');
    return {
      process,
      messages: await collect(store.raw.reader.readMessages(processId, undefined)),
    };
  }

  async function codeOf(work: Promise<unknown>): Promise<string> {
    try {
      await work;
      return 'no error';
    } catch (error) {
      return isSuError(error) ? error.code : String(error);
    }
  }

  it('say of each entry what was appended', async () => {
    const { builder, entries, run } = await newLog(3);
    const transactionId = randomId();
    const assign = await builder.assign(transactionId, ['data']);
    await one.store.append([runOf(run.onto, ...run.entries, assign)]);
    const { process, messages } = await rowsOf(one, builder.processId);
    expect(process).to.include({ epoch: 0, nonce: 0, hashChain: entries[0]?.head.hashChain });
    expect(JSON.parse(process.json ?? '')).to.have.keys('process', 'assignment');
    expect(messages.map(({ nonce }) => nonce)).to.deep.equal([1, 2, 3, 4]);
    for (const [index, entry] of [...entries.slice(1), assign].entries()) {
      const { messageId, head, assignment, bundle } = entry;
      const { timestamp, hashChain } = head;
      expect(messages[index]).to.include({
        messageId,
        timestamp,
        hashChain,
        assignmentId: assignment?.id,
      });
      expect(Buffer.compare(messages[index]?.bundle ?? Buffer.alloc(0), bundle)).to.equal(0);
    }
    expect(messages[3]?.messageId).to.equal(transactionId);
  });

  it('go on behind any of them, in pieces of bounded size', async () => {
    const { builder, run } = await newLog(2);
    const big = [];
    for (let made = 0; made < 6; made += 1) {
      big.push(await builder.message({ data: Buffer.alloc(700_000, 'x') }));
    }
    await one.store.append([runOf(run.onto, ...run.entries, ...big)]);
    const { reader } = one.raw;
    const pieces: number[][] = [];
    for await (const piece of reader.readMessages(builder.processId, undefined)) {
      pieces.push(piece.map(({ nonce }) => nonce));
    }
    expect(pieces.flat()).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(pieces.length).to.be.greaterThan(2);
    const after = { epoch: 0, nonce: 3, rank: 0 };
    const rest = await collect(reader.readMessages(builder.processId, after));
    expect(rest.map(({ nonce }) => nonce)).to.deep.equal([4, 5, 6, 7, 8]);
  });

  it('tell all processes once, in an order to go on in, and count them', async () => {
    const logs = await Promise.all([
      newLog(0),
      newLog(1),
      newLog(2),
      newLog(0, { withAssignment: false }),
    ]);
    await one.store.append(logs.map(({ run }) => run));
    const { reader } = one.raw;
    const all = await collect(reader.readProcesses(undefined));
    expect(all.map(({ processId }) => processId)).to.have.members(
      logs.map(({ builder }) => builder.processId),
    );
    expect(await reader.countProcesses()).to.equal(4);
    const rest = await collect(reader.readProcesses(all[1]?.processId));
    expect(rest).to.deep.equal(all.slice(2));
  });

  it('tell which uploads are outstanding', async () => {
    const { builder, entries, run } = await newLog(1);
    const foreign = await newLog(1);
    await one.store.append([run, foreign.run]);
    const outstanding = await one.raw.reader.readOutstanding(builder.processId);
    expect([...outstanding]).to.have.deep.members(entries.map(({ messageId }) => [messageId, 3]));
    expect(await one.raw.reader.countOutstanding()).to.deep.equal({ pending: 4, parked: 0 });
  });

  it('taken over, are the same rows, answer the same reads and go on', async () => {
    const { builder, run } = await newLog(3);
    const assign = await builder.assign(randomId(), ['a']);
    await one.store.append([runOf(run.onto, ...run.entries, assign)]);
    const rows = await rowsOf(one, builder.processId);
    await other.raw.writer.writeRows(rows.process, rows.messages.slice(0, 2));
    await other.raw.writer.writeRows(rows.process, rows.messages.slice(1));
    expect(await rowsOf(other, builder.processId)).to.deep.equal(rows);
    const query = { processId: builder.processId, to: undefined, limit: 10, showAnchor: false };
    for (const by of ['nonce', 'timestamp'] as const) {
      const range = { ...query, by, from: undefined };
      expect(await collect(other.reader.readRange(range))).to.deep.equal(
        await collect(one.reader.readRange(range)),
      );
    }
    for (const id of rows.messages.flatMap(({ messageId, assignmentId }) => [
      messageId,
      assignmentId,
    ])) {
      const found = await other.reader.findEntry(id as Id, undefined);
      expect(found).to.deep.equal(await one.reader.findEntry(id as Id, undefined));
    }
    expect(await other.store.readHeads([builder.processId])).to.deep.equal([assign.head]);
    const next = await builder.message();
    const [outcome] = await other.store.append([runOf(assign.head, next)]);
    expect(outcome?.status).to.equal('appended');
  });

  it('taken over in many calls at once, are all there', async () => {
    const { builder, run } = await newLog(8);
    await one.store.append([run]);
    const { process, messages } = await rowsOf(one, builder.processId);
    await Promise.all(messages.map((message) => other.raw.writer.writeRows(process, [message])));
    expect((await rowsOf(other, builder.processId)).messages).to.deep.equal(messages);
    expect(await other.store.readHeads([builder.processId])).to.deep.equal([builder.head]);
  });

  it('keep entries with one place apart, and take them a second time without a change', async () => {
    const { builder, run } = await newLog(2);
    const { head } = builder;
    const first = await builder.message();
    builder.head = head;
    const second = await builder.message();
    await one.store.append([run]);
    const { process, messages } = await rowsOf(one, builder.processId);
    const fork = [first, second].map((entry, index): StoredMessage => {
      const { epoch, nonce, timestamp, hashChain = '' } = entry.head;
      return {
        processId: builder.processId,
        messageId: entry.messageId,
        assignmentId: entry.assignment?.id,
        epoch,
        nonce,
        timestamp,
        hashChain,
        rank: 10 + index,
        bundle: entry.bundle,
        json: undefined,
      };
    });
    for (let time = 0; time < 2; time += 1) {
      await other.raw.writer.writeRows(process, [...messages, ...fork]);
      const stored = await rowsOf(other, builder.processId);
      expect(stored.messages.map(({ nonce, rank }) => [nonce, rank])).to.deep.equal([
        [1, 0],
        [2, 0],
        [3, 0],
        [3, 1],
      ]);
      expect(stored.messages.map(({ messageId }) => messageId).slice(2)).to.deep.equal([
        first.messageId,
        second.messageId,
      ]);
    }
  });

  it('are refused whole when another entry has the place of one', async () => {
    const { builder, run } = await newLog(1);
    await one.store.append([run]);
    const fork = new LogBuilder();
    Object.assign(fork, { process: builder.process, processId: builder.processId });
    fork.head = run.entries[0]?.head;
    const { process, messages } = await rowsOf(one, builder.processId);
    await other.store.append([
      { ...run, entries: [...run.entries.slice(0, 1), await fork.message()] },
    ]);
    const before = await rowsOf(other, builder.processId);
    expect(await codeOf(other.raw.writer.writeRows(process, messages))).to.equal(
      'refused-by-store',
    );
    expect(await rowsOf(other, builder.processId)).to.deep.equal(before);
    const changed = { ...process, bundle: (await newLog(0)).entries[0]?.bundle ?? process.bundle };
    expect(await codeOf(other.raw.writer.writeRows(changed, []))).to.equal('refused-by-store');
  });
});
