import { expect } from 'chai';
import {
  Committer,
  type CommitListener,
  type Gathering,
} from '../../src/lib/scheduler/committer.js';
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

function listenerOf(
  entries: readonly NewEntry[],
  inLine = 0,
  isContended = false,
): CommitListener & { inLine: number; settledRuns: Settled[] } {
  const settledRuns: Settled[] = [];
  const processId = entries[0]?.processId;
  if (processId === undefined) throw new Error('a listener needs entries');
  return {
    processId,
    inLine,
    isContended,
    settledRuns,
    settled: (outcome, run, later) =>
      void settledRuns.push({ outcome, entries: run.length, later: later.length }),
  };
}

const turns = async (count = 5): Promise<void> => {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** Ends when it is told that the time is over, or that there is enough. */
class ManualPause {
  readonly waits: { readonly ms: number; readonly end: () => void }[] = [];
  under = 0;

  readonly pause: Gathering['pause'] = async (ms, signal) => {
    this.under += 1;
    await new Promise<void>((end) => {
      this.waits.push({ ms, end });
      signal.addEventListener('abort', () => end());
    });
    this.under -= 1;
  };
}

/** Nobody stands in line for a signature. */
const NO_LINE: Gathering = {
  waitingToSign: () => 0,
  entriesEnough: 3,
  waitMaxMs: 40,
  pause: () => Promise.reject(new Error('without a line nothing waits')),
};

const APPENDED: RunOutcome = { status: 'appended', outboxKeys: [] };

function committerOn(
  store: SlowStore,
  limits: { entriesMax?: number; bytesMax?: number; gathering?: Partial<Gathering> } = {},
): Committer {
  return new Committer({
    store,
    entriesMax: limits.entriesMax ?? 100,
    bytesMax: limits.bytesMax ?? 1 << 20,
    queueMax: 4,
    gathering: { ...NO_LINE, ...limits.gathering },
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
      gathering: NO_LINE,
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

  describe('while jobs stand in line for a signature', () => {
    it('gathers entries until there are enough', async () => {
      const store = new SlowStore();
      const { pause, waits } = new ManualPause();
      const committer = committerOn(store, { gathering: { pause, entriesEnough: 3 } });
      const entries = await entriesOf(3);
      const listener = listenerOf(entries, 9);
      addAll(committer, listener, entries.slice(0, 2));
      await turns();
      expect(waits.map(({ ms }) => ms)).to.deep.equal([40]);
      expect(store.batches).to.have.length(0);
      committer.add(listener, entries[2]!, entries[1]?.head);
      await turns();
      expect(store.batches[0]?.runs.map((run) => run.entries.length)).to.deep.equal([3]);
    });

    it('waits for no more than its time', async () => {
      const store = new SlowStore();
      const { pause, waits } = new ManualPause();
      const committer = committerOn(store, { gathering: { pause, waitingToSign: () => 7 } });
      const entries = await entriesOf(1);
      addAll(committer, listenerOf(entries), entries);
      await turns();
      expect(store.batches).to.have.length(0);
      waits[0]?.end();
      await turns();
      expect(store.batches).to.have.length(1);
    });

    it('waits no longer when no more stand in line than are gathered', async () => {
      const store = new SlowStore();
      const pauses = new ManualPause();
      let waiting = 2;
      const gathering = { pause: pauses.pause, waitingToSign: () => waiting };
      const committer = committerOn(store, { gathering });
      const entries = await entriesOf(2);
      const listener = listenerOf(entries, 1);
      addAll(committer, listener, entries.slice(0, 1));
      await turns();
      expect(pauses.under).to.equal(1);
      waiting = 1;
      committer.add(listener, entries[1]!, entries[0]?.head);
      await turns();
      expect(pauses.under).to.equal(0);
      expect(store.batches[0]?.runs.map((run) => run.entries.length)).to.deep.equal([2]);
    });

    it('gathers for the next transaction what was signed while one ran', async () => {
      const store = new SlowStore();
      const { pause, waits } = new ManualPause();
      const committer = committerOn(store, { gathering: { pause } });
      const entries = await entriesOf(3);
      const listener = listenerOf(entries);
      addAll(committer, listener, entries.slice(0, 1));
      await turns();
      listener.inLine = 5;
      committer.add(listener, entries[1]!, entries[0]?.head);
      store.batches[0]?.answer([APPENDED]);
      await turns();
      expect([store.batches.length, waits.length]).to.deep.equal([1, 1]);
      listener.inLine = 0;
      committer.add(listener, entries[2]!, entries[1]?.head);
      await turns();
      expect(store.batches[1]?.runs.map((run) => run.entries.length)).to.deep.equal([2]);
    });

    it('counts all who stand in line, not only those behind the last entry', async () => {
      const store = new SlowStore();
      const { pause, waits } = new ManualPause();
      const committer = committerOn(store, { gathering: { pause } });
      const a = await entriesOf(1);
      const b = await entriesOf(1);
      addAll(committer, listenerOf(a, 9), a);
      addAll(committer, listenerOf(b), b);
      await turns();
      expect([store.batches.length, waits.length]).to.deep.equal([0, 1]);
    });

    it('waits neither with bytes enough for a transaction nor behind a full one', async () => {
      const store = new SlowStore();
      const committer = committerOn(store, { bytesMax: 10, gathering: { entriesEnough: 9 } });
      const entries = await entriesOf(3);
      addAll(committer, listenerOf(entries, 9), entries);
      for (let batch = 0; batch < 3; batch += 1) {
        await turns();
        expect(store.batches).to.have.length(batch + 1);
        store.batches[batch]?.answer([APPENDED]);
      }
    });

    it('does not wait while another server takes the places of a process', async () => {
      const store = new SlowStore();
      const committer = committerOn(store);
      const entries = await entriesOf(1);
      addAll(committer, listenerOf(entries, 9, true), entries);
      await turns();
      expect(store.batches).to.have.length(1);
    });
  });
});
