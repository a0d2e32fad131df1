import { expect } from 'chai';
import type { Head, NewEntry } from '../../../src/lib/scheduler/ports.js';
import { collect, useStore, type MakePlace, type StoreInUse } from './open-store.js';
import { LogBuilder, newLog, randomId, randomItem, runOf } from './log-builder.js';
import { describeContents, describeReceipts, receiptOf, statuses } from './receipts.js';

/** What ScheduleStore promises, whatever it is made of. */
export function describeScheduleStore(name: string, makePlace: MakePlace): void {
  describe(`ScheduleStore on ${name}`, () => {
    const opened = useStore(makePlace, 'shared');
    describeAppend(opened);
    describeRefusedRuns(opened);
    describeHeads(opened);
    describeReceipts(opened);
    describeContents(opened);
  });
}

function describeAppend(opened: StoreInUse): void {
  it('writes runs of many processes in one call and answers each with an outbox key per entry', async () => {
    const logs = await Promise.all([newLog(3), newLog(0), newLog(1, { withAssignment: false })]);
    const outcomes = await opened.current.store.append(logs.map(({ run }) => run));
    expect(statuses(outcomes)).to.deep.equal(['appended', 'appended', 'appended']);
    const keys = outcomes.flatMap((outcome) =>
      outcome.status === 'appended' ? outcome.outboxKeys : [],
    );
    expect(new Set(keys).size).to.equal(4 + 1 + 2);
    const heads = await opened.current.store.readHeads(
      logs.map(({ builder }) => builder.processId),
    );
    expect(heads).to.deep.equal(logs.map(({ builder }) => builder.head));
  });

  it('goes on from the head that a run left, run after run', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    for (let round = 0; round < 5; round += 1) {
      const onto = builder.head;
      const outcome = await opened.current.store.append([
        runOf(onto, ...(await builder.messages(2))),
      ]);
      expect(statuses(outcome)).to.deep.equal(['appended']);
    }
    const [head] = await opened.current.store.readHeads([builder.processId]);
    expect(head).to.deep.equal(builder.head);
    expect(head?.nonce).to.equal(10);
  });

  it('serialises two calls that are made at once', async () => {
    const { builder, run } = await newLog(1);
    const onto = builder.head;
    const second = runOf(onto, await builder.message());
    const third = await newLog(1);
    const answers = await Promise.all([
      opened.current.store.append([run]),
      opened.current.store.append([second, third.run]),
    ]);
    expect(answers.map(statuses)).to.deep.equal([['appended'], ['appended', 'appended']]);
  });

  it('lets exactly one of several runs win that continue the same head', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    const onto = builder.head;
    const rivals: NewEntry[] = [];
    for (let rival = 0; rival < 6; rival += 1) {
      builder.head = onto;
      rivals.push(await builder.message());
    }
    const outcomes = await Promise.all(
      rivals.map((entry) => opened.current.store.append([runOf(onto, entry)])),
    );
    expect(outcomes.flatMap(statuses).toSorted()).to.deep.equal([
      'appended',
      ...Array(5).fill('moved'),
    ]);
    const stored = await collect(
      opened.current.reader.readRange({
        processId: builder.processId,
        by: 'nonce',
        from: undefined,
        to: undefined,
        limit: 10,
        showAnchor: false,
      }),
    );
    expect(stored.map(({ nonce }) => nonce)).to.deep.equal([1]);
  });

  it('keeps what it wrote when it is closed and opened again', async () => {
    const { builder, run, entries } = await newLog(4);
    await opened.current.store.append([run]);
    await opened.reopen();
    const [head] = await opened.current.store.readHeads([builder.processId]);
    expect(head).to.deep.equal(builder.head);
    const onto = builder.head;
    const outcomes = await opened.current.store.append([runOf(onto, await builder.message())]);
    expect(statuses(outcomes)).to.deep.equal(['appended']);
    const receipts = await opened.current.store.findReceipts(
      entries.map(({ identity }) => identity),
    );
    expect(receipts).to.deep.equal(entries.map(receiptOf));
  });

  it('can be closed twice', async () => {
    await opened.current.close();
    await opened.current.close();
  });

  it('answers unknown or store-unavailable, and does not hang, once it is closed', async () => {
    const { builder, run } = await newLog(0);
    const { store } = opened.current;
    await opened.current.close();
    expect(statuses(await store.append([run]))).to.deep.equal(['unknown']);
    const error: unknown = await store.readHeads([builder.processId]).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.have.property('code', 'store-unavailable');
  });
}

function describeRefusedRuns(opened: StoreInUse): void {
  /** Asserts that nothing of these entries can be found. */
  async function expectAbsent(entries: readonly NewEntry[]): Promise<void> {
    const { store, reader, outbox } = opened.current;
    const receipts = await store.findReceipts(entries.map(({ identity }) => identity));
    expect(receipts).to.deep.equal(entries.map(() => undefined));
    for (const { messageId, assignment } of entries) {
      expect(await reader.findEntry(messageId, undefined)).to.equal(undefined);
      if (assignment !== undefined) {
        expect(await reader.findEntry(assignment.id, undefined)).to.equal(undefined);
      }
    }
    const listed = await outbox.list({ state: 'all', afterKey: undefined, limit: 1000 });
    const absent = new Set<string>(entries.map(({ messageId }) => messageId));
    expect(listed.filter(({ messageId }) => absent.has(messageId))).to.deep.equal([]);
  }

  it('answers moved and writes nothing of a run that continues an older head', async () => {
    const { builder, run } = await newLog(2);
    const old = run.entries[1]?.head;
    await opened.current.store.append([run]);
    const stored = builder.head;
    builder.head = old;
    const late = await builder.messages(2);
    expect(statuses(await opened.current.store.append([runOf(old, ...late)]))).to.deep.equal([
      'moved',
    ]);
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([stored]);
    await expectAbsent(late);
  });

  it('answers moved to a run on a head that is not stored yet, with the right nonce but another chain, or of an unknown process', async () => {
    const { builder, run } = await newLog(1);
    const ahead = builder.head;
    const tooEarly = await builder.messages(1);
    await opened.current.store.append([runOf(undefined, run.entries[0] as NewEntry)]);
    expect(statuses(await opened.current.store.append([runOf(ahead, ...tooEarly)]))).to.deep.equal([
      'moved',
    ]);
    const other: Head = { ...(run.entries[0] as NewEntry).head, assignmentId: randomId() };
    builder.head = other;
    const forked = await builder.messages(1);
    expect(statuses(await opened.current.store.append([runOf(other, ...forked)]))).to.deep.equal([
      'moved',
    ]);
    const stranger = new LogBuilder();
    await stranger.spawn();
    const onto = stranger.head;
    const orphan = await stranger.message();
    expect(statuses(await opened.current.store.append([runOf(onto, orphan)]))).to.deep.equal([
      'moved',
    ]);
    await expectAbsent([...tooEarly, ...forked, orphan]);
  });

  it('answers moved to a process that is stored already', async () => {
    const { builder, run } = await newLog(1);
    await opened.current.store.append([run]);
    const stored = builder.head;
    builder.head = undefined;
    const again = await builder.spawn();
    expect(statuses(await opened.current.store.append([runOf(undefined, again)]))).to.deep.equal([
      'moved',
    ]);
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([stored]);
  });

  it('answers moved, and writes nothing of the run, when one of its messages is stored already', async () => {
    const { builder, run, entries } = await newLog(1);
    await opened.current.store.append([run]);
    const onto = builder.head;
    const fresh = await builder.message();
    const repeated = await builder.messageOf((entries[1] as NewEntry).item as never);
    const outcome = await opened.current.store.append([runOf(onto, fresh, repeated)]);
    expect(statuses(outcome)).to.deep.equal(['moved']);
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([onto]);
    await expectAbsent([fresh]);
  });

  it('answers moved to a run that holds one message twice', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    const onto = builder.head;
    const item = randomItem({ target: builder.processId });
    const twice = [await builder.messageOf(item), await builder.messageOf(item)];
    expect(statuses(await opened.current.store.append([runOf(onto, ...twice)]))).to.deep.equal([
      'moved',
    ]);
    await expectAbsent(twice);
  });

  it('answers moved to an assign that was stored within its window, and appends one that was stored before it', async () => {
    const { builder, run } = await newLog(0);
    const transaction = randomId();
    await opened.current.store.append([run]);
    let onto = builder.head;
    const first = await builder.assign(transaction, ['a', 'b']);
    await opened.current.store.append([runOf(onto, first)]);
    onto = builder.head;
    const repeated = await builder.assign(transaction, ['a', 'b'], first.head.timestamp);
    expect(statuses(await opened.current.store.append([runOf(onto, repeated)]))).to.deep.equal([
      'moved',
    ]);
    builder.head = onto;
    const later = await builder.assign(transaction, ['a', 'b'], first.head.timestamp + 1);
    expect(statuses(await opened.current.store.append([runOf(onto, later)]))).to.deep.equal([
      'appended',
    ]);
  });

  it('does not let the lost race of one process cost another its run', async () => {
    const [lost, won, spawned] = [await newLog(1), await newLog(1), await newLog(2)];
    await opened.current.store.append([lost.run, won.run]);
    const stale = lost.entries[0]?.head;
    const onto = won.builder.head;
    lost.builder.head = stale;
    const outcomes = await opened.current.store.append([
      runOf(stale, await lost.builder.message()),
      runOf(onto, ...(await won.builder.messages(3))),
      spawned.run,
    ]);
    expect(statuses(outcomes)).to.deep.equal(['moved', 'appended', 'appended']);
    const heads = await opened.current.store.readHeads([
      lost.builder.processId,
      won.builder.processId,
      spawned.builder.processId,
    ]);
    expect(heads).to.deep.equal([lost.entries[1]?.head, won.builder.head, spawned.builder.head]);
  });
}

function describeHeads(opened: StoreInUse): void {
  it('reads heads in the order asked, undefined for processes that are not known', async () => {
    const [first, second] = [await newLog(2), await newLog(0)];
    await opened.current.store.append([first.run, second.run]);
    const heads = await opened.current.store.readHeads([
      second.builder.processId,
      randomId(),
      first.builder.processId,
      second.builder.processId,
    ]);
    expect(heads).to.deep.equal([
      second.builder.head,
      undefined,
      first.builder.head,
      second.builder.head,
    ]);
    expect(await opened.current.store.readHeads([])).to.deep.equal([]);
  });

  it('gives a process without an assignment the nonce -1 and neither assignment nor hash chain', async () => {
    const { builder, run } = await newLog(0, { withAssignment: false });
    await opened.current.store.append([run]);
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([
      {
        epoch: 0,
        nonce: -1,
        timestamp: run.entries[0]?.head.timestamp,
        blockHeight: 1_500_000,
        hashChain: undefined,
        assignmentId: undefined,
      },
    ]);
    const onto = builder.head;
    await opened.current.store.append([runOf(onto, await builder.message())]);
    const [head] = await opened.current.store.readHeads([builder.processId]);
    expect(head).to.deep.equal(builder.head);
    expect(head?.nonce).to.equal(0);
  });
}
