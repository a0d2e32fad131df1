import { expect } from 'chai';
import Koa from 'koa';
import { once } from 'node:events';
import { createServer, get, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeHoldAnswers, ANSWER_LIMITS } from '../../src/lib/http/hold-answers.js';
import type { RequestState } from '../../src/lib/http/request-log.js';
import { answerPage } from '../../src/lib/http/stream-page.js';
import type { PagePart } from '../../src/lib/scheduler/read-page.js';

const PARTS = 60;
const PART_BYTES = 300_000;

/** Parts whose memory is written over as soon as it is given back. */
class Parts {
  returned = 0;
  made = 0;

  async *read(chunksOf: (bytes: Buffer) => readonly Buffer[]): AsyncGenerator<PagePart, void> {
    for (let index = 0; index < PARTS; index += 1) {
      await Promise.resolve();
      const bytes = Buffer.alloc(PART_BYTES, 65 + (index % 26));
      this.made += 1;
      yield {
        chunks: chunksOf(bytes),
        last: index === PARTS - 1,
        edges: index,
        giveBack: () => {
          this.returned += 1;
          bytes.fill('#');
        },
      };
    }
  }
}

const inChunks = (bytes: Buffer): readonly Buffer[] => [
  bytes.subarray(0, 10),
  bytes.subarray(10, 270_000),
  bytes.subarray(270_000, 270_001),
  bytes.subarray(270_001),
];

describe('a page whose memory is used again', () => {
  let server: Server;
  let parts: Parts;

  beforeEach(async () => {
    parts = new Parts();
    const app = new Koa<RequestState>();
    const hold = makeHoldAnswers(ANSWER_LIMITS);
    app.silent = true;
    app.use(async (ctx) => {
      ctx.state.notes = {};
      await answerPage(ctx, parts.read(inChunks), (bytes) => hold(ctx.res, bytes));
    });
    const handle = app.callback();
    server = createServer((request, response) => void handle(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const ask = async (): Promise<IncomingMessage> => {
    const { port } = server.address() as AddressInfo;
    const request = get({ port, host: '127.0.0.1' });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return response;
  };

  for (const pauseMs of [0, 2]) {
    it(`arrives as it was, also when the client takes it slowly (${pauseMs} ms a piece)`, async () => {
      const response = await ask();
      const pieces: Buffer[] = [];
      for await (const piece of response) {
        pieces.push(piece as Buffer);
        if (pauseMs > 0 && pieces.length % 8 === 0) await sleep(pauseMs);
      }
      const page = Buffer.concat(pieces);
      expect(page).to.have.lengthOf(PARTS * PART_BYTES);
      for (let index = 0; index < PARTS; index += 1) {
        const part = page.subarray(index * PART_BYTES, (index + 1) * PART_BYTES);
        expect(part.equals(Buffer.alloc(PART_BYTES, 65 + (index % 26)))).to.equal(true);
      }
      expect(parts.returned).to.equal(PARTS);
    });
  }

  it('is not made while the client takes nothing, nor when it has gone', async () => {
    const response = await ask();
    response.pause();
    await sleep(200);
    const { made, returned } = parts;
    expect(made).to.be.lessThan(PARTS);
    expect(returned).to.be.at.least(made - 2);
    await sleep(100);
    expect(parts.made, 'nothing more is made for it').to.equal(made);
    response.destroy();
    await sleep(100);
    expect(parts.made).to.be.at.most(made + 1);
  });
});
