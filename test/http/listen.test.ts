import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { listen } from '../../src/lib/http/listen.js';
import { openLog } from '../../src/lib/observability/log.js';
import { idOf } from '../support/memory-store.js';
import { RawClient, startApp, type RunningApp } from '../support/scheduler-app.js';

const HEAD = 'POST / HTTP/1.1\r\nHost: x\r\n';

describe('http/listen and http/read-body', () => {
  let app: RunningApp;
  afterEach(() => app.server.close(1000));

  describe('bodies', () => {
    it('of exactly the limit are taken, one byte more is 413, declared or counted', async () => {
      app = await startApp({ limits: { bodyBytesMax: 100_000 } });
      const exact = await fetch(app.url, { method: 'POST', body: Buffer.alloc(100_000) });
      expect(exact.status).to.equal(200);
      const declared = await fetch(app.url, { method: 'POST', body: Buffer.alloc(100_001) });
      expect([declared.status, await declared.json()]).to.deep.equal([
        413,
        { error: 'the body of 100001 bytes is larger than the limit of 100000 bytes' },
      ]);
      const client = new RawClient(app);
      client.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
      for (let sent = 0; sent <= 100_000; sent += 0x2000)
        client.write(`2000\r\n${'x'.repeat(0x2000)}\r\n`);
      await client.until('larger than the limit');
      expect(client.received).to.match(/^HTTP\/1\.1 413 /);
      expect(app.submit.bodies.map((body) => body.length)).to.deep.equal([100_000]);
      client.socket.destroy();
    });

    it('that are chunked arrive whole and in order', async () => {
      app = await startApp();
      const client = new RawClient(app);
      client.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`);
      client.write('4\r\ndefg\r\n0\r\n\r\n');
      await client.until('timestamp');
      expect(Buffer.from(app.submit.bodies[0] ?? []).toString()).to.equal('abcdefg');
      client.socket.destroy();
    });

    it('too large are answered before they are sent, and the connection serves on when they were', async () => {
      app = await startApp({ limits: { bodyBytesMax: 10 } });
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 20\r\n\r\n`);
      await client.until('larger than the limit');
      client.write(`${'x'.repeat(20)}GET / HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.until('address');
      client.socket.destroy();
    });

    it('too large and never finished are cut off after a while', async () => {
      app = await startApp({ limits: { bodyBytesMax: 10 }, timeouts: { lingerMs: 50 } });
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 20\r\n\r\nxxxx`);
      await client.closed;
      expect(client.received).to.match(/^HTTP\/1\.1 413 /);
    });

    it('too large are not invited when the client asks first', async () => {
      app = await startApp({ limits: { bodyBytesMax: 10 } });
      const refused = new RawClient(app);
      refused.write(`${HEAD}Expect: 100-continue\r\nContent-Length: 20\r\n\r\n`);
      await refused.until('larger than the limit');
      expect(refused.received).to.match(/^HTTP\/1\.1 413 /);
      const taken = new RawClient(app);
      taken.write(`${HEAD}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`);
      await taken.until('100 Continue');
      taken.write('abc');
      await taken.until('timestamp');
      expect(app.submit.bodies).to.have.length(1);
      refused.socket.destroy();
      taken.socket.destroy();
    });

    it('that come too slowly are 408', async () => {
      app = await startApp({ limits: { bodyTimeoutMs: 60 }, timeouts: { lingerMs: 50 } });
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 20\r\n\r\nxxxx`);
      await client.closed;
      expect(client.received).to.match(/^HTTP\/1\.1 408 /);
      expect(client.received).to.contain('{"error":"the body was not complete after 60 ms"}');
      expect(app.submit.bodies).to.deep.equal([]);
    });

    it('that are broken off are not submitted', async () => {
      app = await startApp();
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 20\r\n\r\nxxxx`);
      await new Promise((resolve) => client.socket.once('connect', resolve));
      client.socket.end(() => client.socket.destroy());
      while (!app.lines.some((line) => line['event'] === 'request'))
        await new Promise(setImmediate);
      expect(app.submit.bodies).to.deep.equal([]);
      expect(app.lines[0]).to.include({ level: 'info', code: 'invalid-request', clientGone: true });
    });

    it('are refused with 503 while too many bytes are held, and taken again afterwards', async () => {
      app = await startApp({ limits: { bodiesBytesMax: 1000 } });
      let answer: () => void = () => {};
      const receipt = { id: idOf('item'), timestamp: 1 };
      app.submit.answer = () => new Promise((resolve) => (answer = () => resolve(receipt)));
      const first = fetch(app.url, { method: 'POST', body: Buffer.alloc(900) });
      while (app.submit.bodies.length === 0) await new Promise(setImmediate);
      const second = await fetch(app.url, { method: 'POST', body: Buffer.alloc(200) });
      expect([second.status, second.headers.get('retry-after')]).to.deep.equal([503, '1']);
      answer();
      expect((await first).status).to.equal(200);
      app.submit.answer = () => Promise.resolve(receipt);
      expect((await fetch(app.url, { method: 'POST', body: Buffer.alloc(900) })).status).to.equal(
        200,
      );
    });
  });

  describe('bodies that never end', () => {
    const LIMITS = { bodiesBytesMax: 1_000_000, smallBodyBytesMax: 10_000, bodyBytesMax: 500_000 };
    const post = (bytes: number): Promise<Response> =>
      fetch(app.url, { method: 'POST', body: Buffer.alloc(bytes) });
    const begin = (bytes: number): RawClient => {
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 500000\r\n\r\n`);
      client.write(Buffer.alloc(bytes, 'x'));
      return client;
    };

    it('give way to others when they are too many, largest and oldest first, and never keep out small ones', async () => {
      app = await startApp({ limits: LIMITS });
      const stuck = [begin(400_000), begin(300_000)];
      // Refused only where both of the others are held already.
      while ((await post(9_000)).status !== 200) await new Promise(setImmediate);
      expect((await post(490_000)).status).to.equal(200);
      await stuck[0]?.until('too many bodies are being received');
      expect(stuck[0]?.received).to.match(/^HTTP\/1\.1 503 [^]*Retry-After: 1\r\n/);
      for (const client of stuck) client.socket.destroy();
    });

    it('are 408 when they come too slowly on average', async () => {
      app = await startApp({ limits: { bodyPatienceMs: 50, bodyBytesPerSecondMin: 1_000_000 } });
      const client = begin(2_000);
      await client.until('more slowly than 1000000 bytes a second');
      expect(client.received).to.match(/^HTTP\/1\.1 408 /);
      client.socket.destroy();
    });

    it('are waited for when they come fast enough', async () => {
      app = await startApp({ limits: { bodyPatienceMs: 20, bodyBytesPerSecondMin: 10 } });
      const client = begin(400_000);
      await pause(80);
      client.write(Buffer.alloc(100_000, 'y'));
      await client.until('timestamp');
      client.socket.destroy();
    });
  });

  describe('requests sent ahead', () => {
    const GET = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

    it('are served one after the other, in order', async () => {
      app = await startApp();
      const answers: (() => void)[] = [];
      app.submit.answer = () =>
        new Promise((resolve) =>
          answers.push(() => resolve({ id: idOf(`${answers.length}`), timestamp: 1 })),
        );
      const client = new RawClient(app);
      const body = `${HEAD}Content-Length: 4\r\n\r\n`;
      client.write(`${body}one.${body}two.${GET('/')}`);
      client.write(body);
      client.write('last');
      for (const [index, text] of ['one.', 'two.', 'last'].entries()) {
        while (app.submit.bodies.length <= index) await new Promise(setImmediate);
        expect(app.submit.bodies).to.have.length(index + 1);
        expect(Buffer.from(app.submit.bodies[index] ?? []).toString()).to.equal(text);
        expect(client.received.split('HTTP/1.1 200').length - 1).to.equal([0, 1, 3][index]);
        answers[index]?.();
        await client.until(idOf(`${index + 1}`));
      }
      client.socket.destroy();
    });

    it('read the store only for the answer that the client takes', async () => {
      app = await startApp();
      const processId = app.log.addProcess('p');
      const { messageId } = app.log.addEntry(processId, 'm', { nonce: 0, dataBytes: 20_000_000 });
      let reads = 0;
      const find = app.log.findEntry.bind(app.log);
      app.log.findEntry = (...args) => {
        reads += 1;
        return find(...args);
      };
      const client = new RawClient(app);
      client.socket.pause();
      client.write(GET(`/${messageId}?process-id=${processId}`).repeat(64));
      while (reads === 0) await new Promise(setImmediate);
      await pause(100);
      expect(reads).to.equal(1);
      client.socket.destroy();
    });

    it('are cut off when they are more than anybody sends', async () => {
      app = await startApp();
      app.submit.answer = () => new Promise(() => {});
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 4\r\n\r\nitem${GET('/').repeat(65)}`);
      await client.closed;
      expect(client.received).to.equal('');
    });

    it('are all answered when the server stops meanwhile', async () => {
      app = await startApp();
      let answer: () => void = () => {};
      app.submit.answer = () =>
        new Promise((resolve) => (answer = () => resolve({ id: idOf('late'), timestamp: 2 })));
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 4\r\n\r\nitem${GET('/').repeat(2)}`);
      while (app.submit.bodies.length === 0) await new Promise(setImmediate);
      const closing = app.server.close(10_000);
      answer();
      await closing;
      await client.closed;
      expect(client.received.split('HTTP/1.1 200')).to.have.length(4);
      expect(client.received.toLowerCase().split('connection: close')).to.have.length(2);
    });
  });

  describe('what is no proper request', () => {
    it('is answered in JSON: garbage 400, headers too large 431', async () => {
      app = await startApp();
      for (const [text, status] of [
        ['this is not http\r\n\r\n', 400],
        [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
      ] as const) {
        const client = new RawClient(app);
        client.write(text);
        await client.closed;
        expect(client.received).to.match(new RegExp(`^HTTP/1\\.1 ${status} `));
        expect(client.received).to.match(
          /Content-Type: application\/json\r\n[^]*\{"error":"[^"]+"\}$/,
        );
      }
    });

    it('is answered in JSON and logged when HTTP/1.1 comes without a Host, and serves on', async () => {
      app = await startApp();
      const client = new RawClient(app);
      client.write('POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nitem');
      await client.until('which HTTP/1.1 requires');
      expect(client.received).to.match(
        /^HTTP\/1\.1 400 [^]*\{"error":"the request has no Host header, which HTTP\/1\.1 requires"\}$/,
      );
      client.write('GET / HTTP/1.1\r\nHost:\r\n\r\n');
      await client.until('address');
      client.socket.destroy();
      expect(app.submit.bodies).to.deep.equal([]);
      expect(app.lines[0]).to.include({ level: 'info', status: 400, code: 'invalid-request' });
    });

    it('is not what comes without a Host in HTTP/1.0', async () => {
      app = await startApp();
      const client = new RawClient(app);
      client.write('GET / HTTP/1.0\r\n\r\n');
      await client.closed;
      expect(client.received).to.match(/^HTTP\/1\.1 200 [^]*"address"/);
    });

    it('that never ends its headers is closed with 408', async () => {
      app = await startApp({ timeouts: { headersMs: 80 } });
      const client = new RawClient(app);
      client.write('GET / HTTP/1.1\r\nHost: x\r\n');
      await client.closed;
      expect(client.received).to.match(/^HTTP\/1\.1 408 /);
    });
  });

  it('closes a connection on which nothing moves', async () => {
    app = await startApp({ timeouts: { idleMs: 60 } });
    const client = new RawClient(app);
    await client.closed;
    expect(client.received).to.equal('');
  });

  it('refuses a port in use with a sentence', async () => {
    app = await startApp();
    const { port } = app.server;
    let failure: unknown;
    try {
      await listen(
        { callback: () => () => {} },
        { host: '127.0.0.1', port, log: openLog({ level: 'silent' }) },
      );
    } catch (error) {
      failure = error;
    }
    expect(isSuError(failure, 'invalid-config')).to.equal(true);
    expect((failure as Error).message).to.equal(
      `cannot listen on 127.0.0.1:${port}: another program uses this port`,
    );
  });

  describe('close', () => {
    it('finishes what is in flight, closes what is idle, and accepts nothing new', async () => {
      app = await startApp();
      let answer: () => void = () => {};
      app.submit.answer = () =>
        new Promise((resolve) => (answer = () => resolve({ id: idOf('late'), timestamp: 2 })));
      const silent = new RawClient(app);
      const idle = new RawClient(app);
      idle.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await idle.until('address');
      const busy = new RawClient(app);
      busy.write(`${HEAD}Content-Length: 4\r\n\r\nitem`);
      while (app.submit.bodies.length === 0) await new Promise(setImmediate);

      let isClosed = false;
      const closing = app.server.close(10_000).then(() => (isClosed = true));
      await Promise.all([silent.closed, idle.closed]);
      const late = new RawClient(app);
      await late.closed;
      expect(late.received).to.equal('');
      expect(isClosed).to.equal(false);
      answer();
      await closing;
      await busy.closed;
      expect(busy.received)
        .to.match(/^HTTP\/1\.1 200 /)
        .and.to.contain(idOf('late'));
      expect(busy.received.toLowerCase()).to.contain('connection: close');
    });

    it('answers what is on its way: connections not accepted yet, and requests not read yet', async () => {
      app = await startApp({ timeouts: { graceMs: 1_000 } });
      const clients = Array.from({ length: 40 }, () => new RawClient(app));
      await Promise.all(clients.map(({ socket }) => new Promise((r) => socket.once('connect', r))));
      const closing = app.server.close(10_000);
      for (const client of clients) client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
      await closing;
      await Promise.all(clients.map(({ closed }) => closed));
      for (const client of clients) {
        expect(client.received).to.match(/^HTTP\/1\.1 200 /);
        expect(client.received.toLowerCase()).to.contain('connection: close');
      }
    });

    it('waits a while for a body that is being sent, then answers 503', async () => {
      app = await startApp({ timeouts: { bodyGraceMs: 100 } });
      const client = new RawClient(app);
      client.write(`${HEAD}Content-Length: 20\r\n\r\nxxxx`);
      await new Promise((resolve) => client.socket.once('connect', resolve));
      await pause(20);
      await app.server.close(10_000);
      await client.closed;
      expect(client.received).to.match(/^HTTP\/1\.1 503 /);
      expect(client.received).to.contain('{"error":"the server is stopping, send it again"}');
    });

    it('lets a page that is being sent go out whole', async () => {
      app = await startApp({ limits: { partBytes: 1 } });
      const processId = app.log.addProcess('p');
      for (let nonce = 0; nonce < 20; nonce += 1)
        app.log.addEntry(processId, `m${nonce}`, { nonce, dataBytes: 500_000 });
      const client = new RawClient(app);
      client.write(`GET /${processId} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.until('edges');
      await app.server.close(10_000);
      await client.closed;
      expect(client.received).to.match(/has_next_page":false\}\}\r\n0\r\n\r\n$/);
    });

    it('destroys at the deadline what does not finish, and may be called twice', async () => {
      app = await startApp();
      app.submit.answer = () => new Promise(() => {});
      const stuck = new RawClient(app);
      stuck.write(`${HEAD}Content-Length: 4\r\n\r\nitem`);
      while (app.submit.bodies.length === 0) await new Promise(setImmediate);
      const first = app.server.close(50);
      expect(app.server.close(60_000)).to.equal(first);
      await first;
      await stuck.closed;
      expect(stuck.received).to.equal('');
    });
  });
});
