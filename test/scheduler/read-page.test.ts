import { expect } from 'chai';
import { DamagedEntryError, SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { makeReadPage, type PagePart, type PageQuery } from '../../src/lib/scheduler/read-page.js';
import { idOf, MemoryLog } from '../support/memory-store.js';

interface PageJson {
  edges: { node: { message: { id: string } }; cursor: string }[];
  page_info: { has_next_page: boolean };
}

const ALL: PageQuery = {
  by: 'timestamp',
  from: undefined,
  to: undefined,
  limit: 100,
  showAnchor: false,
};
const LIMITS = { pageBytesMax: 1_000_000, partBytes: 100_000, keptBytesMax: 0 };

/** A log with the process at 1000 (nonce 0) and messages m1..m9 at nonce 1..9, timestamp 1001..1009. */
function makeLog(options: { withAssignment: boolean; messages?: number }): {
  log: MemoryLog;
  processId: Id;
} {
  const log = new MemoryLog();
  const processId = log.addProcess('p', options.withAssignment ? 1000 : undefined);
  const first = options.withAssignment ? 1 : 0;
  for (let index = 0; index < (options.messages ?? 9); index += 1) {
    log.addEntry(processId, `m${first + index}`, { nonce: first + index });
  }
  return { log, processId };
}

async function readParts(
  { log, processId }: { log: MemoryLog; processId: Id },
  query: Partial<PageQuery>,
  limits: Partial<typeof LIMITS> = {},
): Promise<PagePart[]> {
  const process = log.processes.get(processId);
  if (process === undefined) throw new Error('no such process in the fake');
  const parts: PagePart[] = [];
  for await (const part of makeReadPage(log, { ...LIMITS, ...limits })(process, {
    ...ALL,
    ...query,
  })) {
    parts.push(part);
  }
  return parts;
}

async function readJson(...args: Parameters<typeof readParts>): Promise<PageJson> {
  const parts = await readParts(...args);
  return JSON.parse(Buffer.concat(parts.map((part) => bytesOf(part))).toString()) as PageJson;
}

const bytesOf = ({ chunks }: PagePart): Buffer => Buffer.concat(chunks);

const cursors = (page: PageJson): string[] => page.edges.map((edge) => edge.cursor);

describe('scheduler/read-page', () => {
  describe('the process edge', () => {
    it('comes first, with its own timestamp as cursor, when there is no from', async () => {
      const page = await readJson(makeLog({ withAssignment: true, messages: 2 }), {});
      expect(cursors(page)).to.deep.equal(['1000', '1001', '1002']);
      expect(page.edges[0]?.node.message.id).to.equal(idOf('p'));
    });

    it('does not exist for a process without an assignment', async () => {
      const page = await readJson(makeLog({ withAssignment: false, messages: 2 }), {});
      expect(cursors(page)).to.deep.equal(['1000', '1001']);
    });

    it('is left out by from=0', async () => {
      const page = await readJson(makeLog({ withAssignment: true, messages: 2 }), { from: 0 });
      expect(cursors(page)).to.deep.equal(['1001', '1002']);
    });

    it('is left out by a negative from, which otherwise means the beginning', async () => {
      const log = makeLog({ withAssignment: true, messages: 2 });
      expect(cursors(await readJson(log, { from: -5 }))).to.deep.equal(['1001', '1002']);
      expect(log.log.ranges[0]?.from).to.equal(undefined);
    });

    for (const from of [undefined, -1]) {
      it(`is there, with nonces as cursors, for from-nonce ${String(from)}`, async () => {
        const page = await readJson(makeLog({ withAssignment: true, messages: 2 }), {
          by: 'nonce',
          from,
        });
        expect(cursors(page)).to.deep.equal(['0', '1', '2']);
      });
    }

    it('is left out by from-nonce=0', async () => {
      const page = await readJson(makeLog({ withAssignment: true, messages: 3 }), {
        by: 'nonce',
        from: 0,
        limit: 2,
      });
      expect(cursors(page)).to.deep.equal(['1', '2']);
      expect(page.page_info.has_next_page).to.equal(true);
    });

    it('counts towards the limit', async () => {
      const page = await readJson(makeLog({ withAssignment: true }), { limit: 3 });
      expect(cursors(page)).to.deep.equal(['1000', '1001', '1002']);
      expect(page.page_info.has_next_page).to.equal(true);
    });

    it('alone fills a page of limit 1, which says whether messages follow', async () => {
      const withMessages = await readJson(makeLog({ withAssignment: true, messages: 1 }), {
        limit: 1,
      });
      const without = await readJson(makeLog({ withAssignment: true, messages: 0 }), { limit: 1 });
      expect([cursors(withMessages), withMessages.page_info.has_next_page]).to.deep.equal([
        ['1000'],
        true,
      ]);
      expect([cursors(without), without.page_info.has_next_page]).to.deep.equal([['1000'], false]);
    });

    it('is in a range that ends at its own place', async () => {
      const log = makeLog({ withAssignment: true });
      expect(cursors(await readJson(log, { to: 1000 }))).to.deep.equal(['1000']);
      expect(cursors(await readJson(log, { by: 'nonce', to: 0 }))).to.deep.equal(['0']);
    });
  });

  describe('ranges', () => {
    it('take from as exclusive and to as inclusive, by timestamp', async () => {
      const page = await readJson(makeLog({ withAssignment: true }), { from: 1001, to: 1004 });
      expect(cursors(page)).to.deep.equal(['1002', '1003', '1004']);
      expect(page.page_info.has_next_page).to.equal(false);
    });

    it('take from as exclusive and to as inclusive, by nonce', async () => {
      const page = await readJson(makeLog({ withAssignment: true }), {
        by: 'nonce',
        from: 3,
        to: 5,
      });
      expect(cursors(page)).to.deep.equal(['4', '5']);
    });

    const empty: [string, Partial<PageQuery>][] = [
      ['a to before the process', { to: 999 }],
      ['a to-nonce before the process', { by: 'nonce', to: -1 }],
      ['a from behind the end', { from: 99_999_999_999_999 }],
      ['a from-nonce behind the end', { by: 'nonce', from: 9999 }],
      ['a from that is not before to', { from: 1005, to: 1003 }],
      ['a from equal to to', { from: 1003, to: 1003 }],
    ];
    for (const [name, query] of empty) {
      it(`hold no edges and no next page for ${name}`, async () => {
        const parts = await readParts(makeLog({ withAssignment: true }), query);
        expect(parts.map((part) => bytesOf(part).toString())).to.deep.equal([
          '{"edges":[],"page_info":{"has_next_page":false}}',
        ]);
      });
    }
  });

  describe('has_next_page', () => {
    it('is false at the limit and true one below it', async () => {
      const exact = await readJson(makeLog({ withAssignment: true, messages: 9 }), { limit: 10 });
      const below = await readJson(makeLog({ withAssignment: true, messages: 9 }), { limit: 9 });
      expect([exact.edges.length, exact.page_info.has_next_page]).to.deep.equal([10, false]);
      expect([below.edges.length, below.page_info.has_next_page]).to.deep.equal([9, true]);
    });

    it('is false behind a process that is itself the end of its log', async () => {
      const { log, processId } = makeLog({ withAssignment: true, messages: 0 });
      const process = log.processes.get(processId);
      const entry = process?.entry && { ...process.entry, nonce: 3 };
      if (process === undefined || entry === undefined) throw new Error('no process in the fake');
      log.processes.set(processId, { ...process, entry });
      log.findHeadPlace = () => Promise.resolve(entry as never);
      const page = await readJson({ log, processId }, { by: 'nonce', from: 1, limit: 1 });
      expect(cursors(page)).to.deep.equal(['3']);
      expect(page.page_info.has_next_page).to.equal(false);
    });

    it('only counts what is in the range', async () => {
      const page = await readJson(makeLog({ withAssignment: true }), { to: 1003, limit: 4 });
      expect([cursors(page), page.page_info.has_next_page]).to.deep.equal([
        ['1000', '1001', '1002', '1003'],
        false,
      ]);
    });

    it('costs one entry read beyond the page, and no more', async () => {
      const log = makeLog({ withAssignment: true });
      await readJson(log, { limit: 4 });
      expect(log.log.ranges.map((range) => range.limit)).to.deep.equal([4]);
    });

    it('asks for a safe number of entries whatever the limit', async () => {
      const log = makeLog({ withAssignment: false });
      const page = await readJson(log, { limit: Number.MAX_SAFE_INTEGER });
      expect(page.edges).to.have.length(9);
      expect(Number.isSafeInteger(log.log.ranges[0]?.limit)).to.equal(true);
    });
  });

  describe('the byte limit', () => {
    it('cuts a page short with has_next_page true, and the page stays within it', async () => {
      const whole = (await readParts(makeLog({ withAssignment: true }), {})).map(
        (part) => bytesOf(part).length,
      );
      const bytes = whole.reduce((a, b) => a + b, 0);
      const parts = await readParts(
        makeLog({ withAssignment: true }),
        {},
        { pageBytesMax: bytes - 2 },
      );
      const text = Buffer.concat(parts.map((part) => bytesOf(part))).toString();
      const page = JSON.parse(text) as PageJson;
      expect([page.edges.length, page.page_info.has_next_page]).to.deep.equal([9, true]);
      expect(Buffer.byteLength(text)).to.be.lessThan(bytes);
    });

    it('leaves a page whole that just fits', async () => {
      const log = makeLog({ withAssignment: true });
      const bytes = (await readParts(log, {})).reduce((sum, part) => sum + bytesOf(part).length, 0);
      const page = await readJson(log, {}, { pageBytesMax: bytes + 1 });
      expect([page.edges.length, page.page_info.has_next_page]).to.deep.equal([10, false]);
    });

    it('never cuts before the first edge, however large', async () => {
      const { log, processId } = makeLog({ withAssignment: false, messages: 0 });
      log.addEntry(processId, 'large', { nonce: 0, dataBytes: 5000 });
      log.addEntry(processId, 'small', { nonce: 1 });
      const page = await readJson({ log, processId }, {}, { pageBytesMax: 100 });
      expect([cursors(page), page.page_info.has_next_page]).to.deep.equal([['1000'], true]);
    });

    it('counts what went out in earlier parts', async () => {
      const log = makeLog({ withAssignment: true });
      const bytes = (await readParts(log, {})).reduce((sum, part) => sum + bytesOf(part).length, 0);
      const page = await readJson(log, {}, { pageBytesMax: Math.ceil(bytes / 2), partBytes: 1 });
      expect(page.edges.length).to.be.within(4, 5);
      expect(page.page_info.has_next_page).to.equal(true);
    });
  });

  describe('parts', () => {
    it('join to the same page, whatever their size', async () => {
      const whole = Buffer.concat(
        (await readParts(makeLog({ withAssignment: true }), {})).map((p) => bytesOf(p)),
      );
      for (const partBytes of [1, 150, 400, 10_000]) {
        const parts = await readParts(makeLog({ withAssignment: true }), {}, { partBytes });
        expect(
          Buffer.concat(parts.map((part) => bytesOf(part))).equals(whole),
          `parts of ${partBytes}`,
        ).to.equal(true);
        expect(parts.map((part) => part.last).lastIndexOf(false), 'only the last is last').to.equal(
          parts.length - 2,
        );
      }
    });

    it('are read from the store only when asked for, and the store is let go when the reader stops', async () => {
      const { log, processId } = makeLog({ withAssignment: false });
      const process = log.processes.get(processId);
      const parts = makeReadPage(log, { ...LIMITS, partBytes: 1 })(process!, ALL);
      await parts.next();
      expect([log.piecesRead, log.openRanges]).to.deep.equal([1, 1]);
      await parts.return();
      expect([log.piecesRead, log.openRanges]).to.deep.equal([1, 0]);
    });

    it('fail with the store, never end early', async () => {
      const { log, processId } = makeLog({ withAssignment: false });
      log.failure = new SuError('store-unavailable', 'the store is away');
      log.failAfterPieces = 2;
      const parts = makeReadPage(log, { ...LIMITS, partBytes: 1 })(
        log.processes.get(processId)!,
        ALL,
      );
      const texts: string[] = [];
      let failure: unknown;
      try {
        for await (const part of parts) texts.push(bytesOf(part).toString());
      } catch (error) {
        failure = error;
      }
      expect(failure).to.equal(log.failure);
      expect(() => JSON.parse(texts.join('')) as unknown).to.throw(SyntaxError);
    });
  });

  it('orders by epoch and nonce, whatever the clock said', async () => {
    const { log, processId } = makeLog({ withAssignment: false, messages: 0 });
    log.addEntry(processId, 'second', { nonce: 1, timestamp: 2000 });
    log.addEntry(processId, 'first', { nonce: 0, timestamp: 3000 });
    const page = await readJson({ log, processId }, {});
    // Not 2000: whoever went on from there would be given the first once more.
    expect(cursors(page)).to.deep.equal(['3000', '3000']);
  });

  it('shows entries whose timestamp falls behind, whatever was asked before', async () => {
    const log = new MemoryLog();
    const processId = log.addProcess('p', undefined);
    for (const [index, timestamp] of [10, 20, 30, 45, 50, 40, 60, 70].entries()) {
      log.addEntry(processId, `m${index}`, { nonce: index, timestamp });
    }
    const process = log.processes.get(processId);
    if (process === undefined) throw new Error('no such process in the fake');
    for (const before of [
      [{ from: 30, limit: 1 }, { from: 45 }],
      [{ from: 30, to: 45 }, { from: 50 }],
      [{ from: 60 }],
    ]) {
      const [kept, plain] = [1_000_000, 0].map((keptBytesMax) =>
        makeReadPage(log, { ...LIMITS, keptBytesMax }),
      );
      const read = async (readPage: typeof kept, query: Partial<PageQuery>): Promise<string> => {
        const parts: string[] = [];
        for await (const part of readPage?.(process, { ...ALL, ...query }) ?? []) {
          parts.push(bytesOf(part).toString());
        }
        return parts.join('');
      };
      for (const query of before) await read(kept, query);
      for (const query of [{ from: 30 }, { from: 30, to: 45 }, { from: 20, limit: 3 }, {}]) {
        const expected = await read(plain, query);
        expect(await read(kept, query), JSON.stringify({ before, query })).to.equal(expected);
      }
    }
  });

  it('holds every entry that repeats the last cursor, whatever the limit', async () => {
    const { log, processId } = makeLog({ withAssignment: false, messages: 2 });
    for (const name of ['again', 'and again', 'a third time']) {
      log.addEntry(processId, name, { nonce: 1, timestamp: 1001 });
    }
    log.addEntry(processId, 'behind', { nonce: 2, timestamp: 1002 });
    for (const by of ['nonce', 'timestamp'] as const) {
      const first = await readJson({ log, processId }, { by, limit: 2 });
      expect(first.edges).to.have.lengthOf(5);
      expect(first.page_info.has_next_page).to.equal(true);
      const from = Number(cursors(first).at(-1));
      const second = await readJson({ log, processId }, { by, from, limit: 2 });
      expect(second.edges.map(({ node }) => node.message.id)).to.deep.equal([idOf('behind')]);
    }
  });

  it('ends before an entry that cannot be read, and fails when that is the first', async () => {
    const { log, processId } = makeLog({ withAssignment: false });
    const damage = new DamagedEntryError('nonce 4 cannot be read', { nonce: 4 });
    const failing: Pick<MemoryLog, 'readRange' | 'findHeadPlace'> = {
      findHeadPlace: (id) => log.findHeadPlace(id),
      async *readRange(query) {
        for await (const piece of log.readRange(query)) {
          const before = piece.filter(({ nonce }) => nonce < 4);
          yield before;
          if (before.length < piece.length) throw damage;
        }
      },
    };
    const read = async (from: number | undefined): Promise<PageJson> => {
      const page: Buffer[] = [];
      const process = log.processes.get(processId)!;
      const query = { ...ALL, by: 'nonce', from } as const;
      for await (const { chunks } of makeReadPage(failing, LIMITS)(process, query))
        page.push(...chunks);
      return JSON.parse(Buffer.concat(page).toString()) as PageJson;
    };
    const page = await read(undefined);
    expect(cursors(page)).to.deep.equal(['0', '1', '2', '3']);
    expect(page.page_info.has_next_page).to.equal(true);
    expect(await read(3).catch((error: unknown) => error)).to.equal(damage);
  });

  it('puts node before cursor and edges before page_info, and keeps the bytes of the nodes', async () => {
    const { log, processId } = makeLog({ withAssignment: false, messages: 0 });
    const entry = log.addEntry(processId, 'm', { nonce: 0, dataBytes: 6 });
    const [part] = await readParts({ log, processId }, {});
    expect(part && bytesOf(part).toString()).to.equal(
      `{"edges":[{"node":${Buffer.from(entry.node).toString()},"cursor":"1000"}],"page_info":{"has_next_page":false}}`,
    );
  });
});
