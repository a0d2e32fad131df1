import { expect } from 'chai';
import { isSuError, SuError } from '../../src/lib/errors.js';
import { readEntry } from '../../src/lib/scheduler/read-entry.js';
import { readLatest, readProcessRecord } from '../../src/lib/scheduler/read-process.js';
import { idOf, MemoryLog, nodeOf } from '../support/memory-store.js';

function makeLog(): MemoryLog {
  const log = new MemoryLog();
  const p1 = log.addProcess('p1', 1000);
  log.addProcess('p2');
  log.addEntry(p1, 'm1', { nonce: 1 });
  log.addEntry(p1, 'm2', { nonce: 2 });
  log.addEntry(p1, 'tx', { nonce: 3, isAssignedTransaction: true });
  return log;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (isSuError(error)) return error.code;
    throw error;
  }
  return 'none';
}

const find = async (id: string, processId?: string): Promise<string> => {
  const found = await readEntry(makeLog(), { id, processId, showAnchor: false });
  return found.kind === 'entry' ? Buffer.from(found.node).toString() : found.process.processId;
};

describe('scheduler/read-entry', () => {
  it('finds a process by its id, with or without naming it, and also when another one is named', async () => {
    expect(await find(idOf('p1'))).to.equal(idOf('p1'));
    expect(await find(idOf('p1'), idOf('p1'))).to.equal(idOf('p1'));
    expect(await find(idOf('p1'), idOf('p2'))).to.equal(idOf('p1'));
  });

  it('finds a message by its id, alone and within its process', async () => {
    expect(await find(idOf('m2'))).to.equal(nodeOf('m2').toString());
    expect(await find(idOf('m2'), idOf('p1'))).to.equal(nodeOf('m2').toString());
  });

  it('finds an entry by its assignment id', async () => {
    expect(await find(idOf('a-m1'))).to.equal(nodeOf('m1').toString());
    expect(await find(idOf('a-tx'), idOf('p1'))).to.equal(nodeOf('tx').toString());
  });

  it('does not find an assigned transaction by the transaction id', async () => {
    expect(await codeOf(find(idOf('tx')))).to.equal('unknown-entry');
  });

  for (const other of [idOf('p2'), idOf('unknown'), 'abc']) {
    it(`does not find a message under another process (${other.slice(0, 8)})`, async () => {
      expect(await codeOf(find(idOf('m1'), other))).to.equal('unknown-entry');
    });
  }

  it('takes a text that cannot be an id for unknown without asking the store', async () => {
    const log = makeLog();
    log.failure = new SuError('store-unavailable', 'must not be asked');
    for (const id of ['abc', '', 'x'.repeat(5000), 'vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv']) {
      const code = await codeOf(readEntry(log, { id, processId: undefined, showAnchor: false }));
      expect(code, id.slice(0, 10)).to.equal('unknown-entry');
    }
  });

  it('does not take trouble of the store for absence', async () => {
    const log = makeLog();
    log.failure = new SuError('store-unavailable', 'away');
    const query = { id: idOf('m1'), processId: undefined, showAnchor: false };
    expect(await codeOf(readEntry(log, query))).to.equal('store-unavailable');
  });
});

describe('scheduler/read-process', () => {
  it('reads the record of a process and refuses an unknown one', async () => {
    const record = await readProcessRecord(makeLog(), idOf('p2'));
    expect(JSON.parse(Buffer.from(record).toString())).to.deep.equal({ process_id: idOf('p2') });
    expect(await codeOf(readProcessRecord(makeLog(), idOf('m1')))).to.equal('unknown-process');
    expect(await codeOf(readProcessRecord(makeLog(), 'abc'))).to.equal('unknown-process');
  });

  it('answers the newest entry as the latest', async () => {
    const log = makeLog();
    log.addEntry(idOf('p1'), 'newest', { nonce: 4, timestamp: 1 });
    expect(Buffer.from(await readLatest(log, idOf('p1'))).equals(nodeOf('newest'))).to.equal(true);
  });

  it('answers the process itself as the latest while it has no messages', async () => {
    const log = new MemoryLog();
    log.addProcess('p', 1000);
    expect(Buffer.from(await readLatest(log, idOf('p'))).equals(nodeOf('p'))).to.equal(true);
  });

  it('has no latest for a process with neither messages nor assignment, nor for an unknown one', async () => {
    expect(await codeOf(readLatest(makeLog(), idOf('p2')))).to.equal('unknown-entry');
    expect(await codeOf(readLatest(makeLog(), idOf('nobody')))).to.equal('unknown-process');
    expect(await codeOf(readLatest(makeLog(), 'abc'))).to.equal('unknown-process');
  });
});
