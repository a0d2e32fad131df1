import { expect } from 'chai';
import type { Id } from '../../src/lib/protocol/ids.js';
import { cacheLogReader } from '../../src/lib/scheduler/cached-log-reader.js';
import type { LogEntry, LogProcess } from '../../src/lib/scheduler/ports.js';
import { idOf, MemoryLog } from '../support/memory-store.js';

const LIMITS = { bytesMax: 1 << 20, entryBytesMax: 1 << 16 };

/** A log in memory that counts what it is asked for. */
class CountingLog extends MemoryLog {
  processesRead = 0;
  entriesRead = 0;

  override findProcess(processId: Id): Promise<LogProcess | undefined> {
    this.processesRead += 1;
    return super.findProcess(processId);
  }

  override findLatest(processId: Id): Promise<LogEntry | undefined> {
    this.entriesRead += 1;
    return super.findLatest(processId);
  }

  override findHeadPlace(processId: Id): Promise<LogEntry | undefined> {
    return super.findLatest(processId);
  }
}

describe('the memory in front of the log', () => {
  it('keeps processes that are there, but not their anchors', async () => {
    const log = new CountingLog();
    const reader = cacheLogReader(log, LIMITS);
    const unknown = idOf('unknown');
    for (let i = 0; i < 2; i += 1) expect(await reader.findProcess(unknown)).to.equal(undefined);
    expect(log.processesRead, 'what is not there may come').to.equal(2);
    const processId = log.addProcess('p', 1000);
    const stored = log.processes.get(processId);
    for (let i = 0; i < 3; i += 1) {
      expect(await reader.findProcess(processId)).to.deep.equal(stored);
    }
    expect(log.processesRead).to.equal(3);
    await reader.findProcess(processId, { showAnchor: true });
    expect(log.processesRead).to.equal(4);
  });

  it('keeps the newest entry while the log ends there', async () => {
    const log = new CountingLog();
    const processId = log.addProcess('p', 1000);
    log.addEntry(processId, 'one', { nonce: 1 });
    const reader = cacheLogReader(log, LIMITS);
    for (let i = 0; i < 3; i += 1) {
      expect((await reader.findLatest(processId))?.nonce).to.equal(1);
    }
    expect(log.entriesRead).to.equal(1);
    log.addEntry(processId, 'two', { nonce: 2 });
    expect((await reader.findLatest(processId))?.nonce).to.equal(2);
    log.addEntry(processId, 'later', { nonce: 2, epoch: 1 });
    expect((await reader.findLatest(processId))?.epoch).to.equal(1);
  });

  it('leaves large ones to the store', async () => {
    const log = new CountingLog();
    const processId = log.addProcess('p', 1000);
    log.addEntry(processId, 'one', { nonce: 1, dataBytes: 2000 });
    const reader = cacheLogReader(log, { ...LIMITS, entryBytesMax: 1500 });
    for (let i = 0; i < 2; i += 1) await reader.findLatest(processId);
    expect(log.entriesRead).to.equal(2);
  });
});
