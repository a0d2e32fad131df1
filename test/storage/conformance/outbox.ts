import { expect } from 'chai';
import { parseDataItem } from '../../../src/lib/protocol/data-item.js';
import {
  UPLOAD_ASSIGNMENT,
  UPLOAD_BUNDLE,
  UPLOAD_ITEM,
  type NewEntry,
  type Run,
} from '../../../src/lib/scheduler/ports.js';
import type { OutboxListing, OutboxRow } from '../../../src/lib/uploader/ports.js';
import {
  LEASE_MS,
  useStore,
  type MakePlace,
  type OpenStore,
  type StoreInUse,
} from './open-store.js';
import { newLog, randomId, runOf } from './log-builder.js';

/** What Outbox promises, whatever it is made of. */
export function describeOutbox(name: string, makePlace: MakePlace): void {
  describe(`Outbox on ${name}`, () => {
    const opened = useStore(makePlace, 'fresh');
    describeClaims(opened);
    describeSettlements(opened);
    describeUploads(opened);
    describeListings(opened);
    describeLongQueues(opened);
  });
}

/** Appends runs and gives their outbox keys in order. */
async function append(opened: OpenStore, ...runs: readonly Run[]): Promise<string[]> {
  const outcomes = await opened.store.append(runs);
  return outcomes.flatMap((outcome) => {
    if (outcome.status !== 'appended') throw new Error(`the run was ${outcome.status}`);
    return outcome.outboxKeys;
  });
}

const keysOf = (rows: readonly OutboxRow[]): string[] => rows.map(({ key }) => key);

const everything = { state: 'all', afterKey: undefined, limit: 1000 } as const;

function describeClaims(opened: StoreInUse): void {
  it('leases what an append queued to its caller, and gives it out once the lease has run out', async () => {
    const { run, entries, builder } = await newLog(2);
    const keys = await append(opened.current, run);
    expect(await opened.current.outbox.claim(10)).to.deep.equal([]);
    await opened.place.pass(LEASE_MS + 1);
    const rows = await opened.current.outbox.claim(10);
    expect(rows).to.deep.equal(
      entries.map((entry, index) => ({
        key: keys[index],
        processId: builder.processId,
        messageId: entry.messageId,
        assignmentId: entry.kind === 'process' ? undefined : entry.assignment?.id,
        parts: UPLOAD_ITEM | UPLOAD_ASSIGNMENT,
        attempts: 0,
      })),
    );
  });

  it('gives a row to one of several who ask at once, and again only when the lease has run out', async () => {
    const { run } = await newLog(9);
    const keys = await append(opened.current, run);
    await opened.place.pass(LEASE_MS + 1);
    const claims = await Promise.all([4, 4, 4].map((limit) => opened.current.outbox.claim(limit)));
    expect(claims.flatMap(keysOf).toSorted()).to.deep.equal(keys.toSorted());
    expect(await opened.current.outbox.claim(10)).to.deep.equal([]);
    await opened.place.pass(LEASE_MS + 1);
    expect(keysOf(await opened.current.outbox.claim(100)).toSorted()).to.deep.equal(
      keys.toSorted(),
    );
  });

  it('gives the oldest rows first, at most as many as asked', async () => {
    const { run, builder } = await newLog(5);
    const keys = await append(opened.current, run);
    const onto = builder.head;
    keys.push(...(await append(opened.current, runOf(onto, ...(await builder.messages(3))))));
    await opened.place.pass(LEASE_MS + 1);
    const { outbox } = opened.current;
    expect(keysOf(await outbox.claim(4))).to.deep.equal(keys.slice(0, 4));
    expect(keysOf(await outbox.claim(1))).to.deep.equal(keys.slice(4, 5));
    expect(keysOf(await outbox.claim(100))).to.deep.equal(keys.slice(5));
  });

  it('still has every row after it was closed and opened again', async () => {
    const { run } = await newLog(4);
    const keys = await append(opened.current, run);
    await opened.current.outbox.settle([{ key: keys[1] as string, status: 'done' }]);
    await opened.reopen();
    await opened.place.pass(LEASE_MS + 1);
    const rows = await opened.current.outbox.claim(10);
    expect(keysOf(rows)).to.deep.equal([keys[0], ...keys.slice(2)]);
  });
}

function describeSettlements(opened: StoreInUse): void {
  it('removes a row that is done, for ever, and takes a second settlement of it as nothing', async () => {
    const { run } = await newLog(1);
    const [first, second] = (await append(opened.current, run)) as [string, string];
    const { outbox } = opened.current;
    await outbox.settle([{ key: first, status: 'done' }]);
    await outbox.settle([
      { key: first, status: 'done' },
      { key: first, status: 'retry', parts: 1, delayMs: 0, reason: 'late' },
    ]);
    await opened.place.pass(LEASE_MS + 1);
    expect(keysOf(await outbox.claim(10))).to.deep.equal([second]);
    expect(await outbox.counts()).to.deep.equal({ pending: 1, parked: 0 });
    await outbox.settle([]);
  });

  it('gives a row that is to be tried again after its delay, with the parts that are left and one attempt more', async () => {
    const { run } = await newLog(0);
    const [key] = (await append(opened.current, run)) as [string];
    const { outbox } = opened.current;
    const retry = {
      key,
      status: 'retry',
      parts: UPLOAD_ASSIGNMENT,
      delayMs: 500,
      reason: 'no answer',
    } as const;
    await outbox.settle([retry]);
    expect(await outbox.claim(10)).to.deep.equal([]);
    await opened.place.pass(501);
    const [row] = await outbox.claim(10);
    expect(row).to.deep.include({ key, parts: UPLOAD_ASSIGNMENT, attempts: 1 });
    await outbox.settle([{ ...retry, delayMs: 0 }]);
    const [again] = await outbox.claim(10);
    expect(again).to.deep.include({ key, attempts: 2 });
    expect(await outbox.counts()).to.deep.equal({ pending: 1, parked: 0 });
  });

  it('delays a row beyond its lease when it is told to', async () => {
    const { run } = await newLog(0);
    const [key] = (await append(opened.current, run)) as [string];
    const { outbox } = opened.current;
    await outbox.settle([{ key, status: 'retry', parts: 3, delayMs: 5 * LEASE_MS, reason: 'x' }]);
    await opened.place.pass(2 * LEASE_MS);
    expect(await outbox.claim(10)).to.deep.equal([]);
    await opened.place.pass(4 * LEASE_MS);
    expect(keysOf(await outbox.claim(10))).to.deep.equal([key]);
  }).timeout(20_000);

  it('gives a row out after its delay although the clock was set back by an hour, and not more than were asked for', async () => {
    const { run } = await newLog(4);
    const keys = await append(opened.current, run);
    const { outbox } = opened.current;
    const [waiting, ...late] = keys as [string, ...string[]];
    const retry = { status: 'retry', parts: 3, delayMs: 500, reason: 'no answer' } as const;
    await outbox.settle(late.map((key) => ({ key, ...retry })));
    const { setClock } = opened.place;
    if (setClock === undefined) throw new Error('the clock of this place cannot be set');
    await setClock(-3_600_000);
    await outbox.settle([{ key: waiting, ...retry }]);
    await opened.place.pass(501);
    const first = await outbox.claim(3);
    expect(first).to.have.lengthOf(3);
    const rows = [...first, ...(await outbox.claim(10))];
    expect(keysOf(rows).toSorted()).to.deep.equal(keys.toSorted());
    expect(await outbox.claim(10)).to.deep.equal([]);
  });

  it('parks a row until it is retried by its key', async () => {
    const { run } = await newLog(2);
    const keys = (await append(opened.current, run)) as [string, string, string];
    const { outbox } = opened.current;
    await outbox.settle([
      { key: keys[0], status: 'parked', parts: UPLOAD_ITEM, reason: 'too odd' },
      { key: keys[1], status: 'parked', parts: UPLOAD_ITEM, reason: 'too odd' },
      { key: keys[2], status: 'done' },
    ]);
    await opened.place.pass(10 * LEASE_MS);
    expect(await outbox.claim(10)).to.deep.equal([]);
    expect(await outbox.counts()).to.deep.equal({ pending: 0, parked: 2 });
    expect(await outbox.retry([keys[1], keys[2]])).to.equal(1);
    expect(await outbox.counts()).to.deep.equal({ pending: 1, parked: 1 });
    const [row, ...others] = await outbox.claim(10);
    expect(row).to.deep.include({ key: keys[1], parts: UPLOAD_ITEM });
    expect(others).to.deep.equal([]);
    expect(await outbox.retry([keys[1]])).to.equal(0);
  }).timeout(30_000);

  it('keeps parked rows, attempts, parts and reasons when it is closed and opened again', async () => {
    const { run } = await newLog(1);
    const [parked, retried] = (await append(opened.current, run)) as [string, string];
    await opened.current.outbox.settle([
      { key: parked, status: 'parked', parts: UPLOAD_ITEM, reason: 'refused: 400' },
      {
        key: retried,
        status: 'retry',
        parts: UPLOAD_ASSIGNMENT,
        delayMs: 10,
        reason: 'ünreachable',
      },
    ]);
    await opened.reopen();
    const { outbox } = opened.current;
    const listed = await outbox.list(everything);
    expect(
      listed.map(({ key, state, parts, attempts, reason }) => ({
        key,
        state,
        parts,
        attempts,
        reason,
      })),
    ).to.deep.equal([
      { key: parked, state: 'parked', parts: UPLOAD_ITEM, attempts: 1, reason: 'refused: 400' },
      {
        key: retried,
        state: 'pending',
        parts: UPLOAD_ASSIGNMENT,
        attempts: 1,
        reason: 'ünreachable',
      },
    ]);
    expect(await outbox.counts()).to.deep.equal({ pending: 1, parked: 1 });
  });

  it('retries all parked rows at once, and none when none is parked', async () => {
    const { run } = await newLog(6);
    const keys = await append(opened.current, run);
    const { outbox } = opened.current;
    await outbox.settle(
      keys.slice(0, 5).map((key) => ({ key, status: 'parked', parts: 3, reason: 'no' }) as const),
    );
    expect(await outbox.retry('all')).to.equal(5);
    expect(keysOf(await outbox.claim(10)).toSorted()).to.deep.equal(keys.slice(0, 5).toSorted());
    expect(await outbox.retry('all')).to.equal(0);
    expect(await outbox.retry(['no such key', ''])).to.equal(0);
    expect(await outbox.counts()).to.deep.equal({ pending: 7, parked: 0 });
  });
}

function describeUploads(opened: StoreInUse): void {
  /** The row of an entry, claimed. */
  async function rowOf(entry: NewEntry): Promise<OutboxRow> {
    await opened.place.pass(LEASE_MS + 1);
    const row = (await opened.current.outbox.claim(100)).find(
      ({ messageId }) => messageId === entry.messageId,
    );
    if (row === undefined) throw new Error('the entry has no row');
    return row;
  }

  it('reads item and assignment of a message, byte for byte', async () => {
    const { run, entries } = await newLog(1);
    await append(opened.current, run);
    const [, entry] = entries as [NewEntry, NewEntry];
    const row = await rowOf(entry);
    const uploads = await opened.current.outbox.readUploads(row);
    expect(uploads.map(({ part, id }) => ({ part, id }))).to.have.deep.members([
      { part: UPLOAD_ITEM, id: entry.messageId },
      { part: UPLOAD_ASSIGNMENT, id: entry.assignment?.id },
    ]);
    for (const { part, bytes } of uploads) {
      const expected = part === UPLOAD_ITEM ? entry.item : entry.assignment;
      expect(Buffer.from(bytes).equals(expected?.bytes ?? new Uint8Array())).to.equal(true);
    }
    const [left] = await opened.current.outbox.readUploads({ ...row, parts: UPLOAD_ASSIGNMENT });
    expect(left?.id).to.equal(entry.assignment?.id);
  });

  it('reads item and assignment of a process', async () => {
    const { run, entries, builder } = await newLog(0);
    await append(opened.current, run);
    const [entry] = entries as [NewEntry];
    const row = await rowOf(entry);
    expect(row).to.deep.include({ processId: builder.processId, messageId: builder.processId });
    const uploads = await opened.current.outbox.readUploads(row);
    expect(uploads.map(({ part, id }) => ({ part, id }))).to.have.deep.members([
      { part: UPLOAD_ITEM, id: builder.processId },
      { part: UPLOAD_ASSIGNMENT, id: entry.assignment?.id },
    ]);
  });

  it('reads the signed wrapper of an assigned transaction and of a process without assignment', async () => {
    const { run, entries, builder } = await newLog(0, { withAssignment: false });
    const assigned = await builder.assign(randomId());
    await append(opened.current, runOf(undefined, ...run.entries, assigned));
    await opened.place.pass(LEASE_MS + 1);
    const rows = await opened.current.outbox.claim(10);
    expect(rows.map(({ parts }) => parts)).to.deep.equal([UPLOAD_BUNDLE, UPLOAD_BUNDLE]);
    for (const [index, entry] of [...entries, assigned].entries()) {
      const [upload, ...others] = await opened.current.outbox.readUploads(rows[index] as OutboxRow);
      expect(others).to.deep.equal([]);
      expect(upload?.id).to.equal(parseDataItem(entry.bundle, 'stored').id);
      expect(Buffer.from(upload?.bytes ?? []).equals(entry.bundle)).to.equal(true);
    }
  });
}

function describeListings(opened: StoreInUse): void {
  it('lists rows by state, in key order, page after page', async () => {
    const { run } = await newLog(9);
    const keys = await append(opened.current, run);
    const parked = keys.filter((_, index) => index % 3 === 1);
    const { outbox } = opened.current;
    await outbox.settle(
      parked.map((key) => ({ key, status: 'parked', parts: 1, reason: 'why' }) as const),
    );
    const list = async (state: 'pending' | 'parked' | 'all'): Promise<OutboxListing[]> => {
      const rows: OutboxListing[] = [];
      for (;;) {
        const page = await outbox.list({ state, afterKey: rows.at(-1)?.key, limit: 2 });
        expect(page.length).to.be.at.most(2);
        if (page.length === 0) return rows;
        rows.push(...page);
      }
    };
    expect(keysOf(await list('all'))).to.deep.equal(keys);
    expect(keysOf(await list('parked'))).to.deep.equal(parked);
    expect(keysOf(await list('pending'))).to.deep.equal(
      keys.filter((key) => !parked.includes(key)),
    );
    for (const row of await list('all')) {
      const isParked = parked.includes(row.key);
      expect(row.state).to.equal(isParked ? 'parked' : 'pending');
      expect(row.reason).to.equal(isParked ? 'why' : undefined);
      expect(row.queuedAt).to.be.a('number').greaterThan(0);
    }
    expect(await outbox.counts()).to.deep.equal({ pending: 7, parked: 3 });
  });

  it('is empty at first', async () => {
    const { outbox } = opened.current;
    expect(await outbox.claim(10)).to.deep.equal([]);
    expect(await outbox.list(everything)).to.deep.equal([]);
    expect(await outbox.counts()).to.deep.equal({ pending: 0, parked: 0 });
  });
}

function describeLongQueues(opened: StoreInUse): void {
  it('drains a queue of thousands that was left by an earlier run, each row once, while new ones arrive', async () => {
    const { run, builder } = await newLog(3000);
    await append(opened.current, run);
    await opened.reopen();
    await opened.place.pass(LEASE_MS + 1);
    const { outbox } = opened.current;
    const seen = new Set<string>();
    const onto = builder.head;
    const arriving = await append(opened.current, runOf(onto, ...(await builder.messages(5))));
    for (;;) {
      const rows = await outbox.claim(500);
      if (rows.length === 0) break;
      for (const { key } of rows) {
        expect(seen.has(key)).to.equal(false);
        seen.add(key);
      }
      await outbox.settle(rows.map(({ key }) => ({ key, status: 'done' }) as const));
    }
    const early = arriving.filter((key) => seen.has(key));
    expect(seen.size).to.equal(3001 + early.length);
    await outbox.settle(arriving.map((key) => ({ key, status: 'done' }) as const));
    expect(await outbox.counts()).to.deep.equal({ pending: 0, parked: 0 });
  }).timeout(60_000);
}
