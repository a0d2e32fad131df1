import { expect } from 'chai';
import { Committer, type CommitListener } from '../../src/lib/scheduler/committer.js';
import type { NewEntry, Run, RunOutcome } from '../../src/lib/scheduler/ports.js';
import { MemoryScheduleStore } from '../support/memory-schedule-store.js';
import { openLaneHarness, unsignedItem } from '../support/lane-harness.js';

/** Real entries of one process, made by a lane. */
async function entriesOf(count: number): Promise<readonly NewEntry[]> {
  const store = new MemoryScheduleStore();
  const harness = openLaneHarness({ store });
  const process = unsignedItem();
  await harness.spawn(process);
  for (let i = 1; i < count; i += 1) await harness.post(process.id, unsignedItem(process.id));
  return store.logs.get(process.id) ?? [];
}

/** Takes batches apart and answers each when told. */
class SlowStore {
  readonly batches: { runs: readonly Run[]; answer: (outcomes: readonly RunOutcome[]) => void }[] =
    [];

  append(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    return new Promise((answer) => this.batches.push({ runs, answer }));
  }
}

interface Settled {
  readonly outcome: RunOutcome;
  readonly entries: number;
  readonly later: number;
}

function listenerOf(entries: readonly NewEntry[]): CommitListener & { settledRuns: Settled[] } {
  const settledRuns: Settled[] = [];
  const processId = entries[0]?.processId;
  if (processId === undefined) throw new Error('a listener needs entries');
  return {
    processId,
    settledRuns,
    settled: (outcome, run, later) =>
      void settledRuns.push({ outcome, entries: run.length, later: later.length }),
  };
}

const turns = async (count = 5): Promise<void> => {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

const APPENDED: RunOutcome = { status: 'appended', outboxKeys: [] };

function committerOn(
  store: SlowStore,
  limits: { entriesMax?: number; bytesMax?: number } = {},
): Committer {
  return new Committer({
    store,
    entriesMax: limits.entriesMax ?? 100,
    bytesMax: limits.bytesMax ?? 1 << 20,
    queueMax: 4,
    monotonicMs: () => performance.now(),
  });
}

function addAll(
  committer: Committer,
  listener: CommitListener,
  entries: readonly NewEntry[],
): void {
  entries.forEach((entry, index) => committer.add(listener, entry, entries[index - 1]?.head));
}

describe('the committer', () => {
  it('puts what was signed while a transaction ran into the next one, as one run a process', async () => {
    const store = new SlowStore();
    const committer = committerOn(store);
    const a = await entriesOf(4);
    const b = await entriesOf(2);
    addAll(committer, listenerOf(a), a.slice(0, 1));
    await turns();
    const [head] = a;
    a.slice(1).forEach((entry, i) => committer.add(listenerOf(a), entry, a[i]?.head));
    addAll(committer, listenerOf(b), b);
    await turns();
    expect(store.batches).to.have.length(1);
    store.batches[0]?.answer([APPENDED]);
    await turns();
    const second = store.batches[1]?.runs ?? [];
    expect(second.map(({ entries }) => entries.length)).to.deep.equal([3, 2]);
    expect(second.map(({ onto }) => onto)).to.deep.equal([head?.head, undefined]);
    expect(committer.depth).to.equal(0);
  });

  it('hands back what was queued behind a run that was not written', async () => {
    const store = new SlowStore();
    const committer = committerOn(store);
    const entries = await entriesOf(3);
    const listener = listenerOf(entries);
    addAll(committer, listener, entries.slice(0, 1));
    await turns();
    entries.slice(1).forEach((entry, i) => committer.add(listener, entry, entries[i]?.head));
    store.batches[0]?.answer([{ status: 'moved' }]);
    await turns();
    expect(listener.settledRuns).to.deep.equal([
      { outcome: { status: 'moved' }, entries: 1, later: 2 },
    ]);
    expect(store.batches).to.have.length(1);
    expect(committer.depth).to.equal(0);
  });

  it('bounds a transaction in entries, and continues a run that it cut on the head it was cut at', async () => {
    const store = new SlowStore();
    const committer = committerOn(store, { entriesMax: 2 });
    const entries = await entriesOf(3);
    const listener = listenerOf(entries);
    addAll(committer, listener, entries);
    await turns();
    expect(store.batches[0]?.runs.map((run) => run.entries.length)).to.deep.equal([2]);
    store.batches[0]?.answer([APPENDED]);
    await turns();
    expect(store.batches[1]?.runs[0]?.onto).to.deep.equal(entries[1]?.head);
    expect(store.batches[1]?.runs[0]?.entries).to.have.length(1);
  });

  it('bounds a transaction in bytes and lets an entry that is larger go alone', async () => {
    const store = new SlowStore();
    const committer = committerOn(store, { bytesMax: 10 });
    const entries = await entriesOf(2);
    addAll(committer, listenerOf(entries), entries);
    await turns();
    expect(store.batches[0]?.runs.map((run) => run.entries.length)).to.deep.equal([1]);
  });

  it('lets lanes wait while its queue is full', async () => {
    const store = new SlowStore();
    const committer = committerOn(store);
    const entries = await entriesOf(6);
    const listener = listenerOf(entries);
    addAll(committer, listener, entries.slice(0, 1));
    await turns();
    entries.slice(1, 5).forEach((entry, i) => committer.add(listener, entry, entries[i]?.head));
    let hasRoom = false;
    const room = committer.room().then(() => (hasRoom = true));
    await turns();
    expect(hasRoom).to.equal(false);
    store.batches[0]?.answer([APPENDED]);
    await turns();
    store.batches[1]?.answer([APPENDED]);
    await room;
    expect(hasRoom).to.equal(true);
  });

  it('calls an outcome unknown when the store throws or leaves a run unanswered', async () => {
    const entries = await entriesOf(1);
    const listener = listenerOf(entries);
    const throwing = new Committer({
      store: { append: () => Promise.reject(new Error('broken')) },
      entriesMax: 1,
      bytesMax: 1,
      queueMax: 1,
      monotonicMs: () => 0,
    });
    addAll(throwing, listener, entries);
    const silent = new SlowStore();
    addAll(committerOn(silent), listener, entries);
    await turns();
    silent.batches[0]?.answer([]);
    await turns();
    expect(listener.settledRuns.map(({ outcome }) => outcome.status)).to.deep.equal([
      'unknown',
      'unknown',
    ]);
  });
});
