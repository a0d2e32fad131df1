import { setMaxListeners } from 'node:events';
import type { RequestListener } from 'node:http';
import { expect } from 'chai';
import { HttpFailure, makeHttpClient, type HttpAsk } from '../../src/lib/arweave/http-client.js';
import { startServer } from '../support/listening-server.js';

describe('HTTP client', () => {
  const closing: (() => unknown)[] = [];

  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  /** A client with one connection, and what asks this server. */
  async function open(listener: RequestListener) {
    const server = await startServer(listener);
    closing.push(() => server.close());
    const client = makeHttpClient({ connectionsMax: 1 });
    closing.push(() => client.close());
    const ask = (path: string, more: Partial<HttpAsk> = {}) =>
      client.request({
        url: new URL(path, server.url),
        method: 'POST',
        body: Buffer.from(path),
        timeoutMs: 2_000,
        answerBytesMax: 100,
        ...more,
      });
    const failureOf = async (asked: ReturnType<typeof ask>): Promise<HttpFailure> => {
      const failure = await asked.then(
        () => undefined,
        (error: unknown) => error,
      );
      expect(failure).to.be.instanceOf(HttpFailure);
      return failure as HttpFailure;
    };
    return { url: server.url, client, ask, failureOf };
  }

  it('never sends what was given up while it waited for a connection', async () => {
    const seen: string[] = [];
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const { ask, failureOf } = await open((request, response) => {
      seen.push(request.url ?? '');
      void (request.url === '/slow' ? released : Promise.resolve()).then(() =>
        response.end('done'),
      );
    });
    const slow = ask('/slow');
    expect((await failureOf(ask('/late', { timeoutMs: 50 }))).kind).to.equal('timeout');
    const abort = new AbortController();
    const given = ask('/given-up', { signal: abort.signal });
    abort.abort();
    expect((await failureOf(given)).kind).to.equal('aborted');
    release();
    expect((await slow).body.toString()).to.equal('done');
    expect((await ask('/next')).status).to.equal(200);
    expect(seen).to.deep.equal(['/slow', '/next']);
  });

  it('keeps its connection when many that waited for it are given up', async () => {
    const sockets = new Set<unknown>();
    let release: () => void = () => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const { ask, failureOf } = await open((request, response) => {
      sockets.add(request.socket);
      void (request.url === '/slow' ? released : Promise.resolve()).then(() => response.end());
    });
    const slow = ask('/slow');
    await Promise.all(Array.from({ length: 50 }, () => failureOf(ask('/late', { timeoutMs: 20 }))));
    release();
    await slow;
    await ask('/next');
    expect(sockets.size).to.equal(1);
  });

  it('gives the place back of what fails at once', async () => {
    const { ask, failureOf } = await open((_, response) => response.end());
    const headers = { 'bad header': 'x' };
    for (let i = 0; i < 3; i += 1) await failureOf(ask('/', { headers }));
    expect((await ask('/')).status).to.equal(200);
  });

  it('refuses what would wait behind a thousand others', async () => {
    const { ask, failureOf } = await open(() => undefined);
    const abort = new AbortController();
    setMaxListeners(0, abort.signal);
    const waiting = Array.from({ length: 1025 }, () =>
      failureOf(ask('/', { signal: abort.signal })),
    );
    const { kind, message } = await failureOf(ask('/'));
    expect([kind, message]).to.deep.equal(['unreachable', 'too many wait for a connection']);
    abort.abort();
    await Promise.all(waiting);
  });

  it('sends once more what got no answer on a connection that broke, and not again', async () => {
    let asked = 0;
    const { ask, failureOf } = await open((request, response) => {
      asked += 1;
      if (request.url === '/once' && asked === 2) response.end('second');
      else request.socket.destroy();
    });
    expect((await ask('/once')).body.toString()).to.equal('second');
    asked = 0;
    const failure = await failureOf(ask('/always'));
    expect(failure.kind).to.equal('unreachable');
    expect(failure.message).to.match(/^the connection failed \(.+\)$/);
    expect(asked).to.equal(2);
  });

  it('gives what it sends once more the time that is left, and no more', async () => {
    let asked = 0;
    const { ask, failureOf } = await open((request) => {
      asked += 1;
      if (asked === 1) setTimeout(() => request.socket.destroy(), 1_000);
    });
    const begunAt = performance.now();
    expect((await failureOf(ask('/', { timeoutMs: 1_200 }))).kind).to.equal('timeout');
    expect(asked).to.equal(2);
    expect(performance.now() - begunAt).to.be.below(2_000);
  });

  it('does not repeat what broke within its answer', async () => {
    let asked = 0;
    const { ask, failureOf } = await open((request, response) => {
      asked += 1;
      response.writeHead(200, { 'content-length': 10 });
      response.write('12345', () => request.socket.destroy());
    });
    expect((await failureOf(ask('/'))).message).to.equal('the connection broke within the answer');
    expect(asked).to.equal(1);
  });

  it('reads an answer up to its limit, and takes the first of headers that come twice', async () => {
    const { ask } = await open((_, response) => {
      response.writeHead(
        200,
        [
          ['retry-after', '7'],
          ['retry-after', '8'],
        ].flat(),
      );
      response.end('x'.repeat(1_000_000));
    });
    const { body, cut, headers } = await ask('/');
    expect(body.toString()).to.equal('x'.repeat(100));
    expect(cut).to.equal(true);
    expect(headers['retry-after']).to.equal('7');
  });

  it('sends the credentials of a URL', async () => {
    const { url, ask } = await open((request, response) =>
      response.end(request.headers.authorization),
    );
    const withCredentials = new URL(url.replace('//', '//me%40home:secret@'));
    const { body } = await ask('/', { url: withCredentials });
    const expected = Buffer.from('me@home:secret').toString('base64');
    expect(body.toString()).to.equal(`Basic ${expected}`);
  });

  it('refuses credentials that are no percent-encoded text, and is as it was', async () => {
    const { url, ask, failureOf } = await open((_, response) => response.end());
    for (const credentials of ['%zz', 'me:%ff', 'me:50%']) {
      const withCredentials = new URL(url.replace('//', `//${credentials}@`));
      const { kind, message } = await failureOf(ask('/', { url: withCredentials }));
      expect([kind, message]).to.deep.equal([
        'unreachable',
        'the user or password in its URL is not percent-encoded text',
      ]);
    }
    expect((await ask('/')).status).to.equal(200);
  });

  it('fails what is in flight when it is closed', async () => {
    const { client, ask, failureOf } = await open(() => undefined);
    const asked = failureOf(ask('/'));
    setTimeout(() => client.close(), 50);
    expect((await asked).kind).to.equal('unreachable');
    expect((await failureOf(ask('/'))).kind).to.equal('unreachable');
  });
});
