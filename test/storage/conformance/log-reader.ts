import { expect } from 'chai';
import { toBase64Url } from '../../../src/lib/protocol/ids.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import type { LogEntry, NewEntry, RangeQuery } from '../../../src/lib/scheduler/ports.js';
import { collect, useStore, type MakePlace, type StoreInUse } from './open-store.js';
import { newLog, randomId, randomItem, runOf } from './log-builder.js';

/** What LogReader promises, whatever it is made of. */
export function describeLogReader(name: string, makePlace: MakePlace): void {
  describe(`LogReader on ${name}`, () => {
    const opened = useStore(makePlace, 'shared');
    describeRanges(opened);
    describeSizes(opened);
    describeSingleEntries(opened);
    describeProcesses(opened);
  });
}

interface Node {
  readonly message: { readonly id: string; readonly data: string | null } | null;
  readonly assignment: { readonly id: string; readonly anchor: string | null } | null;
}

const parse = (json: Uint8Array | undefined): Node =>
  JSON.parse(Buffer.from(json ?? []).toString('utf8')) as Node;

const assignmentIds = (entries: readonly LogEntry[]): (string | undefined)[] =>
  entries.map(({ node }) => parse(node).assignment?.id);

const expectedIds = (entries: readonly NewEntry[]): (string | undefined)[] =>
  entries.map(({ assignment }) => assignment?.id);

const all = (processId: Id): RangeQuery => ({
  processId,
  by: 'nonce',
  from: undefined,
  to: undefined,
  limit: 10_000,
  showAnchor: false,
});

function describeRanges(opened: StoreInUse): void {
  const read = (query: RangeQuery): Promise<LogEntry[]> =>
    collect(opened.current.reader.readRange(query));

  it('reads the messages and assigned transactions in order, never the process itself', async () => {
    const { builder, run, entries } = await newLog(3);
    const assigned = await builder.assign(randomId(), ['Data']);
    const last = await builder.message();
    await opened.current.store.append([runOf(undefined, ...run.entries, assigned, last)]);
    const stored = await read(all(builder.processId));
    const expected = [...entries.slice(1), assigned, last];
    expect(
      stored.map(({ epoch, nonce, timestamp }) => ({ epoch, nonce, timestamp })),
    ).to.deep.equal(
      expected.map(({ head: { epoch, nonce, timestamp } }) => ({ epoch, nonce, timestamp })),
    );
    expect(assignmentIds(stored)).to.deep.equal(expectedIds(expected));
    expect(stored.map(({ node }) => parse(node).message?.id)).to.deep.equal(
      expected.map(({ item }) => item?.id),
    );
    expect(parse(stored[3]?.node).message).to.equal(null);
  });

  it('begins at nonce 0 when the process has no assignment', async () => {
    const { builder, run } = await newLog(2, { withAssignment: false });
    await opened.current.store.append([run]);
    const nonces = (await read(all(builder.processId))).map(({ nonce }) => nonce);
    expect(nonces).to.deep.equal([0, 1]);
    const fromTheStart = await read({ ...all(builder.processId), from: -1 });
    expect(fromTheStart.map(({ nonce }) => nonce)).to.deep.equal([0, 1]);
  });

  it('takes nonces after `from`, up to and with `to`, at most `limit`', async () => {
    const { builder, run } = await newLog(9);
    await opened.current.store.append([run]);
    const nonces = async (range: Partial<RangeQuery>): Promise<number[]> =>
      (await read({ ...all(builder.processId), ...range })).map(({ nonce }) => nonce);
    expect(await nonces({ from: 3, to: 6 })).to.deep.equal([4, 5, 6]);
    expect(await nonces({ from: 7 })).to.deep.equal([8, 9]);
    expect(await nonces({ to: 2 })).to.deep.equal([1, 2]);
    expect(await nonces({ limit: 3 })).to.deep.equal([1, 2, 3]);
    expect(await nonces({ from: 2, limit: 1 })).to.deep.equal([3]);
    expect(await nonces({ from: 0, to: 9, limit: 9 })).to.have.lengthOf(9);
    expect(await nonces({ from: 9 })).to.deep.equal([]);
    expect(await nonces({ from: 5, to: 5 })).to.deep.equal([]);
    expect(await nonces({ from: 6, to: 3 })).to.deep.equal([]);
    expect(await nonces({ to: -1 })).to.deep.equal([]);
    expect(await nonces({ from: -1, to: 1 })).to.deep.equal([1]);
    expect(await nonces({ from: 2 ** 52 })).to.deep.equal([]);
    expect(await nonces({ to: Number.MAX_SAFE_INTEGER, limit: 2 })).to.deep.equal([1, 2]);
  });

  it('takes timestamps after `from`, up to and with `to`, at most `limit`', async () => {
    const { builder, run, entries } = await newLog(9);
    await opened.current.store.append([run]);
    const at = (nonce: number): number => entries[nonce]?.head.timestamp ?? Number.NaN;
    const nonces = async (range: Partial<RangeQuery>): Promise<number[]> =>
      (await read({ ...all(builder.processId), by: 'timestamp', ...range })).map(
        ({ nonce }) => nonce,
      );
    expect(await nonces({})).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await nonces({ from: at(3), to: at(6) })).to.deep.equal([4, 5, 6]);
    expect(await nonces({ from: at(3) - 1, to: at(6) - 1 })).to.deep.equal([3, 4, 5]);
    expect(await nonces({ from: at(3) + 1, to: at(6) + 1 })).to.deep.equal([4, 5, 6]);
    expect(await nonces({ from: at(7) })).to.deep.equal([8, 9]);
    expect(await nonces({ to: at(2) })).to.deep.equal([1, 2]);
    expect(await nonces({ from: at(1), limit: 2 })).to.deep.equal([2, 3]);
    expect(await nonces({ from: 0, limit: 1 })).to.deep.equal([1]);
    expect(await nonces({ from: -5, to: at(1) })).to.deep.equal([1]);
    expect(await nonces({ from: at(9) })).to.deep.equal([]);
    expect(await nonces({ to: at(1) - 1 })).to.deep.equal([]);
    expect(await nonces({ to: -1 })).to.deep.equal([]);
    expect(await nonces({ from: at(6), to: at(3) })).to.deep.equal([]);
    expect(await nonces({ from: 2 ** 52 })).to.deep.equal([]);
  });

  it('gives nothing for a process that is not known, or that has no messages', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    for (const by of ['nonce', 'timestamp'] as const) {
      expect(await read({ ...all(randomId()), by })).to.deep.equal([]);
      expect(await read({ ...all(builder.processId), by })).to.deep.equal([]);
    }
  });

  it('keeps the entries of processes apart that were written in turns', async () => {
    const logs = [await newLog(0), await newLog(0), await newLog(0)];
    await opened.current.store.append(logs.map(({ run }) => run));
    const made = logs.map(() => [] as NewEntry[]);
    for (let round = 0; round < 4; round += 1) {
      const runs = [];
      for (const [index, { builder }] of logs.entries()) {
        const onto = builder.head;
        const entries = await builder.messages(index + 1);
        made[index]?.push(...entries);
        runs.push(runOf(onto, ...entries));
      }
      await opened.current.store.append(runs);
    }
    for (const [index, { builder }] of logs.entries()) {
      const stored = await read(all(builder.processId));
      expect(assignmentIds(stored)).to.deep.equal(expectedIds(made[index] ?? []));
    }
  });

  it('holds an entry as soon as its append is answered', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    for (let round = 1; round <= 10; round += 1) {
      const onto = builder.head;
      const entry = await builder.message();
      await opened.current.store.append([runOf(onto, entry)]);
      const stored = await read({ ...all(builder.processId), from: round - 1 });
      expect(assignmentIds(stored)).to.deep.equal([entry.assignment?.id]);
    }
  });

  it('shows an assignment’s anchor that is not UTF-8 only when it is asked for', async () => {
    const { builder, run } = await newLog(2);
    await opened.current.store.append([run]);
    const anchors = async (showAnchor: boolean): Promise<unknown[]> =>
      (await read({ ...all(builder.processId), showAnchor })).map(
        ({ node }) => parse(node).assignment?.anchor,
      );
    const binary = (entry: NewEntry): boolean =>
      !Buffer.from(Buffer.from(entry.assignment?.anchor ?? []).toString('utf8')).equals(
        Buffer.from(entry.assignment?.anchor ?? []),
      );
    // 32 random bytes are UTF-8 once in some million times; then this test has nothing to look at.
    const entries = run.entries.slice(1).filter(binary);
    expect(entries.length).to.be.greaterThan(0);
    expect(await anchors(false)).to.include(null);
    expect(await anchors(true)).to.include.members(
      entries.map(({ assignment }) => toBase64Url(assignment?.anchor ?? new Uint8Array())),
    );
  });
}

function describeSizes(opened: StoreInUse): void {
  it('reads a long log in bounded pieces, each entry once', async () => {
    const { builder, run } = await newLog(2500);
    await opened.current.store.append([run]);
    const nonces: number[] = [];
    for await (const piece of opened.current.reader.readRange(all(builder.processId))) {
      expect(piece.length).to.be.within(1, 1000);
      const bytes = piece.reduce((sum, { node }) => sum + node.length, 0);
      expect(bytes).to.be.lessThan(4 * 1024 * 1024);
      nonces.push(...piece.map(({ nonce }) => nonce));
    }
    expect(nonces).to.deep.equal(Array.from({ length: 2500 }, (_, index) => index + 1));
    const middle = await collect(
      opened.current.reader.readRange({ ...all(builder.processId), from: 600, limit: 1300 }),
    );
    expect(middle.map(({ nonce }) => nonce)).to.deep.equal(
      Array.from({ length: 1300 }, (_, index) => index + 601),
    );
  }).timeout(30_000);

  it('reads large entries in their place, whole, one at a time if need be', async () => {
    const { builder, run } = await newLog(1);
    const made = [];
    for (const size of [10, 70_000, 3_000_000, 20, 3_000_000, 64 * 1024, 30]) {
      made.push(await builder.message({ data: Buffer.alloc(size, 'x') }));
    }
    await opened.current.store.append([runOf(undefined, ...run.entries, ...made)]);
    const stored = await collect(
      opened.current.reader.readRange({ ...all(builder.processId), from: 1 }),
    );
    expect(assignmentIds(stored)).to.deep.equal(expectedIds(made));
    expect(stored.map(({ node }) => parse(node).message?.data?.length)).to.deep.equal(
      made.map(({ item }) => item?.data.length),
    );
    const byTime = await collect(
      opened.current.reader.readRange({ ...all(builder.processId), by: 'timestamp' }),
    );
    expect(byTime).to.have.lengthOf(made.length + 1);
  }).timeout(20_000);

  it('can be left in the middle of a range, also many times, and closed at once', async () => {
    const { builder, run } = await newLog(50);
    await opened.current.store.append([run]);
    for (let left = 0; left < 20; left += 1) {
      for await (const piece of opened.current.reader.readRange(all(builder.processId))) {
        expect(piece[0]?.nonce).to.equal(1);
        break;
      }
    }
    await opened.current.close();
  });
}

function describeSingleEntries(opened: StoreInUse): void {
  it('finds the latest entry, undefined when there is no message', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    expect(await opened.current.reader.findLatest(builder.processId)).to.equal(undefined);
    expect(await opened.current.reader.findLatest(randomId())).to.equal(undefined);
    const onto = builder.head;
    const entries = [...(await builder.messages(12)), await builder.assign(randomId())];
    await opened.current.store.append([runOf(onto, ...entries)]);
    const latest = await opened.current.reader.findLatest(builder.processId);
    expect(latest?.nonce).to.equal(13);
    expect(assignmentIds(latest === undefined ? [] : [latest])).to.deep.equal(
      expectedIds(entries.slice(-1)),
    );
    const bare = await newLog(0, { withAssignment: false });
    await opened.current.store.append([bare.run]);
    expect(await opened.current.reader.findLatest(bare.builder.processId)).to.equal(undefined);
  });

  it('finds where each of many logs ends, also as soon as an entry is acknowledged', async () => {
    const logs = await Promise.all([3, 1, 0].map((count) => newLog(count)));
    await opened.current.store.append(logs.map(({ run }) => run));
    const bare = await newLog(0, { withAssignment: false });
    await opened.current.store.append([bare.run]);
    const [three, one, none] = logs.map(({ builder }) => builder);
    const ids = [three, one, none, bare.builder].map((builder) => builder?.processId ?? randomId());
    const { reader, store } = opened.current;
    const noncesOf = async (): Promise<(number | undefined)[]> =>
      (await Promise.all([...ids, randomId()].map((id) => reader.findHeadPlace(id)))).map(
        (place) => place?.nonce,
      );
    const before = await noncesOf();
    // A log without messages may name the process's own place.
    expect(before[2]).to.be.oneOf([undefined, 0]);
    expect(before.toSpliced(2, 1)).to.deep.equal([3, 1, undefined, undefined]);
    const onto = one?.head;
    await store.append([runOf(onto, ...((await one?.messages(1)) ?? []))]);
    expect(await reader.findHeadPlace(ids[1] as Id)).to.deep.include({ epoch: 0, nonce: 2 });
  });

  it('finds a message by its id and by its assignment’s, within its process or without naming one', async () => {
    const { builder, run, entries } = await newLog(2);
    await opened.current.store.append([run]);
    const entry = entries[2] as NewEntry;
    for (const id of [entry.messageId, entry.assignment?.id as Id]) {
      for (const processId of [undefined, builder.processId]) {
        const found = await opened.current.reader.findEntry(id, processId);
        expect(found).to.deep.include({ epoch: 0, nonce: 2, timestamp: entry.head.timestamp });
        expect(parse(found?.node).message?.id).to.equal(entry.messageId);
      }
    }
  });

  it('does not find an entry under another process, nor one that does not exist', async () => {
    const [one, two] = [await newLog(1), await newLog(1)];
    await opened.current.store.append([one.run, two.run]);
    const entry = one.entries[1] as NewEntry;
    const { reader } = opened.current;
    expect(await reader.findEntry(entry.messageId, two.builder.processId)).to.equal(undefined);
    expect(await reader.findEntry(entry.assignment?.id as Id, two.builder.processId)).to.equal(
      undefined,
    );
    expect(await reader.findEntry(entry.messageId, randomId())).to.equal(undefined);
    expect(await reader.findEntry(randomId(), undefined)).to.equal(undefined);
    expect(await reader.findEntry(one.builder.processId, undefined)).to.equal(undefined);
  });

  it('finds an assigned transaction by its assignment id alone, until it is posted as a message', async () => {
    const { builder, run } = await newLog(0);
    const item = randomItem({ target: builder.processId });
    const assigned = await builder.assign(item.id);
    await opened.current.store.append([runOf(undefined, ...run.entries, assigned)]);
    const { reader } = opened.current;
    expect(await reader.findEntry(item.id, undefined)).to.equal(undefined);
    const found = await reader.findEntry(assigned.assignment?.id as Id, builder.processId);
    expect(parse(found?.node)).to.have.property('message', null);
    const onto = builder.head;
    await opened.current.store.append([runOf(onto, await builder.messageOf(item))]);
    expect((await reader.findEntry(item.id, undefined))?.nonce).to.equal(2);
    expect((await reader.findEntry(assigned.assignment?.id as Id, undefined))?.nonce).to.equal(1);
  });
}

function describeProcesses(opened: StoreInUse): void {
  it('finds a process with its own entry and its record', async () => {
    const { builder, run, entries } = await newLog(1);
    await opened.current.store.append([run]);
    const found = await opened.current.reader.findProcess(builder.processId);
    expect(found?.processId).to.equal(builder.processId);
    const { epoch, nonce, timestamp } = entries[0]?.head ?? {};
    expect(found?.entry).to.deep.include({ epoch, nonce, timestamp });
    const node = parse(found?.entry?.node);
    expect(node.message).to.deep.include({
      id: builder.processId,
      data: 'process data',
      target: null,
    });
    expect(node.assignment?.id).to.equal(entries[0]?.assignment?.id);
    const record: unknown = parse(found?.record);
    expect(record).to.deep.include({
      process_id: builder.processId,
      block: '000001500000',
      timestamp,
      data: 'process data',
      target: null,
    });
  });

  it('finds a process without an assignment by its record alone', async () => {
    const { builder, run, entries } = await newLog(1, { withAssignment: false });
    await opened.current.store.append([run]);
    const found = await opened.current.reader.findProcess(builder.processId);
    expect(found).to.not.equal(undefined);
    expect(found?.entry).to.equal(undefined);
    const record: unknown = parse(found?.record);
    expect(record).to.deep.include({
      process_id: builder.processId,
      block: '000001500000',
      timestamp: entries[0]?.head.timestamp,
      data: null,
    });
  });

  it('finds neither a message nor an unknown id as a process', async () => {
    const { run, entries } = await newLog(1);
    await opened.current.store.append([run]);
    const { reader } = opened.current;
    expect(await reader.findProcess(randomId())).to.equal(undefined);
    expect(await reader.findProcess((entries[1] as NewEntry).messageId)).to.equal(undefined);
  });

  it('finds a process whose data is megabytes, and one whose data is not UTF-8', async () => {
    const [large, binary] = [
      await newLog(0, { process: { data: Buffer.alloc(4_000_000, 'p') } }),
      await newLog(0, { process: { data: Buffer.from([0xff, 0xfe]) } }),
    ];
    await opened.current.store.append([large.run, binary.run]);
    const { reader } = opened.current;
    const found = await reader.findProcess(large.builder.processId);
    expect(parse(found?.entry?.node).message?.data).to.have.lengthOf(4_000_000);
    const odd = await reader.findProcess(binary.builder.processId);
    expect(parse(odd?.entry?.node).message?.data).to.equal(null);
  });

  it('shows the anchor of a process’s assignment only when it is asked for', async () => {
    const { builder, run } = await newLog(0);
    await opened.current.store.append([run]);
    const anchor = Buffer.from(run.entries[0]?.assignment?.anchor ?? []);
    const shown = await opened.current.reader.findProcess(builder.processId, { showAnchor: true });
    const hidden = await opened.current.reader.findProcess(builder.processId, {
      showAnchor: false,
    });
    const utf8 = Buffer.from(anchor.toString('utf8')).equals(anchor);
    expect(parse(shown?.entry?.node).assignment?.anchor).to.equal(
      utf8 ? anchor.toString('utf8') : anchor.toString('base64url'),
    );
    expect(parse(hidden?.entry?.node).assignment?.anchor).to.equal(
      utf8 ? anchor.toString('utf8') : null,
    );
  });
}
