import { expect } from 'chai';
import { LentBuffer } from '../../src/lib/lent-buffer.js';
import { writeEdge } from '../../src/lib/protocol/edge.js';
import type { LogEntry, LogProcess, RangeQuery } from '../../src/lib/scheduler/ports.js';
import {
  makeReadPage,
  type PageQuery,
  type PageReader,
} from '../../src/lib/scheduler/read-page.js';
import { seeded } from '../support/lane-harness.js';
import { idOf } from '../support/memory-store.js';

/** Entries of one stretch. */
const ENTRIES_A_BUFFER = 8;
const PROCESS: LogProcess = {
  processId: idOf('p'),
  entry: undefined,
  record: Buffer.from('{}'),
};

/** A log whose store lends the memory of its edges, and writes over it as soon as it has it back. */
class LendingLog implements PageReader {
  readonly nodes: readonly string[];
  given = 0;
  returned = 0;

  constructor(random: () => number) {
    this.nodes = Array.from({ length: 200 }, (_, index) => {
      const length = random() < 0.1 ? 30_000 : 200 + Math.floor(2000 * random());
      return `{"n":${index + 1},"text":"${'x'.repeat(length)}"}`;
    });
  }

  findHeadPlace(): Promise<{ epoch: number; nonce: number }> {
    return Promise.resolve({ epoch: 0, nonce: this.nodes.length });
  }

  async *readRange({ by, from, to, limit }: RangeQuery): AsyncGenerator<readonly LogEntry[]> {
    const offset = by === 'nonce' ? 0 : 1000;
    const first = from === undefined ? 1 : Math.max(1, from - offset + 1);
    const last = Math.min(
      this.nodes.length,
      to === undefined ? 1e9 : to - offset,
      first + limit - 1,
    );
    for (let nonce = first; nonce <= last;) {
      await Promise.resolve();
      const end = Math.min(last, nonce + ENTRIES_A_BUFFER - ((nonce - 1) % ENTRIES_A_BUFFER) - 1);
      yield this.#piece(nonce, end);
      nonce = end + 1;
    }
  }

  /** Every seventh entry lies elsewhere, as one does that is too large for a stretch. */
  #piece(first: number, last: number): readonly LogEntry[] {
    const bytes = Buffer.alloc(500_000);
    this.given += 1;
    const lent = new LentBuffer(bytes, () => {
      this.returned += 1;
      bytes.fill('#');
    });
    const piece: LogEntry[] = [];
    let end = 0;
    for (let nonce = first; nonce <= last; nonce += 1) {
      const node = Buffer.from(this.nodes[nonce - 1] ?? '');
      const place = { epoch: 0, nonce, timestamp: 1000 + nonce };
      const begin = end;
      if (nonce % 7 === 0) {
        piece.push({ ...place, node });
      } else {
        end = writeEdge(bytes, { node, cursor: nonce }, begin);
        const edge = { lent, begin, end };
        piece.push({ ...place, node: bytes.subarray(begin + 9, begin + 9 + node.length), edge });
      }
    }
    return piece;
  }
}

describe('pages of lent memory', () => {
  for (const seed of ['a', 'b', 'c', 'd']) {
    it(`are right when it is given back as soon as each part was used (seed ${seed})`, async () => {
      const random = seeded(seed);
      const log = new LendingLog(random);
      const readPage = makeReadPage(log, {
        pageBytesMax: 200_000,
        partBytes: 10_000,
        keptBytesMax: 8_000_000,
      });
      for (let round = 0; round < 300; round += 1) {
        const by = random() < 0.7 ? 'nonce' : 'timestamp';
        const offset = by === 'nonce' ? 0 : 1000;
        const start = Math.floor(220 * random());
        const query: PageQuery = {
          by,
          from: random() < 0.1 ? undefined : offset + start,
          to: random() < 0.3 ? offset + start + Math.floor(100 * random()) : undefined,
          limit: 1 + Math.floor(100 * random()),
          showAnchor: false,
        };
        const text: string[] = [];
        for await (const part of readPage(PROCESS, query)) {
          text.push(Buffer.concat(part.chunks).toString());
          part.giveBack();
        }
        const page = JSON.parse(text.join('')) as {
          edges: { node: { n: number }; cursor: string }[];
        };
        const first = query.from === undefined ? 1 : start + 1;
        expect(text.join('')).to.not.contain('#');
        for (const [index, { node, cursor }] of page.edges.entries()) {
          const nonce = first + index;
          expect(JSON.stringify(node)).to.equal(log.nodes[nonce - 1]);
          expect(cursor).to.equal(String(offset + nonce));
        }
      }
      expect(log.returned).to.be.greaterThan(log.given / 2);
    });
  }
});
