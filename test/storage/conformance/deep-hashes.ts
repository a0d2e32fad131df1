import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { isSuError } from '../../../src/lib/errors.js';
import type {
  DeepHashes,
  DeepHashStore,
  NewEntry,
  RunOutcome,
} from '../../../src/lib/scheduler/ports.js';
import { newLog, randomId, runOf, type LogBuilder } from './log-builder.js';
import { useStore, type MakePlace, type OpenStore, type StoreInUse } from './open-store.js';

/** What a store promises of deep hashes, whatever it is made of. */
export function describeDeepHashes(name: string, makePlace: MakePlace): void {
  describe(`DeepHashStore on ${name}`, () => {
    const opened = useStore(makePlace, 'shared');
    describeCommit(opened);
    describeOldHashes(opened);
  });
}

type StoreWithHashes = OpenStore & { readonly deepHashes: DeepHashStore };

function storeOf(opened: StoreInUse): StoreWithHashes {
  return opened.current as StoreWithHashes;
}

function hashText(): string {
  return randomBytes(48).toString('base64url');
}

function hashesOf(stored: string, other?: string, version = '1.0'): DeepHashes {
  return { version, stored, matches: other === undefined ? [stored] : [stored, other] };
}

async function messageWith(builder: LogBuilder, deepHashes: DeepHashes): Promise<NewEntry> {
  return { ...(await builder.message()), deepHashes };
}

/** A process that is stored. */
async function spawned(opened: StoreInUse): Promise<LogBuilder> {
  const { builder, run } = await newLog(0);
  await opened.current.store.append([run]);
  return builder;
}

/** Draws up one more message with these hashes and appends it onto the head that is stored. */
async function post(
  opened: StoreInUse,
  builder: LogBuilder,
  deepHashes: DeepHashes,
): Promise<{ entry: NewEntry; outcome: RunOutcome | undefined }> {
  const onto = builder.head;
  const entry = await messageWith(builder, deepHashes);
  const [outcome] = await opened.current.store.append([runOf(onto, entry)]);
  if (outcome?.status !== 'appended') builder.head = onto;
  return { entry, outcome };
}

function firstOf(outcome: RunOutcome | undefined): unknown {
  if (outcome?.status !== 'refused') return outcome?.status;
  expect(isSuError(outcome.error, 'duplicate-message')).to.equal(true);
  return outcome.error.details['first'];
}

function describeCommit(opened: StoreInUse): void {
  it('refuses the second message with a hash, naming the first, and stores nothing of its run', async () => {
    const builder = await spawned(opened);
    const hashes = hashesOf(hashText());
    const { entry: first } = await post(opened, builder, hashes);
    const onto = builder.head;
    const entries = [await builder.message(), await messageWith(builder, hashes)];
    const [outcome] = await opened.current.store.append([runOf(onto, ...entries)]);
    expect(outcome).to.include({ status: 'refused', index: 1 });
    expect(firstOf(outcome)).to.equal(first.messageId);
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([onto]);
  });

  it('finds a hash that was stored before the tags were sorted', async () => {
    const builder = await spawned(opened);
    const unsorted = hashText();
    const { entry: first } = await post(opened, builder, hashesOf(unsorted));
    const { outcome } = await post(opened, builder, hashesOf(hashText(), unsorted));
    expect(firstOf(outcome)).to.equal(first.messageId);
  });

  it('keeps processes and versions apart', async () => {
    const [one, other] = [await spawned(opened), await spawned(opened)];
    const hash = hashText();
    for (const [builder, hashes] of [
      [one, hashesOf(hash)],
      [other, hashesOf(hash)],
      [one, hashesOf(hash, undefined, '2.0')],
    ] as const) {
      expect((await post(opened, builder, hashes)).outcome?.status).to.equal('appended');
    }
  });

  it('lets one of many win that bring the same content at once', async () => {
    const builder = await spawned(opened);
    const onto = builder.head;
    const hashes = hashesOf(hashText());
    const rivals: NewEntry[] = [];
    for (let rival = 0; rival < 8; rival += 1) {
      builder.head = onto;
      rivals.push(await messageWith(builder, hashes));
    }
    const outcomes = await Promise.all(
      rivals.map((entry) => opened.current.store.append([runOf(onto, entry)])),
    );
    expect(outcomes.flat().filter(({ status }) => status === 'appended')).to.have.lengthOf(1);
  });

  it('asks to come again for a copy in the same run, whose first may still fail', async () => {
    const builder = await spawned(opened);
    const onto = builder.head;
    const hashes = hashesOf(hashText());
    const entries = [await messageWith(builder, hashes), await messageWith(builder, hashes)];
    const [outcome] = await opened.current.store.append([runOf(onto, ...entries)]);
    expect(outcome).to.include({ status: 'refused', index: 1 });
    expect(outcome?.status === 'refused' && outcome.error.code).to.equal('process-busy');
    expect(await opened.current.store.readHeads([builder.processId])).to.deep.equal([onto]);
  });

  it('leaves no hash behind of a run that was not written', async () => {
    const builder = await spawned(opened);
    const hashes = hashesOf(hashText());
    const stale = builder.head;
    const lost = await messageWith(builder, hashes);
    builder.head = stale;
    await post(opened, builder, hashesOf(hashText()));
    expect(await opened.current.store.append([runOf(stale, lost)])).to.deep.equal([
      { status: 'moved' },
    ]);
    expect((await post(opened, builder, hashes)).outcome?.status).to.equal('appended');
  });

  it('keeps hashes when it is closed and opened again, and finds them before the commit', async () => {
    const builder = await spawned(opened);
    const hashes = hashesOf(hashText());
    const { entry } = await post(opened, builder, hashes);
    await opened.reopen();
    const { processId } = builder;
    const asked = [
      { processId, hashes: hashesOf(hashText()) },
      { processId, hashes: hashesOf(hashText(), hashes.stored) },
      { processId: randomId(), hashes },
    ];
    expect(await storeOf(opened).deepHashes.findDuplicates(asked)).to.deep.equal([
      undefined,
      entry.messageId,
      undefined,
    ]);
    expect(firstOf((await post(opened, builder, hashes)).outcome)).to.equal(entry.messageId);
  });

  it('takes a transaction that was assigned once as a message, and not as another assign', async () => {
    const builder = await spawned(opened);
    const hashes = hashesOf(hashText());
    const message = await builder.message();
    builder.head = (await opened.current.store.readHeads([builder.processId]))[0];
    let onto = builder.head;
    const assigned = { ...(await builder.assign(message.messageId)), deepHashes: hashes };
    const [first] = await opened.current.store.append([runOf(onto, assigned)]);
    expect(first?.status).to.equal('appended');
    onto = builder.head;
    expect(message.item).to.not.equal(undefined);
    const posted = { ...(await builder.messageOf(message.item!)), deepHashes: hashes };
    const [second] = await opened.current.store.append([runOf(onto, posted)]);
    expect(second?.status).to.equal('appended');
    onto = builder.head;
    const again = {
      ...(await builder.assign(message.messageId, ['x'])),
      deepHashes: hashes,
    };
    const [third] = await opened.current.store.append([runOf(onto, again)]);
    expect(firstOf(third)).to.equal(message.messageId);
  });
}

function describeOldHashes(opened: StoreInUse): void {
  it('reads stored entries from the newest back, each once, without the process', async () => {
    const { builder, run, entries } = await newLog(40);
    await opened.current.store.append([run]);
    const read: { nonce: number; bundle: Uint8Array }[] = [];
    let below: { epoch: number; nonce: number } | undefined;
    for (;;) {
      const piece = await storeOf(opened).deepHashes.readNewest(builder.processId, below);
      if (piece.length === 0) break;
      read.push(...piece);
      below = piece.at(-1);
    }
    expect(read.map(({ nonce }) => nonce)).to.deep.equal(
      Array.from({ length: 40 }, (_, index) => 40 - index),
    );
    expect(Buffer.from(read[0]?.bundle ?? [])).to.deep.equal(
      Buffer.from(entries.at(-1)?.bundle ?? []),
    );
  });

  it('adds hashes of stored entries, of which the earliest counts', async () => {
    const { builder, run, entries } = await newLog(3);
    await opened.current.store.append([run]);
    const { deepHashes } = storeOf(opened);
    const hash = hashText();
    const old = (index: number) => ({
      epoch: 0,
      nonce: index,
      hash,
      messageId: entries[index]?.messageId ?? randomId(),
    });
    const { processId } = builder;
    await deepHashes.addOldHashes(processId, { version: '1.0', hashes: [old(3), old(2)] });
    await deepHashes.addOldHashes(processId, { version: '1.0', hashes: [old(1)] });
    await deepHashes.addOldHashes(processId, { version: '1.0', hashes: [old(3)] });
    expect(await deepHashes.findDuplicates([{ processId, hashes: hashesOf(hash) }])).to.deep.equal([
      entries[1]?.messageId,
    ]);
    expect(firstOf((await post(opened, builder, hashesOf(hash))).outcome)).to.equal(
      entries[1]?.messageId,
    );
  });

  it('remembers how far back the hashes reach, also over a restart', async () => {
    const builder = await spawned(opened);
    const { processId } = builder;
    const none = { version: '1.0', hashes: [] };
    expect(await storeOf(opened).deepHashes.findCoverage(processId)).to.equal(undefined);
    for (const coverage of [
      { version: '1.0', through: undefined },
      { version: '1.1', through: { epoch: 0, nonce: 17 } },
    ]) {
      await storeOf(opened).deepHashes.addOldHashes(processId, none, coverage);
      expect(await storeOf(opened).deepHashes.findCoverage(processId)).to.deep.equal(coverage);
    }
    await opened.reopen();
    expect(await storeOf(opened).deepHashes.findCoverage(processId)).to.deep.equal({
      version: '1.1',
      through: { epoch: 0, nonce: 17 },
    });
  });
}
