import { expect } from 'chai';
import { parseMessageBundle, parseProcessBundle } from '../../../src/lib/protocol/bundle.js';
import type { DataItem } from '../../../src/lib/protocol/data-item.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import { renderNode, renderProcessNode } from '../../../src/lib/protocol/wire.js';
import type { NewEntry, Receipt, RunOutcome } from '../../../src/lib/scheduler/ports.js';
import { collect, type StoreInUse } from './open-store.js';
import { newLog, randomId, randomItem, runOf } from './log-builder.js';

/** The outcomes’ statuses. */
export const statuses = (outcomes: readonly RunOutcome[]): string[] =>
  outcomes.map(({ status }) => status);

/** The receipt that an entry should have. */
export const receiptOf = (entry: NewEntry): Receipt => ({
  id:
    entry.kind === 'assigned-transaction' && entry.assignment !== undefined
      ? entry.assignment.id
      : entry.messageId,
  timestamp: entry.head.timestamp,
});

/** Receipts and the tags of a process. */
export function describeReceipts(opened: StoreInUse): void {
  it('finds the receipts of processes, with and without assignment, and of messages, in the order asked', async () => {
    const [one, two] = [await newLog(2), await newLog(1, { withAssignment: false })];
    await opened.current.store.append([one.run, two.run]);
    const entries = [...two.entries, ...one.entries].toReversed();
    const receipts = await opened.current.store.findReceipts([
      { kind: 'message', id: randomId() },
      ...entries.map(({ identity }) => identity),
      { kind: 'process', id: randomId() },
    ]);
    expect(receipts).to.deep.equal([undefined, ...entries.map(receiptOf), undefined]);
    expect(await opened.current.store.findReceipts([])).to.deep.equal([]);
  });

  it('does not take a process for a message, nor a message for a process', async () => {
    const { run, entries } = await newLog(1);
    await opened.current.store.append([run]);
    const [process, message] = entries as [NewEntry, NewEntry];
    const receipts = await opened.current.store.findReceipts([
      { kind: 'message', id: process.messageId },
      { kind: 'process', id: message.messageId },
    ]);
    expect(receipts).to.deep.equal([undefined, undefined]);
  });

  it('does not find an assigned transaction as a message, and finds it once it was posted as one', async () => {
    const { builder, run } = await newLog(0);
    const item = randomItem({ target: builder.processId });
    const assigned = await builder.assign(item.id);
    await opened.current.store.append([runOf(undefined, ...run.entries, assigned)]);
    const query = { kind: 'message', id: item.id } as const;
    expect(await opened.current.store.findReceipts([query])).to.deep.equal([undefined]);
    const onto = builder.head;
    const posted = await builder.messageOf(item);
    const outcomes = await opened.current.store.append([runOf(onto, posted)]);
    expect(statuses(outcomes)).to.deep.equal(['appended']);
    expect(await opened.current.store.findReceipts([query])).to.deep.equal([receiptOf(posted)]);
  });

  it('finds an assign by process, transaction and exclude list in its order, within its window', async () => {
    const { builder, run } = await newLog(0);
    const transactionId = randomId();
    const assigned = await builder.assign(transactionId, ['Data', 'Tags']);
    await opened.current.store.append([runOf(undefined, ...run.entries, assigned)]);
    const { timestamp } = assigned.head;
    const query = {
      kind: 'assign',
      processId: builder.processId,
      transactionId,
      exclude: ['Data', 'Tags'],
      since: timestamp,
    } as const;
    const receipts = await opened.current.store.findReceipts([
      query,
      { ...query, since: 0 },
      { ...query, since: timestamp + 1 },
      { ...query, exclude: ['Tags', 'Data'] },
      { ...query, exclude: ['Data'] },
      { ...query, exclude: [] },
      { ...query, exclude: ['Data,Tags'] },
      { ...query, transactionId: randomId() },
      { ...query, processId: randomId() },
    ]);
    const found = receiptOf(assigned);
    expect(receipts).to.deep.equal([found, found, ...Array(7).fill(undefined)]);
  });

  it('finds only the assigns of a posting that is to have its own place', async () => {
    const { builder, run } = await newLog(0);
    const transactionId = randomId();
    const entries: NewEntry[] = [];
    for (let i = 0; i < 3; i += 1) {
      const assigned = await builder.assign(transactionId);
      const { identity } = assigned;
      if (identity.kind !== 'assign' || assigned.assignment === undefined)
        throw new Error('no assign');
      const attempts = [randomId(), assigned.assignment.id];
      entries.push({ ...assigned, identity: { ...identity, since: 0, attempts } });
    }
    const [outcome] = await opened.current.store.append([
      runOf(undefined, ...run.entries, ...entries),
    ]);
    expect(outcome?.status).to.equal('appended');
    const unknown = {
      kind: 'assign',
      processId: builder.processId,
      transactionId,
      exclude: [],
      since: 0,
    } as const;
    const receipts = await opened.current.store.findReceipts([
      ...entries.map(({ identity }) => identity),
      { ...unknown, attempts: [] },
      { ...unknown, attempts: [randomId()] },
    ]);
    expect(receipts).to.deep.equal([...entries.map(receiptOf), undefined, undefined]);
  });

  it('gives the first of several equal assigns that lie within the window', async () => {
    const { builder, run } = await newLog(0);
    const transactionId = randomId();
    const assigns: NewEntry[] = [];
    for (let made = 0; made < 3; made += 1) {
      assigns.push(await builder.assign(transactionId, [], (builder.head?.timestamp ?? 0) + 1));
    }
    await opened.current.store.append([runOf(undefined, ...run.entries, ...assigns)]);
    const query = {
      kind: 'assign',
      processId: builder.processId,
      transactionId,
      exclude: [],
    } as const;
    const [first, second] = assigns as [NewEntry, NewEntry];
    const receipts = await opened.current.store.findReceipts([
      { ...query, since: 0 },
      { ...query, since: first.head.timestamp + 1 },
    ]);
    expect(receipts).to.deep.equal([receiptOf(first), receiptOf(second)]);
  });

  it('finds the tags of a process, in order and with their repeats', async () => {
    const tags = [
      { name: 'Type', value: 'Process' },
      { name: 'Settlement-Depth', value: '7' },
      { name: 'X', value: 'ä\u0000' },
      { name: 'X', value: '' },
    ];
    const [one, two] = [
      await newLog(1, { process: { tags } }),
      await newLog(0, { withAssignment: false, process: { tags } }),
    ];
    await opened.current.store.append([one.run, two.run]);
    for (const { builder } of [one, two]) {
      const found = await opened.current.store.findProcessTags(builder.processId);
      expect(found?.map(({ name, value }) => ({ name, value }))).to.deep.equal(tags);
    }
    expect(await opened.current.store.findProcessTags(randomId())).to.equal(undefined);
  });
}

/** What entries may hold. */
export function describeContents(opened: StoreInUse): void {
  it('stores U+0000 in data, tags and anchors, and gives it back as it came', async () => {
    const { builder, run } = await newLog(0);
    const odd = await builder.message({
      anchor: new Uint8Array(32),
      tags: [{ name: 'a\u0000b', value: '\u0000' }],
      data: Buffer.from('x\u0000y'),
    });
    const outcomes = await opened.current.store.append([runOf(undefined, ...run.entries, odd)]);
    expect(statuses(outcomes)).to.deep.equal(['appended']);
    const entry = await opened.current.reader.findEntry(odd.messageId, undefined);
    const node = JSON.parse(Buffer.from(entry?.node ?? []).toString('utf8'));
    expect(node.message).to.deep.include({
      data: 'x\u0000y',
      anchor: '\u0000'.repeat(32),
      tags: [{ name: 'a\u0000b', value: '\u0000' }],
    });
  });

  it('stores an entry of ten megabytes beside small ones', async () => {
    const { builder, run } = await newLog(1);
    const data = Buffer.alloc(10_000_000, 'large ');
    const large = await builder.message({ data });
    const small = await builder.message();
    const outcomes = await opened.current.store.append([
      runOf(undefined, ...run.entries, large, small),
    ]);
    expect(statuses(outcomes)).to.deep.equal(['appended']);
    const entry = await opened.current.reader.findEntry(large.messageId, builder.processId);
    const node = JSON.parse(Buffer.from(entry?.node ?? []).toString('utf8'));
    expect(node.message.data === data.toString('utf8')).to.equal(true);
  }).timeout(20_000);

  it('shows large entries and processes as small ones are shown, on every way', async () => {
    const data = Buffer.alloc(700_000, Buffer.from([1, 0x22, 0, 0xff, 0x61]));
    const { builder, run } = await newLog(0, {
      process: { data: Buffer.alloc(600_000, 'process "data" ') },
    });
    const anchor = Buffer.alloc(32, 0xff);
    const large = await builder.message({ data, anchor });
    const small = await builder.message();
    const stored = runOf(undefined, ...run.entries, large, small);
    expect(statuses(await opened.current.store.append([stored]))).to.deep.equal(['appended']);
    const { reader } = opened.current;
    const expected = (entry: NewEntry): string => renderNode(parseMessageBundle(entry.bundle));
    const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
    for (const id of [large.messageId, large.assignment?.id as Id]) {
      const found = await reader.findEntry(id, undefined);
      expect(text(found?.node) === expected(large)).to.equal(true);
    }
    for (const showAnchor of [false, true]) {
      const { processId } = builder;
      const range = { processId, by: 'nonce', from: undefined, to: undefined, limit: 9 } as const;
      const entries = await collect(reader.readRange({ ...range, showAnchor }));
      expect(entries.map(({ nonce }) => nonce)).to.deep.equal([1, 2]);
      const shown = renderNode(parseMessageBundle(large.bundle), { showAnchor });
      expect(text(entries[0]?.node) === shown).to.equal(true);
      const process = await reader.findProcess(processId, { showAnchor });
      const parts = parseProcessBundle(run.entries[0]?.bundle as Uint8Array);
      const item = parts.item as DataItem;
      const node = renderProcessNode({ ...parts, item }, { showAnchor });
      expect(text(process?.entry?.node) === node).to.equal(true);
      const record = JSON.parse(text(process?.record)) as { data: string };
      expect(record.data === Buffer.from(item.data).toString()).to.equal(true);
    }
    const unwanted = { isWanted: (): boolean => false };
    expect(text((await reader.findEntry(small.messageId, undefined, unwanted))?.node)).to.equal(
      expected(small),
    );
  }).timeout(20_000);

  it('answers a hostile item whose JSON is six times its size, and one with invalid UTF-8', async () => {
    const { builder, run } = await newLog(0);
    const control = await builder.message({ data: Buffer.alloc(60_000, 1) });
    const broken = await builder.message({ data: Buffer.from([0x61, 0xff, 0x62]) });
    await opened.current.store.append([runOf(undefined, ...run.entries, control, broken)]);
    const data = async (entry: NewEntry): Promise<string> => {
      const found = await opened.current.reader.findEntry(entry.messageId, undefined);
      return JSON.parse(Buffer.from(found?.node ?? []).toString('utf8')).message.data;
    };
    expect((await data(control)) === '\u0001'.repeat(60_000)).to.equal(true);
    expect(await data(broken)).to.equal('a\ufffdb');
  });
}
