import { expect } from 'chai';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { idOf } from '../support/memory-store.js';
import { openFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.js';
import {
  startRouterApp,
  type RouterAppOptions,
  type RunningRouter,
} from '../support/router-app.js';
import {
  quickMessage,
  quickProcess,
  quickWallet,
  type SignedItem,
} from '../support/signed-items.js';
import { waitFor } from '../support/su-process.js';

const wallet = quickWallet();

function post(url: string, body: Uint8Array): Promise<Response> {
  return fetch(url, { method: 'POST', redirect: 'manual', body });
}

async function until(condition: () => boolean): Promise<void> {
  await waitFor(
    () => (condition() ? true : undefined),
    () => 'it never was so',
    5_000,
  );
}

describe('a router that carries requests', function () {
  this.timeout(20_000);
  let schedulers: FakeScheduler[];
  let router: RunningRouter;

  beforeEach(async () => {
    schedulers = await Promise.all([1, 2].map(() => openFakeScheduler()));
    router = await start({});
  });
  afterEach(async () => {
    await router.close();
    await Promise.all(schedulers.map((each) => each.close()));
  });

  const start = (options: Partial<RouterAppOptions>): Promise<RunningRouter> =>
    startRouterApp({ schedulers: schedulers.map(({ url }) => url), forward: 'proxy', ...options });
  async function restart(options: Partial<RouterAppOptions>): Promise<void> {
    await router.close();
    router = await start(options);
  }
  const scheduler = (index: number): FakeScheduler => {
    const found = schedulers[index];
    if (found === undefined) throw new Error(`there is no SU ${index}`);
    return found;
  };
  const countsOf = async (): Promise<number[]> =>
    (await router.routes.readSchedulers()).map(({ processCount }) => processCount);
  /** A process on the first SU. */
  async function spawn(): Promise<SignedItem> {
    const item = quickProcess(wallet);
    expect((await post(router.url, item.bytes)).status).to.equal(200);
    return item;
  }

  describe('passes on', () => {
    it('the bytes of an item, and the answer with its status and type', async () => {
      const item = await spawn();
      const message = quickMessage(wallet, item.id, 5_000);
      const answer = await post(router.url, message.bytes);
      expect([answer.status, await answer.text()]).to.deep.equal([
        200,
        '{"id":"posted","timestamp":1}',
      ]);
      expect(answer.headers.get('content-type')).to.equal('application/json');
      expect(
        scheduler(0).seen.map(({ body }) => body.equals(item.bytes) || body.equals(message.bytes)),
      ).to.deep.equal([true, true]);
    });

    it('a refusal as the SU says it', async () => {
      const { id } = await spawn();
      scheduler(0).answerWith((_request, response) => {
        response.writeHead(429, { 'retry-after': '7' }).end('{"error":"busy"}');
      });
      const answer = await fetch(`${router.url}/${id}`);
      expect([answer.status, answer.headers.get('retry-after')]).to.deep.equal([429, '7']);
      expect(await answer.text()).to.equal('{"error":"busy"}');
    });

    it('a large answer as it comes, no faster than the client takes it', async () => {
      const { id } = await spawn();
      const piece = Buffer.alloc(65_536, 'x');
      const pieces = 1_600;
      let written = 0;
      scheduler(0).answerWith((_request, response) => {
        const more = (): void => {
          while (written < pieces) {
            written += 1;
            if (!response.write(piece)) {
              response.once('drain', more);
              return;
            }
          }
          response.end();
        };
        more();
      });
      const asked = httpRequest(`${router.url}/${id}`, { agent: false });
      asked.end();
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      answer.pause();
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect(written, 'pieces sent while nobody reads').to.be.lessThan(pieces / 2);
      let bytes = 0;
      for await (const chunk of answer) bytes += (chunk as Buffer).length;
      expect(bytes).to.equal(piece.length * pieces);
    });

    it('HEAD without a body', async () => {
      const { id } = await spawn();
      const answer = await fetch(`${router.url}/${id}`, { method: 'HEAD' });
      expect([answer.status, await answer.text()]).to.deep.equal([200, '']);
      expect(scheduler(0).seen.at(-1)?.method).to.equal('HEAD');
    });

    it('an assign without its body', async () => {
      const { id } = await spawn();
      const path = `/?process-id=${id}&assign=${quickProcess(wallet).id}`;
      expect((await post(router.url + path, Buffer.from('ignored'))).status).to.equal(200);
      const seen = scheduler(0).seen.at(-1);
      expect([seen?.path, seen?.body.length]).to.deep.equal([path, 0]);
      expect(seen?.headers['content-length']).to.equal('0');
    });
  });

  describe('as to headers', () => {
    const headersSeen = async (
      headers: Record<string, string>,
    ): Promise<IncomingMessage['headers']> => {
      const { id } = await spawn();
      const asked = httpRequest(`${router.url}/${id}`, { headers, agent: false });
      asked.end();
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      answer.resume();
      await once(answer, 'end');
      return scheduler(0).seen.at(-1)?.headers ?? {};
    };

    it('drops those of one connection, also those that Connection names', async () => {
      const seen = await headersSeen({
        connection: 'close, X-Own',
        'x-own': '1',
        te: 'trailers',
        'proxy-authorization': 'secret',
        'x-other': '2',
        host: 'router.example',
      });
      expect(seen).to.include({ 'x-other': '2', host: new URL(scheduler(0).url).host });
      expect(seen).not.to.have.any.keys('x-own', 'te', 'proxy-authorization');
      expect(seen.connection).to.equal('keep-alive');
    });

    it('says who the client is, and does not believe what it says itself', async () => {
      const seen = await headersSeen({ 'x-forwarded-for': '1.2.3.4', 'x-real-ip': '1.2.3.4' });
      expect(seen['x-forwarded-for']).to.equal('127.0.0.1');
      expect(seen['x-real-ip']).to.equal(undefined);
    });

    it('believes a trusted proxy, and adds its address', async () => {
      await restart({ trustProxy: ['127.0.0.0/8'] });
      const seen = await headersSeen({ 'x-forwarded-for': '1.2.3.4', 'x-real-ip': '1.2.3.4' });
      expect(seen['x-forwarded-for']).to.equal('1.2.3.4, 127.0.0.1');
      expect(seen['x-real-ip']).to.equal('1.2.3.4');
    });

    it('gives the request the same id on both sides, and each answer header once', async () => {
      const { id } = await spawn();
      scheduler(0).answerWith((_request, response) => {
        response.setHeader('access-control-allow-origin', 'https://su.example');
        response.setHeader('x-request-id', 'another');
        response.setHeader('x-own', 'kept');
        response.end('{}');
      });
      const answer = await fetch(`${router.url}/${id}`, { headers: { 'x-request-id': 'one-id' } });
      expect(scheduler(0).seen.at(-1)?.headers['x-request-id']).to.equal('one-id');
      expect(answer.headers.get('x-request-id')).to.equal('one-id');
      expect(answer.headers.get('access-control-allow-origin')).to.equal('*');
      expect(answer.headers.get('x-own')).to.equal('kept');
    });
  });

  it('keeps its connections to the SUs', async () => {
    const { id } = await spawn();
    for (let count = 0; count < 20; count += 1) await (await fetch(`${router.url}/${id}`)).text();
    expect(scheduler(0).connections()).to.be.lessThan(4);
  });

  it('sends again what met a connection that the SU was just closing', async () => {
    const { id } = await spawn();
    let dropped = 0;
    scheduler(0).answerWith((request, response) => {
      // Only a kept connection may be closed on one.
      if (dropped === 0 && request.method === 'GET') {
        dropped += 1;
        request.socket.resetAndDestroy();
      } else response.end('{}');
    });
    expect((await fetch(`${router.url}/${id}`)).status).to.equal(200);
    expect(dropped).to.equal(1);
  });

  describe('takes a placement back with its count', () => {
    const refuse = (status: number): void =>
      scheduler(0).answerWith((_request, response) =>
        response.writeHead(status).end('{"error":"no"}'),
      );

    it('when the SU refuses the process with 4xx, before the client has the answer', async () => {
      refuse(403);
      const item = quickProcess(wallet);
      expect((await post(router.url, item.bytes)).status).to.equal(403);
      expect(await countsOf()).to.deep.equal([0, 0]);
      expect(await router.routes.findPlacement(item.id)).to.equal(undefined);
      expect(router.lines.some(({ event }) => event === 'placement-taken-back')).to.equal(true);
    });

    it('when the SU could not be reached with it, so that it goes to another one', async () => {
      await scheduler(0).goDown();
      const item = quickProcess(wallet);
      expect((await post(router.url, item.bytes)).status).to.equal(502);
      expect(await countsOf()).to.deep.equal([0, 0]);
      expect((await post(router.url, item.bytes)).status).to.equal(200);
      expect(await countsOf()).to.deep.equal([0, 1]);
      expect(scheduler(1).seen.at(-1)?.body.equals(item.bytes)).to.equal(true);
    });

    it('but not for busy, too slow or any 5xx, which are no verdict', async () => {
      for (const [index, status] of [408, 429, 500, 503].entries()) {
        await restart({ schedulers: [scheduler(0).url] });
        refuse(status);
        expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(status);
        expect(await countsOf(), String(index)).to.deep.equal([1]);
      }
    });

    it('but not of a process that the SU has had before', async () => {
      const item = quickProcess(wallet);
      scheduler(0).processes.add(item.id);
      refuse(403);
      expect((await post(router.url, item.bytes)).status).to.equal(403);
      expect(await countsOf()).to.deep.equal([1, 0]);
    });

    it('but not of one whose SU does not say whether it knows it', async () => {
      for (const status of [401, 403, 405]) {
        await restart({});
        scheduler(0).unknownStatus = status;
        refuse(403);
        expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(403);
        expect(await countsOf(), String(status)).to.deep.equal([1, 0]);
      }
    });

    it('but not of one that was placed before: the spawn of then may still be under way', async () => {
      refuse(500);
      const item = quickProcess(wallet);
      await post(router.url, item.bytes);
      expect(await countsOf()).to.deep.equal([1, 0]);
      refuse(400);
      expect((await post(router.url, item.bytes)).status).to.equal(400);
      expect(await countsOf()).to.deep.equal([1, 0]);
    });

    it('but not when the SU may have taken it from a connection that broke, and is down since', async () => {
      await spawn();
      let taken = 0;
      scheduler(0).answerWith((request) => {
        taken += 1;
        void scheduler(0).goDown();
        request.socket.resetAndDestroy();
      });
      await router.routes.place([{ processId: idOf('other'), choose: () => 2 }]);
      expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(502);
      expect(taken).to.equal(1);
      expect(await countsOf()).to.deep.equal([2, 1]);
    });

    it('but not while another client of the same spawn was accepted', async () => {
      let count = 0;
      scheduler(0).answerWith((_request, response) => {
        count += 1;
        response.writeHead(count === 3 ? 200 : 400).end('{}');
      });
      const item = quickProcess(wallet);
      const statuses = await Promise.all(
        Array.from({ length: 6 }, async () => (await post(router.url, item.bytes)).status),
      );
      expect(statuses.filter((status) => status === 200)).to.have.lengthOf(1);
      expect(await countsOf()).to.deep.equal([1, 0]);
      expect(await router.routes.findPlacement(item.id)).not.to.equal(undefined);
    });
  });

  describe('beside another router on the same database, with the same spawn', () => {
    let other: RunningRouter;
    let item: SignedItem;
    /** Answers of the first SU to spawns, in the order in which they came to it. */
    let answers: ((status: number) => void)[];

    beforeEach(async () => {
      other = await start({ routes: router.routes });
      item = quickProcess(wallet);
      answers = [];
      scheduler(0).answerWith((_request, response) => {
        answers.push((status) => void response.writeHead(status).end('{}'));
      });
    });
    afterEach(() => other.close());

    /** The first to come makes the placement, the second one finds it. */
    async function postToBoth(): Promise<Promise<Response>[]> {
      const first = post(router.url, item.bytes);
      await until(() => answers.length === 1);
      const second = post(other.url, item.bytes);
      await until(() => answers.length === 2);
      return [first, second];
    }

    for (const [title, accepted, refused] of [
      ['was there first', 1, 0],
      ['came later', 0, 1],
    ] as const) {
      it(`keeps the placement that the accepted one goes by when the refused one ${title}`, async () => {
        const posted = await postToBoth();
        answers[refused]?.(403);
        expect((await posted[refused])?.status).to.equal(403);
        answers[accepted]?.(200);
        expect((await posted[accepted])?.status).to.equal(200);
        expect(await router.routes.findPlacement(item.id)).to.include({ rowId: 1 });
        expect(await countsOf()).to.deep.equal([1, 0]);
      });
    }

    it('keeps the placement that a redirecting router has told of', async () => {
      await other.close();
      other = await start({ routes: router.routes, forward: 'redirect' });
      const first = post(router.url, item.bytes);
      await until(() => answers.length === 1);
      const location = (await post(other.url, item.bytes)).headers.get('location');
      expect(location).to.equal(`${scheduler(0).url}/`);
      answers[0]?.(403);
      expect((await first).status).to.equal(403);
      expect(await countsOf()).to.deep.equal([1, 0]);
    });
  });

  describe('and an SU in trouble', () => {
    it('answers 502 at once when nobody listens, and asks no more once the circuit is open', async () => {
      const { id } = await spawn();
      await scheduler(0).goDown();
      for (let count = 0; count < 4; count += 1) {
        const answer = await fetch(`${router.url}/${id}`);
        expect(answer.status).to.equal(502);
        const { error } = (await answer.json()) as { error: string };
        expect(error)
          .to.match(/cannot be reached; try again later$/)
          .and.not.include('127.0.0.1');
      }
      expect(router.circuit.isReachable(scheduler(0).url)).to.equal(false);
      expect(router.lines.filter(({ event }) => event === 'scheduler-lost')).to.have.lengthOf(1);
    });

    it('closes the circuit when the SU is back', async () => {
      await restart({ lookMs: 20 });
      const { id } = await spawn();
      await scheduler(0).goDown();
      await until(() => !router.circuit.isReachable(scheduler(0).url));
      expect((await fetch(`${router.url}/${id}`)).status).to.equal(502);
      await scheduler(0).comeUp();
      await until(() => router.circuit.isReachable(scheduler(0).url));
      expect((await fetch(`${router.url}/${id}`)).status).to.equal(200);
    });

    it('answers 504 when the answer does not come in time', async () => {
      await restart({ upstream: { answerMs: 100 } });
      const { id } = await spawn();
      scheduler(0).answerWith(() => undefined);
      const startedAt = performance.now();
      expect((await fetch(`${router.url}/${id}`)).status).to.equal(504);
      expect(performance.now() - startedAt).to.be.lessThan(2_000);
    });

    it('gives up what waits for an SU as soon as that is known to be lost', async () => {
      await restart({ lookMs: 20, questionMs: 100 });
      const { id } = await spawn();
      scheduler(0).answerWith(() => undefined);
      const waiting = fetch(`${router.url}/${id}`);
      await until(() => scheduler(0).seen.length === 2);
      scheduler(0).health = undefined;
      expect((await waiting).status).to.equal(504);
    });

    it('answers 504 when a connection does not come about', async () => {
      // It accepts, and never answers the TLS handshake.
      const sockets: Socket[] = [];
      const deaf = createServer((socket) => void sockets.push(socket.on('error', () => undefined)));
      await new Promise<void>((resolve) => deaf.listen(0, '127.0.0.1', resolve));
      const { port } = deaf.address() as AddressInfo;
      await restart({
        schedulers: [`https://127.0.0.1:${port}`],
        upstream: { connectMs: 100 },
        failuresMax: 99,
        questionMs: 100,
      });
      const { id } = quickProcess(wallet);
      await router.routes.place([{ processId: id, choose: () => 1 }]);
      expect((await fetch(`${router.url}/${id}`)).status).to.equal(504);
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => deaf.close(resolve));
    });

    it('breaks its own answer off when the SU does, so that half a page is never taken for a whole', async () => {
      const { id } = await spawn();
      scheduler(0).answerWith((_request, response) => {
        response.write('{"edges":[', () => response.destroy());
      });
      const answer = await fetch(`${router.url}/${id}`).catch(() => undefined);
      const text = await answer?.text().catch(() => undefined);
      expect(text).to.equal(undefined);
      await until(() => router.lines.some(({ code }) => code === 'scheduler-unavailable'));
    });

    it('stops asking when the client goes away', async () => {
      const { id } = await spawn();
      let isOver = false;
      scheduler(0).answerWith(
        (_request, response) => void response.once('close', () => (isOver = true)),
      );
      const abort = new AbortController();
      const waiting = fetch(`${router.url}/${id}`, { signal: abort.signal }).catch(() => 'aborted');
      await until(() => scheduler(0).seen.length === 2);
      abort.abort();
      expect(await waiting).to.equal('aborted');
      await until(() => isOver);
      expect(
        router.circuit.takesNew(scheduler(0).url),
        'a client that left is no failure of the SU',
      ).to.equal(true);
    });

    it('cuts off answers that nobody takes when others want their places', async () => {
      await restart({ upstream: { inFlightMax: 2, stalledMs: 100 } });
      const { id } = await spawn();
      scheduler(0).answerWith((request, response) =>
        response.end(request.url?.includes('large') === true ? Buffer.alloc(50_000_000) : '{}'),
      );
      const { port } = new URL(router.url);
      const idle = [1, 2].map(() => {
        const socket = connect(Number(port), '127.0.0.1').pause();
        socket.write(`GET /${id}?large HTTP/1.1\r\nHost: r\r\n\r\n`);
        return socket;
      });
      const statusOfNext = async (): Promise<number> => (await fetch(`${router.url}/${id}`)).status;
      const statuses = new Set<number>();
      await waitFor(
        async () => {
          const status = await statusOfNext();
          statuses.add(status);
          return statuses.has(503) && status === 200 ? true : undefined;
        },
        () => `answers were ${[...statuses].join(', ')}`,
        5_000,
      );
      expect([...statuses].toSorted((a, b) => a - b)).to.deep.equal([200, 503]);
      for (const socket of idle) socket.destroy();
    });

    it('sends nothing of a client that has gone already, whose address is not known any more', async () => {
      const { id } = await spawn();
      const { port } = new URL(router.url);
      for (let i = 0; i < 5; i += 1) {
        const { bytes } = quickMessage(wallet, id);
        const socket = connect(Number(port), '127.0.0.1');
        const head = `POST / HTTP/1.1\r\nHost: r\r\nContent-Length: ${bytes.length}\r\n\r\n`;
        socket.write(Buffer.concat([Buffer.from(head), bytes]), () => socket.resetAndDestroy());
        await once(socket, 'close');
      }
      // Requests are looked at in the order in which they come.
      expect((await post(router.url, quickMessage(wallet, id).bytes)).status).to.equal(200);
      const posted = scheduler(0).seen.map(({ headers }) => headers['x-forwarded-for']);
      expect(posted).not.to.include('');
    });

    it('refuses with 503 what exceeds the requests to one SU, and leaves the others alone', async () => {
      await restart({ upstream: { inFlightMax: 3 } });
      const [first, second] = [await spawn(), await spawn()];
      const held: (() => void)[] = [];
      scheduler(0).answerWith((_request, response) => void held.push(() => response.end('{}')));
      const waiting = Array.from({ length: 5 }, () => fetch(`${router.url}/${first.id}`));
      await until(() => held.length === 3);
      expect((await fetch(`${router.url}/${second.id}`)).status).to.equal(200);
      const done = Promise.all(waiting.map(async (each) => (await each).status));
      for (const release of held) release();
      expect((await done).toSorted((a, b) => a - b)).to.deep.equal([200, 200, 200, 503, 503]);
      expect((await fetch(`${router.url}/${second.id}`)).status).to.equal(200);
    });

    it('places no process anywhere while all SUs are down: 502', async () => {
      await restart({ lookMs: 20 });
      for (const each of schedulers) await each.goDown();
      await until(() => schedulers.every(({ url }) => !router.circuit.takesNew(url)));
      expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(502);
      expect(await countsOf()).to.deep.equal([0, 0]);
    });
  });
});
