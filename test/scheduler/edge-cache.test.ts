import { expect } from 'chai';
import { makeReadPage, type PageQuery } from '../../src/lib/scheduler/read-page.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { seeded } from '../support/lane-harness.js';
import { MemoryLog } from '../support/memory-store.js';

const LIMITS = { pageBytesMax: 1_000_000, partBytes: 2_000, keptBytesMax: 1 << 20 };

interface Answer {
  readonly text: string;
  readonly cursors: readonly number[];
  readonly hasNextPage: boolean;
}

/** A log, and its pages with a memory and without. */
class Bench {
  readonly log = new MemoryLog();
  readonly processId: Id;
  readonly #kept;
  readonly #plain;

  constructor(limits: Partial<typeof LIMITS> = {}, spawnedAt: number | undefined = 1000) {
    this.processId = this.log.addProcess('p', spawnedAt);
    this.#kept = makeReadPage(this.log, { ...LIMITS, ...limits });
    this.#plain = makeReadPage(this.log, { ...LIMITS, ...limits, keptBytesMax: 0 });
  }

  add(nonce: number, timestamp = 1000 + 10 * nonce, epoch = 0): void {
    const name = `m${nonce} ${timestamp} ${epoch}`;
    this.log.addEntry(this.processId, name, { nonce, timestamp, epoch, dataBytes: 20 });
  }

  addUpTo(count: number): this {
    for (let nonce = 1; nonce <= count; nonce += 1) this.add(nonce);
    return this;
  }

  read(query: Partial<PageQuery>): Promise<Answer> {
    return this.#read(this.#kept, query);
  }

  readPlain(query: Partial<PageQuery>): Promise<Answer> {
    return this.#read(this.#plain, query);
  }

  /** Ranges that the store was asked for since the last call. */
  ranges(): number {
    return this.log.ranges.splice(0).length;
  }

  async #read(
    readPage: ReturnType<typeof makeReadPage>,
    query: Partial<PageQuery>,
  ): Promise<Answer> {
    const process = this.log.processes.get(this.processId);
    if (process === undefined) throw new Error('no such process in the fake');
    const wanted = { by: 'nonce', from: undefined, to: undefined, limit: 100, showAnchor: false };
    const parts: Buffer[] = [];
    for await (const { chunks } of readPage(process, { ...wanted, ...query } as PageQuery)) {
      parts.push(Buffer.concat(chunks));
    }
    const text = Buffer.concat(parts).toString();
    const page = JSON.parse(text) as {
      edges: { cursor: string }[];
      page_info: { has_next_page: boolean };
    };
    const cursors = page.edges.map(({ cursor }) => Number(cursor));
    return { text, cursors, hasNextPage: page.page_info.has_next_page };
  }
}

const numbers = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe('scheduler/edge-cache', () => {
  it('answers what was read before without the store: the same page, and any part of it', async () => {
    const bench = new Bench().addUpTo(50);
    const first = await bench.read({ limit: 41 });
    expect([first.cursors, first.hasNextPage]).to.deep.equal([numbers(0, 40), true]);
    expect(bench.ranges()).to.equal(1);
    // That there is a next page the place of the last entry tells; up to where it has any has to be read.
    expect((await bench.read({ limit: 41 })).text).to.equal(first.text);
    expect(bench.ranges()).to.equal(0);
    for (const [to, hasNextPage] of [
      [40, false],
      [45, true],
      [50, true],
    ] as const) {
      expect((await bench.read({ limit: 41, to })).hasNextPage).to.equal(hasNextPage);
    }
    bench.ranges();
    const inside = await bench.read({ from: 10, limit: 3 });
    expect([inside.cursors, inside.hasNextPage]).to.deep.equal([numbers(11, 13), true]);
    const upTo = await bench.read({ from: 10, to: 13 });
    expect([upTo.cursors, upTo.hasNextPage]).to.deep.equal([numbers(11, 13), false]);
    expect(bench.ranges()).to.equal(0);
  });

  it('sends kept bytes as they are, not copies of them', async () => {
    const { log, processId } = new Bench().addUpTo(50);
    const readPage = makeReadPage(log, LIMITS);
    const process = log.processes.get(processId)!;
    const query = {
      by: 'nonce',
      from: 0,
      to: undefined,
      limit: 45,
      showAnchor: false,
    } as const;
    const memories: Set<unknown>[] = [];
    for (let i = 0; i < 2; i += 1) {
      const seen = new Set<unknown>();
      for await (const { chunks } of readPage(process, query)) {
        for (const { buffer } of chunks) seen.add(buffer);
      }
      memories.push(seen);
    }
    const shared = [...(memories[1] ?? [])].filter((memory) => memories[0]?.has(memory));
    expect(shared.length).to.be.greaterThan(1);
  });

  it('asks for the head alone where nothing more is there, and sees at once when something is', async () => {
    const bench = new Bench().addUpTo(5);
    await bench.read({ from: 2 });
    bench.ranges();
    for (const from of [2, 5, 9]) {
      const { cursors, hasNextPage } = await bench.read({ from });
      expect([cursors, hasNextPage]).to.deep.equal([numbers(from + 1, 5), false]);
    }
    expect(bench.ranges()).to.equal(0);
    bench.add(6);
    expect((await bench.read({ from: 5 })).cursors).to.deep.equal([6]);
    expect((await bench.read({ from: 4, limit: 1 })).hasNextPage).to.equal(true);
    bench.ranges();
    expect((await bench.read({ from: 2 })).cursors).to.deep.equal([3, 4, 5, 6]);
    expect(bench.ranges(), 'joined of what two reads left').to.equal(0);
  });

  it('does not take the end of one epoch for the end of the log', async () => {
    const bench = new Bench().addUpTo(5);
    bench.add(3, 2000, 1);
    for (let i = 0; i < 2; i += 1) {
      expect((await bench.read({ from: 2 })).cursors).to.deep.equal([3, 4, 5, 3]);
      expect((await bench.read({ from: 5 })).cursors).to.deep.equal([]);
    }
    expect(bench.ranges()).to.equal(4);
  });

  it('keeps the holes of an old log', async () => {
    const bench = new Bench();
    for (const nonce of [1, 2, 5, 6]) bench.add(nonce);
    for (let i = 0; i < 2; i += 1) {
      expect((await bench.read({ from: 0 })).cursors).to.deep.equal([1, 2, 5, 6]);
      expect((await bench.read({ from: 3 })).cursors).to.deep.equal([5, 6]);
      expect((await bench.read({ from: 3, to: 4 })).cursors).to.deep.equal([]);
    }
    bench.ranges();
    await bench.read({ from: 4, to: 5 });
    expect(bench.ranges()).to.equal(0);
  });

  it('leaves a log with repeated places or falling timestamps to the store', async () => {
    const repeated = new Bench().addUpTo(4);
    repeated.add(2, 1025);
    const falling = new Bench().addUpTo(1);
    falling.add(2, 1090);
    falling.add(3, 1080);
    falling.add(4, 1100);
    const early = new Bench({}, 5000).addUpTo(4);
    for (const bench of [repeated, falling, early]) {
      const expected = await bench.readPlain({});
      bench.ranges();
      for (let i = 0; i < 2; i += 1) {
        expect((await bench.read({})).text).to.equal(expected.text);
        expect(bench.ranges()).to.equal(1);
      }
    }
  });

  it('keeps nothing whose end nobody has looked behind', async () => {
    const bench = new Bench({ partBytes: 1 }).addUpTo(3);
    bench.add(3, 1031);
    bench.log.pieceEntries = 1;
    const process = bench.log.processes.get(bench.processId)!;
    const readPage = makeReadPage(bench.log, { ...LIMITS, partBytes: 1 });
    const query = { by: 'nonce', from: 0, to: undefined, limit: 9, showAnchor: false } as const;
    const gone = readPage(process, query);
    for (let part = 0; part < 3; part += 1) await gone.next();
    await gone.return();
    const parts: Buffer[] = [];
    for await (const { chunks } of readPage(process, query)) parts.push(...chunks);
    expect(JSON.parse(Buffer.concat(parts).toString())).to.have.nested.property('edges.length', 4);
  });

  it('does not answer with anchors from what was rendered without, nor keeps what was rendered with', async () => {
    const bench = new Bench().addUpTo(5);
    await bench.read({ showAnchor: true });
    await bench.read({});
    await bench.read({ showAnchor: true });
    expect(bench.ranges()).to.equal(3);
  });

  it('cuts kept edges at the bytes of a page as fresh ones', async () => {
    for (const pageBytesMax of [100, 500, 1_001, 1_002, 1_003, 1_800]) {
      const bench = new Bench({ pageBytesMax }).addUpTo(30);
      const expected = await bench.readPlain({ from: 3 });
      for (let i = 0; i < 3; i += 1) {
        expect((await bench.read({ from: 3 })).text).to.equal(expected.text);
      }
    }
  });

  it('lets go of edges beyond its bytes: first of those that were asked for once', async () => {
    const bench = new Bench({ keptBytesMax: 20_000 }).addUpTo(200);
    for (let i = 0; i < 2; i += 1) await bench.read({ from: 10, limit: 5 });
    for (let from = 20; from < 190; from += 10) await bench.read({ from, limit: 10 });
    bench.ranges();
    await bench.read({ from: 10, limit: 4 });
    expect(bench.ranges(), 'asked for twice').to.equal(0);
    await bench.read({ from: 20, limit: 4 });
    expect(bench.ranges(), 'asked for once').to.equal(1);
  });

  it('keeps no block of more than its share', async () => {
    const bench = new Bench({ keptBytesMax: 1_000 }).addUpTo(20);
    for (let i = 0; i < 2; i += 1) await bench.read({ limit: 10 });
    expect(bench.ranges()).to.equal(2);
  });

  for (const seed of ['one', 'two', 'three', 'four']) {
    it(`answers as without a memory, whatever is asked while the log grows (seed ${seed})`, async () => {
      const random = seeded(seed);
      const pick = (below: number): number => Math.floor(random() * below);
      const bench = new Bench({
        keptBytesMax: seed === 'one' ? 1 << 20 : 12_000,
        partBytes: seed === 'four' ? 1 : 1_500,
        pageBytesMax: seed === 'three' ? 3_000 : 1_000_000,
      }).addUpTo(20);
      let newest = 20;
      for (let i = 0; i < 600; i += 1) {
        if (random() < 0.1) bench.add((newest += 1 + pick(2)));
        const by = random() < 0.5 ? 'nonce' : 'timestamp';
        const scale = (nonce: number): number =>
          by === 'nonce' ? nonce : 1000 + 10 * nonce + pick(2);
        const query = {
          by,
          from: random() < 0.2 ? undefined : scale(pick(60) - 2),
          to: random() < 0.7 ? undefined : scale(pick(60)),
          limit: 1 + pick(30),
        } as const;
        expect((await bench.read(query)).text, JSON.stringify(query)).to.equal(
          (await bench.readPlain(query)).text,
        );
      }
    });
  }
});
