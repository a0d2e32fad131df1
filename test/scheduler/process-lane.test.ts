import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import type { CommitListener } from '../../src/lib/scheduler/committer.js';
import type { NewEntry } from '../../src/lib/scheduler/ports.js';
import { ProcessLane } from '../../src/lib/scheduler/process-lane.js';
import {
  faultOfLog,
  laneContext,
  openLaneHarness,
  seeded,
  unsignedItem,
} from '../support/lane-harness.js';
import { MemoryScheduleStore, type Fault } from '../support/memory-schedule-store.js';

async function untilSigned(added: readonly unknown[], count: number): Promise<void> {
  while (added.length < count) await new Promise((resolve) => setImmediate(resolve));
}

describe('the lane of a process', () => {
  it('gives the process nonce 0 and its messages the nonces after it, chained', async () => {
    const store = new MemoryScheduleStore();
    const { spawn, post } = openLaneHarness({ store });
    const process = unsignedItem();
    const first = await spawn(process);
    const second = await post(process.id, unsignedItem(process.id));
    expect([first.nonce, second.nonce]).to.deep.equal([0, 1]);
    expect(first.id).to.equal(process.id);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('takes messages that arrive while their process is being stored', async () => {
    const store = new MemoryScheduleStore();
    const { spawn, post } = openLaneHarness({ store });
    const process = unsignedItem();
    const spawned = spawn(process);
    const posted = await Promise.all(
      [1, 2, 3].map(() => post(process.id, unsignedItem(process.id))),
    );
    await spawned;
    expect(posted.map(({ nonce }) => nonce)).to.deep.equal([1, 2, 3]);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('refuses a message for a process that is not known', async () => {
    const { post } = openLaneHarness({ store: new MemoryScheduleStore() });
    const unknown = unsignedItem().id;
    expect(await codeOf(post(unknown, unsignedItem(unknown)))).to.equal('unknown-process');
  });

  it('signs the next message without waiting for the commit of the one before', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    store.delay = () => held;
    const posted = Array.from({ length: 10 }, () =>
      harness.post(process.id, unsignedItem(process.id)),
    );
    while (harness.signatures() < 11 || harness.signing().now > 0) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.logs.get(process.id)).to.have.length(1);
    release();
    const places = await Promise.all(posted);
    expect(places.map(({ nonce }) => nonce)).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    // The spawn, what was signed first, and everything that was signed while that was written.
    expect(store.appends).to.equal(3);
  });

  it('signs one message of a process at a time, and no more in all than there are places', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store, signaturesAtOnce: 2 });
    const processes = Array.from({ length: 6 }, () => unsignedItem());
    await Promise.all(processes.map((process) => harness.spawn(process)));
    await Promise.all(
      processes.flatMap(({ id }) => [1, 2, 3, 4].map(() => harness.post(id, unsignedItem(id)))),
    );
    expect(harness.signing().most).to.equal(2);
    for (const { id } of processes) expect(faultOfLog(store, id)).to.equal(undefined);
  });

  it('lets timestamps rise when the clock stands still, falls, and after a restart', async () => {
    const store = new MemoryScheduleStore();
    const times = [1000, 1000, 1000, 400, 2000];
    const now = (): number => times.shift() ?? 500;
    const process = unsignedItem();
    const before = openLaneHarness({ store, now });
    await before.spawn(process);
    for (let i = 0; i < 4; i += 1) await before.post(process.id, unsignedItem(process.id));
    await openLaneHarness({ store, now }).post(process.id, unsignedItem(process.id));
    const stamps = store.logs.get(process.id)?.map(({ head }) => head.timestamp);
    expect(stamps).to.deep.equal([1000, 1001, 1002, 1003, 2000, 2001]);
  });

  it('finds an entry whose commit lost its answer instead of signing it again', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    const faults: Fault[] = ['throw-after'];
    store.nextFault = () => faults.shift() ?? 'none';
    const item = unsignedItem(process.id);
    const place = await harness.post(process.id, item);
    expect(place).to.include({ id: item.id, repeated: true });
    expect(harness.signatures()).to.equal(2);
    expect(store.logs.get(process.id)).to.have.length(2);
  });

  it('finds a process whose commit lost its answer', async () => {
    const store = new MemoryScheduleStore();
    const faults: Fault[] = ['unknown-after'];
    store.nextFault = () => faults.shift() ?? 'none';
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    const [spawned, posted] = await Promise.all([
      harness.spawn(process),
      harness.post(process.id, unsignedItem(process.id)),
    ]);
    expect(spawned.id).to.equal(process.id);
    expect(posted.nonce).to.equal(1);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('signs again, on the head in storage, what did not land', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    const faults: Fault[] = ['unknown-before', 'throw-before'];
    store.nextFault = () => faults.shift() ?? 'none';
    const items = Array.from({ length: 5 }, () => unsignedItem(process.id));
    const places = await Promise.all(items.map((item) => harness.post(process.id, item)));
    expect(places.map(({ nonce }) => nonce)).to.deep.equal([1, 2, 3, 4, 5]);
    const stored = store.logs.get(process.id)?.slice(1);
    expect(stored?.map(({ messageId }) => messageId)).to.deep.equal(items.map(({ id }) => id));
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('continues behind what another server wrote in between', async () => {
    const store = new MemoryScheduleStore();
    const ours = openLaneHarness({ store });
    const other = new MemoryScheduleStore();
    const process = unsignedItem();
    await ours.spawn(process);
    const [first] = store.logs.get(process.id) ?? [];
    if (first !== undefined) other.write(first);
    await openLaneHarness({ store: other }).post(process.id, unsignedItem(process.id));
    const theirs = other.logs.get(process.id)?.[1];
    store.onAppend = () => {
      store.onAppend = () => undefined;
      if (theirs !== undefined) store.write(theirs);
    };
    const places = await Promise.all(
      [1, 2, 3].map(() => ours.post(process.id, unsignedItem(process.id))),
    );
    expect(places.map(({ nonce }) => nonce)).to.deep.equal([2, 3, 4]);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('is contended for a second after its head had moved', async () => {
    let now = 0;
    const added: { readonly listener: CommitListener; readonly entry: NewEntry }[] = [];
    const process = unsignedItem();
    const lane = new ProcessLane(process.id, {
      head: undefined,
      onIdle: () => undefined,
      context: {
        ...laneContext(new MemoryScheduleStore()),
        monotonicMs: () => now,
        committerOf: () => ({
          room: () => Promise.resolve(),
          add: (listener, entry) => void added.push({ listener, entry }),
        }),
      },
    });
    const placed = lane.enter({
      kind: 'process',
      processId: process.id,
      item: process,
      withAssignment: true,
      identity: { kind: 'process', id: process.id },
    });
    await untilSigned(added, 1);
    expect(lane.isContended).to.equal(false);
    lane.settled({ status: 'moved' }, [added[0]!.entry], []);
    expect(lane.isContended).to.equal(true);
    await untilSigned(added, 2);
    now = 999;
    lane.settled({ status: 'appended', outboxKeys: ['1'] }, [added[1]!.entry], []);
    await placed;
    expect(lane.isContended).to.equal(true);
    now = 1000;
    expect(lane.isContended).to.equal(false);
  });

  it('returns the receipt of the other server when that stored the same message', async () => {
    const store = new MemoryScheduleStore();
    const ours = openLaneHarness({ store });
    const process = unsignedItem();
    await ours.spawn(process);
    const item = unsignedItem(process.id);
    const other = new MemoryScheduleStore();
    const [first] = store.logs.get(process.id) ?? [];
    if (first !== undefined) other.write(first);
    const theirs = await openLaneHarness({ store: other }).post(process.id, item);
    store.onAppend = () => {
      store.onAppend = () => undefined;
      const entry = other.logs.get(process.id)?.[1];
      if (entry !== undefined) store.write(entry);
    };
    const place = await ours.post(process.id, item);
    expect(place).to.deep.equal({ ...theirs, nonce: undefined, repeated: true });
    expect(store.logs.get(process.id)).to.have.length(2);
  });

  it('tells equal assigns apart when each is to have its own place, also after an unknown outcome', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    const faults: Fault[] = ['unknown-after', 'unknown-before'];
    store.nextFault = () => faults.shift() ?? 'none';
    const transactionId = unsignedItem().id;
    const places = await Promise.all(
      Array.from({ length: 6 }, () =>
        harness.lanes.enter({
          kind: 'assigned-transaction',
          processId: process.id,
          transactionId,
          exclude: [],
          identity: {
            kind: 'assign',
            processId: process.id,
            transactionId,
            exclude: [],
            since: 0,
            attempts: [],
          },
        }),
      ),
    );
    expect(new Set(places.map(({ id }) => id)).size).to.equal(6);
    expect(store.logs.get(process.id)?.map(({ head }) => head.nonce)).to.deep.equal([
      0, 1, 2, 3, 4, 5, 6,
    ]);
  });

  it('refuses the one entry that the store refuses, and gives its successors their places', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    const items = Array.from({ length: 4 }, () => unsignedItem(process.id));
    const poison = items[1]?.id;
    store.nextFault = () => ({ refuse: (entry) => entry.messageId === poison });
    const settled = await Promise.allSettled(items.map((item) => harness.post(process.id, item)));
    expect(settled.map(({ status }) => status)).to.deep.equal([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(store.logs.get(process.id)).to.have.length(4);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('refuses one job alone whose earlier entry cannot be read', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    const items = [1, 2, 3].map(() => unsignedItem(process.id));
    const faults: Fault[] = ['unknown-before'];
    store.nextFault = () => faults.shift() ?? 'none';
    const find = store.findReceipts.bind(store);
    store.findReceipts = (queries) =>
      queries.some((query) => query.kind === 'message' && query.id === items[0]?.id)
        ? Promise.reject(new SuError('invariant', 'a row is damaged'))
        : find(queries);
    const placed = await Promise.allSettled(items.map((item) => harness.post(process.id, item)));
    expect(placed.map(({ status }) => status)).to.deep.equal([
      'rejected',
      'fulfilled',
      'fulfilled',
    ]);
    expect(faultOfLog(store, process.id)).to.equal(undefined);
  });

  it('refuses everything in line while the store is away, and recovers', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store });
    const process = unsignedItem();
    await harness.spawn(process);
    store.away = true;
    const codes = await Promise.all(
      [1, 2, 3].map(() => codeOf(harness.post(process.id, unsignedItem(process.id)))),
    );
    expect(codes).to.deep.equal(['store-unavailable', 'store-unavailable', 'store-unavailable']);
    store.away = false;
    expect((await harness.post(process.id, unsignedItem(process.id))).nonce).to.equal(1);
    expect(harness.lanes.depth()).to.equal(0);
    expect(harness.lanes.count()).to.equal(0);
  });

  it('gives up a message that loses its place again and again, after a bounded number of signatures', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store, attemptsMax: 3 });
    const process = unsignedItem();
    await harness.spawn(process);
    store.nextFault = () => 'unknown-before';
    expect(await codeOf(harness.post(process.id, unsignedItem(process.id)))).to.equal(
      'process-busy',
    );
    expect(harness.signatures()).to.equal(4);
  });

  it('refuses what exceeds the length of its line', async () => {
    const store = new MemoryScheduleStore();
    const harness = openLaneHarness({ store, lineMax: 3 });
    const process = unsignedItem();
    await harness.spawn(process);
    const settled = await Promise.allSettled(
      [1, 2, 3, 4].map(() => harness.post(process.id, unsignedItem(process.id))),
    );
    expect(settled.map(({ status }) => status)).to.deep.equal([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
    ]);
  });

  for (const [limit, code] of [
    ['lineMax', 'process-busy'],
    ['jobsMax', 'scheduler-busy'],
  ] as const) {
    it(`keeps places of ${limit} for messages when assigns flood it`, async () => {
      const harness = openLaneHarness({ store: new MemoryScheduleStore(), [limit]: 5 });
      const { id } = await harness.spawn(unsignedItem());
      const assigns = [1, 2, 3, 4].map(() => codeOf(harness.assign(id, unsignedItem().id)));
      const messages = [1, 2, 3].map(() => codeOf(harness.post(id, unsignedItem(id))));
      expect(await Promise.all(assigns)).to.deep.equal(['no error', 'no error', 'no error', code]);
      expect(await Promise.all(messages)).to.deep.equal(['no error', 'no error', code]);
      expect(await codeOf(harness.assign(id, unsignedItem().id))).to.equal('no error');
    });
  }

  for (const seed of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']) {
    it(`keeps every chain whole through random faults (seed ${seed})`, async () => {
      const random = seeded(seed);
      const store = new MemoryScheduleStore();
      const kinds: readonly Fault[] = [
        'throw-before',
        'throw-after',
        'unknown-before',
        'unknown-after',
      ];
      store.nextFault = () =>
        random() < 0.4 ? (kinds[Math.floor(random() * kinds.length)] ?? 'none') : 'none';
      store.delay = async () => {
        for (let i = random() * 10; i > 0; i -= 1)
          await new Promise((resolve) => setImmediate(resolve));
      };
      // Two servers on one store: each is the other's lost race.
      const servers = [openLaneHarness({ store }), openLaneHarness({ store })] as const;
      const processes = Array.from({ length: 4 }, () => unsignedItem());
      await Promise.all(processes.map((process) => servers[0].spawn(process)));
      const acknowledged: string[] = [];
      await Promise.all(
        Array.from({ length: 120 }, async () => {
          const { id } = processes[Math.floor(random() * processes.length)] ?? unsignedItem();
          const item = unsignedItem(id);
          for (let i = random() * 60; i > 0; i -= 1)
            await new Promise((resolve) => setImmediate(resolve));
          const server = servers[random() < 0.5 ? 0 : 1];
          const place = await server.post(id, item);
          acknowledged.push(place.id);
        }),
      );
      const stored = new Set<string>();
      for (const { id } of processes) {
        expect(faultOfLog(store, id)).to.equal(undefined);
        for (const { messageId } of store.logs.get(id) ?? []) stored.add(messageId);
      }
      expect(acknowledged).to.have.length(120);
      expect(acknowledged.filter((id) => !stored.has(id))).to.deep.equal([]);
      expect(stored.size).to.equal(124);
    });
  }
});

async function codeOf(outcome: Promise<unknown>): Promise<string> {
  try {
    await outcome;
    return 'no error';
  } catch (error) {
    return error instanceof SuError ? error.code : String(error);
  }
}
