import { expect } from 'chai';
import { checksInPlace } from '../../src/lib/audit/check-entry.js';
import type { AuditedStore, AuditSource } from '../../src/lib/audit/ports.js';
import { sourceOfStore } from '../../src/lib/audit/store-source.js';
import { isSuError } from '../../src/lib/errors.js';
import type { RowPosition, StoredMessage } from '../../src/lib/migrator/ports.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { randomId } from '../support/item-factory.js';
import { auditOf, briefly, memoryCheckpoint } from './audited.js';
import { SignedLog } from './signed-log.js';

const PIECE_ROWS = 3;

/** Logs in memory as a store shows them, and what was read of it. */
function storeOf(logs: readonly SignedLog[]): AuditedStore & { readonly asked: number[] } {
  const sorted = logs.toSorted((one, other) => (one.processId < other.processId ? -1 : 1));
  const asked: number[] = [];
  return {
    asked,
    countProcesses: () => Promise.resolve(sorted.length),
    countOutstanding: () => Promise.resolve({ pending: 0, parked: 0 }),
    findProcess: (id) => Promise.resolve(sorted.find(({ processId }) => processId === id)?.process),
    readOutstanding: () => Promise.resolve(new Map()),
    async *readProcesses(afterId) {
      for (const { process } of sorted) {
        if (afterId === undefined || process.processId > afterId) yield [process];
      }
    },
    async *readMessages(processId, after) {
      const log = sorted.find((one) => one.processId === processId);
      const rest = (log?.messages ?? []).filter((row) => isBehind(row, after));
      for (let at = 0; at < rest.length; at += PIECE_ROWS) {
        asked.push(rest[at]?.nonce ?? 0);
        yield rest.slice(at, at + PIECE_ROWS);
      }
    },
  };
}

function isBehind(row: StoredMessage, after: RowPosition | undefined): boolean {
  if (after === undefined) return true;
  return row.nonce > after.nonce || (row.nonce === after.nonce && row.rank > after.rank);
}

async function logsWithHoles(): Promise<readonly SignedLog[]> {
  const logs = await Promise.all([1, 2, 3].map(() => SignedLog.begin()));
  for (const log of logs) {
    await log.append(10);
    log.messages.splice(6, 1);
  }
  return logs;
}

describe('an audit of many logs', () => {
  it('goes on behind every interruption, and finds in the end what one run finds', async function () {
    this.timeout(60_000);
    const logs = await logsWithHoles();
    const source: AuditSource = sourceOfStore(storeOf(logs), 'memory');
    const whole = await auditOf(source);
    const checkpoint = memoryCheckpoint();
    const seen: string[] = [];
    let runs = 0;
    for (let summary: unknown; summary === undefined; runs += 1) {
      const stop = new AbortController();
      const before = checkpoint.text;
      try {
        ({ summary } = await auditOf(source, {
          checkpoint,
          signal: stop.signal,
          onProgress: () => stop.abort(),
          report: async (finding) => {
            seen.push(`${finding.process} ${finding.code} ${finding.nonce}`);
          },
        }));
        expect(summary).to.deep.equal(whole.summary);
      } catch (error) {
        expect(isSuError(error, 'interrupted'), String(error)).to.equal(true);
        expect(checkpoint.text).to.not.equal(before);
      }
      expect(runs).to.be.lessThan(100);
    }
    expect(runs).to.be.greaterThan(3);
    expect(seen).to.have.members(logs.map(({ processId }) => `${processId} nonce-hole 7`));
    expect(checkpoint.text).to.equal(undefined);
  });

  it('refuses the checkpoint of another audit, and one that is none', async () => {
    const log = await SignedLog.begin();
    const source = sourceOfStore(storeOf([log]), 'memory');
    const stop = new AbortController();
    stop.abort();
    const checkpoint = memoryCheckpoint();
    await auditOf(source, { checkpoint, signal: stop.signal }).catch(() => undefined);
    expect(checkpoint.text).to.be.a('string');
    const others = [
      auditOf(sourceOfStore(storeOf([log]), 'another'), { checkpoint }),
      auditOf(source, { checkpoint, signatures: false }),
      auditOf(source, { checkpoint, processes: [log.processId] }),
      auditOf(source, {
        checkpoint: { ...checkpoint, read: () => Promise.resolve('{"format":1}') },
      }),
      auditOf(source, { checkpoint: { ...checkpoint, read: () => Promise.resolve('nonsense') } }),
    ];
    for (const outcome of await Promise.allSettled(others)) {
      expect(outcome.status).to.equal('rejected');
      const { reason } = outcome as PromiseRejectedResult;
      expect(isSuError(reason, 'invalid-config'), String(reason)).to.equal(true);
    }
  });

  it('passes on the failure of its source, and keeps its place', async () => {
    const logs = await logsWithHoles();
    const store = storeOf(logs);
    const failing: AuditedStore = {
      ...store,
      // eslint-disable-next-line require-yield
      async *readMessages() {
        throw new Error('the store is gone');
      },
    };
    const checkpoint = memoryCheckpoint();
    const error: unknown = await auditOf(sourceOfStore(failing, 'memory'), { checkpoint }).catch(
      (reason: unknown) => reason,
    );
    expect(error).to.have.property('message', 'the store is gone');
    expect(checkpoint.text).to.be.a('string');
    const { findings } = await auditOf(sourceOfStore(store, 'memory'), { checkpoint });
    expect(findings).to.have.length(3);
  });

  it('begins at a time, and reads few pieces before it', async function () {
    this.timeout(60_000);
    const log = await SignedLog.begin();
    await log.append(3);
    const fault = await log.message({ item: log.item(randomId()) });
    await log.append(250);
    const later = await log.message({ item: log.item(randomId()) });
    await log.append(2);
    const store = storeOf([log]);
    const source = sourceOfStore(store, 'memory');
    const since = log.messages[240]?.timestamp;
    const { findings, summary } = await auditOf(source, { since });
    expect(briefly(findings)).to.deep.equal([`message-target ${later.nonce}`]);
    expect(summary.entries).to.equal(log.messages.length - 240);
    expect(store.asked.length).to.be.lessThan(50);
    const all = await auditOf(source, { since: fault.timestamp });
    expect(briefly(all.findings)).to.deep.equal([
      `message-target 4`,
      `message-target ${later.nonce}`,
    ]);
    const none = await auditOf(source, { since: log.now + 1000 });
    expect(none.summary).to.include({ entries: 0, processes: 1 });
  });

  it('compares the first entry that counts with the one before it', async () => {
    const log = await SignedLog.begin();
    await log.append(3);
    const wrong = await log.message({ onto: { assignmentId: randomId() } });
    await log.append(1);
    const source = sourceOfStore(storeOf([log]), 'memory');
    const { findings } = await auditOf(source, { since: wrong.timestamp });
    expect(briefly(findings)).to.deep.equal(['hash-chain 4']);
  });

  it('verifies no signature when told so, and finds the rest', async () => {
    const log = await SignedLog.begin();
    await log.append(3);
    log.messages.splice(1, 1);
    const source = sourceOfStore(storeOf([log]), 'memory');
    const { findings, summary } = await auditOf(source, { signatures: false });
    expect(briefly(findings)).to.deep.equal(['nonce-hole 2']);
    expect(summary.signatures).to.equal(0);
  });

  it('names processes that are not there', async () => {
    const id: Id = randomId();
    const { findings } = await auditOf(sourceOfStore(storeOf([]), 'memory'), { processes: [id] });
    expect(findings).to.deep.equal([
      {
        code: 'process-unknown',
        severity: 'fault',
        process: id,
        expected: 'a process',
        found: 'none with this id',
        also: [],
      },
    ]);
  });

  it('has no more pieces in memory than it may, however many logs there are', async function () {
    this.timeout(60_000);
    const logs = await Promise.all(Array.from({ length: 6 }, () => SignedLog.begin()));
    for (const log of logs) await log.append(12);
    const checks = checksInPlace();
    let under = 0;
    let most = 0;
    const { summary } = await auditOf(sourceOfStore(storeOf(logs), 'memory'), {
      checks: {
        ...checks,
        parallel: 2,
        async check(processId, entries, options) {
          under += 1;
          most = Math.max(most, under);
          await new Promise((resolve) => setTimeout(resolve, 1));
          const checked = await checks.check(processId, entries, options);
          under -= 1;
          return checked;
        },
      },
    });
    expect(summary.entries).to.equal(6 * 13);
    expect(most).to.be.within(3, 5);
  });
});
