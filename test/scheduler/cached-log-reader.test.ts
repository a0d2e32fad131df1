import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { idFromBytes } from '../../src/lib/protocol/ids.js';
import { cacheLogReader } from '../../src/lib/scheduler/cached-log-reader.js';
import type { LogEntry, LogProcess, LogReader, RangeQuery } from '../../src/lib/scheduler/ports.js';
import { seeded } from '../support/lane-harness.js';

const processId = idFromBytes(randomBytes(32));

function entryOf(nonce: number, timestamp = 1000 + 10 * nonce): LogEntry {
  return {
    epoch: 0,
    nonce,
    timestamp,
    node: Buffer.from(`{"nonce":${nonce},"pad":"${'x'.repeat(50)}"}`),
  };
}

/** A log in memory that counts what it is asked. */
class CountingReader implements LogReader {
  entriesRead = 0;
  processesRead = 0;
  process: LogProcess | undefined;
  /** Reads of ranges. */
  ranges = 0;
  readonly log: LogEntry[];

  constructor(log: LogEntry[]) {
    this.log = log;
  }

  findProcess(): Promise<LogProcess | undefined> {
    this.processesRead += 1;
    return Promise.resolve(this.process);
  }
  findLatest(): Promise<LogEntry | undefined> {
    this.entriesRead += 1;
    return Promise.resolve(this.log.at(-1));
  }
  findHeadPlace(): Promise<LogEntry | undefined> {
    return Promise.resolve(this.log.at(-1));
  }
  findEntry(): Promise<undefined> {
    return Promise.resolve(undefined);
  }
  async *readRange(query: RangeQuery): AsyncIterable<readonly LogEntry[]> {
    this.ranges += 1;
    const place = (entry: LogEntry): number =>
      query.by === 'nonce' ? entry.nonce : entry.timestamp;
    const found = this.log
      .filter(
        (entry) => place(entry) > (query.from ?? -1) && place(entry) <= (query.to ?? Infinity),
      )
      .slice(0, query.limit);
    for (let at = 0; at < found.length; at += 7) {
      const piece = found.slice(at, at + 7);
      this.entriesRead += piece.length;
      yield await Promise.resolve(piece);
    }
  }
}

const LIMITS = { bytesMax: 1 << 20, entryBytesMax: 1 << 16, pieceBytes: 500 };

function range(parts: Partial<RangeQuery>): RangeQuery {
  return {
    processId,
    by: 'nonce',
    from: undefined,
    to: undefined,
    limit: 100,
    showAnchor: false,
    ...parts,
  };
}

async function noncesOf(reader: LogReader, parts: Partial<RangeQuery>): Promise<number[]> {
  const nonces: number[] = [];
  for await (const piece of reader.readRange(range(parts))) {
    nonces.push(...piece.map(({ nonce }) => nonce));
  }
  return nonces;
}

const upTo = (count: number): LogEntry[] => Array.from({ length: count }, (_, i) => entryOf(i + 1));

describe('the memory in front of the log', () => {
  it('answers what was read before without the store, from the beginning and from any entry of it', async () => {
    const store = new CountingReader(upTo(50));
    const reader = cacheLogReader(store, LIMITS);
    await noncesOf(reader, { limit: 40 });
    expect(store.entriesRead).to.equal(40);
    expect(await noncesOf(reader, { limit: 40 })).to.deep.equal(upTo(40).map(({ nonce }) => nonce));
    expect(await noncesOf(reader, { from: 10, limit: 3 })).to.deep.equal([11, 12, 13]);
    expect(await noncesOf(reader, { by: 'timestamp', from: 1100, to: 1130 })).to.deep.equal([
      11, 12, 13,
    ]);
    expect(store.entriesRead).to.equal(40);
  });

  it('goes on in the store behind what it knows, so that a new entry is seen at once', async () => {
    const store = new CountingReader(upTo(5));
    const reader = cacheLogReader(store, LIMITS);
    expect(await noncesOf(reader, {})).to.deep.equal([1, 2, 3, 4, 5]);
    store.log.push(entryOf(6));
    expect(await noncesOf(reader, {})).to.deep.equal([1, 2, 3, 4, 5, 6]);
    expect(store.entriesRead).to.equal(6);
    expect(await noncesOf(reader, { from: 6 })).to.deep.equal([]);
    store.log.push(entryOf(7));
    expect(await noncesOf(reader, { from: 6 })).to.deep.equal([7]);
  });

  it('asks for the head alone where nothing more is there, and sees at once when something is', async () => {
    const store = new CountingReader(upTo(5));
    const reader = cacheLogReader(store, LIMITS);
    await noncesOf(reader, { from: 2 });
    store.ranges = 0;
    for (const from of [2, 5, 9]) {
      const known = upTo(5).map(({ nonce }) => nonce);
      expect(await noncesOf(reader, { from })).to.deep.equal(known.filter((nonce) => nonce > from));
    }
    expect(await noncesOf(reader, { by: 'timestamp', from: 1030 })).to.deep.equal([4, 5]);
    expect(store.ranges).to.equal(0);
    store.log.push(entryOf(6));
    expect(await noncesOf(reader, { from: 5 })).to.deep.equal([6]);
    expect(await noncesOf(reader, { from: 4 })).to.deep.equal([5, 6]);
  });

  it('does not take the end of one epoch for the end of the log', async () => {
    const later = { ...entryOf(3), epoch: 1 };
    const store = new CountingReader([...upTo(5), later]);
    const reader = cacheLogReader(store, LIMITS);
    for (let i = 0; i < 2; i += 1) {
      expect(await noncesOf(reader, { from: 2 })).to.deep.equal([3, 4, 5, 3]);
      expect(await noncesOf(reader, { from: 5 })).to.deep.equal([]);
    }
    expect(store.ranges).to.equal(4);
  });

  it('keeps processes that are there, without anchors, and the newest entry while it is the newest', async () => {
    const store = new CountingReader(upTo(5));
    const reader = cacheLogReader(store, LIMITS);
    expect(await reader.findProcess(processId)).to.equal(undefined);
    store.process = { processId, record: Buffer.from('{}'), entry: entryOf(0) };
    for (let i = 0; i < 3; i += 1) {
      expect(await reader.findProcess(processId)).to.deep.equal(store.process);
      expect(await reader.findLatest(processId)).to.deep.equal(entryOf(5));
    }
    expect(store.processesRead).to.equal(2);
    expect(store.entriesRead).to.equal(1);
    await reader.findProcess(processId, { showAnchor: true });
    expect(store.processesRead).to.equal(3);
    store.log.push(entryOf(6));
    expect(await reader.findLatest(processId)).to.deep.equal(entryOf(6));
  });

  it('keeps the holes of an old log', async () => {
    const store = new CountingReader([1, 2, 5, 6].map((nonce) => entryOf(nonce)));
    const reader = cacheLogReader(store, LIMITS);
    for (let i = 0; i < 2; i += 1) {
      expect(await noncesOf(reader, {})).to.deep.equal([1, 2, 5, 6]);
      expect(await noncesOf(reader, { from: 3 })).to.deep.equal([5, 6]);
    }
  });

  it('leaves a log with repeated places or falling timestamps to the store', async () => {
    for (const log of [
      [entryOf(1), entryOf(2), { ...entryOf(2), timestamp: 1025 }, entryOf(3)],
      [entryOf(1), entryOf(2, 1090), entryOf(3, 1080), entryOf(4)],
    ]) {
      const store = new CountingReader(log);
      const reader = cacheLogReader(store, LIMITS);
      const first = await noncesOf(reader, {});
      store.entriesRead = 0;
      expect(await noncesOf(reader, {})).to.deep.equal(first);
      expect(store.entriesRead).to.equal(log.length);
    }
  });

  it('does not answer with anchors from what was rendered without', async () => {
    const store = new CountingReader(upTo(5));
    const reader = cacheLogReader(store, LIMITS);
    await noncesOf(reader, {});
    await noncesOf(reader, { showAnchor: true });
    expect(store.entriesRead).to.equal(10);
  });

  it('lets go of entries beyond its bytes, and leaves large ones to the store', async () => {
    const store = new CountingReader(upTo(100));
    const small = cacheLogReader(store, { ...LIMITS, bytesMax: 5_000 });
    await noncesOf(small, {});
    await noncesOf(small, {});
    expect(store.entriesRead).to.equal(200);
    const large = new CountingReader(upTo(3));
    const strict = cacheLogReader(large, { ...LIMITS, entryBytesMax: 10 });
    await noncesOf(strict, {});
    await noncesOf(strict, {});
    expect(large.entriesRead).to.equal(6);
  });

  for (const seed of ['one', 'two', 'three']) {
    it(`answers as the store does, whatever is asked while the log grows (seed ${seed})`, async () => {
      const random = seeded(seed);
      const pick = (below: number): number => Math.floor(random() * below);
      const store = new CountingReader(upTo(20));
      const bytesMax = seed === 'one' ? 1 << 20 : 8_000;
      const reader = cacheLogReader(store, { ...LIMITS, bytesMax });
      for (let i = 0; i < 400; i += 1) {
        if (random() < 0.1) store.log.push(entryOf((store.log.at(-1)?.nonce ?? 0) + 1 + pick(2)));
        const by = random() < 0.5 ? 'nonce' : 'timestamp';
        const scale = (nonce: number): number =>
          by === 'nonce' ? nonce : 1000 + 10 * nonce + pick(2);
        const query = {
          by,
          from: random() < 0.2 ? undefined : scale(pick(60)),
          to: random() < 0.7 ? undefined : scale(pick(60)),
          limit: 1 + pick(30),
        } as const;
        expect(await noncesOf(reader, query), JSON.stringify(query)).to.deep.equal(
          await noncesOf(store, query),
        );
      }
    });
  }
});
