import { expect } from 'chai';
import { makeCacheClient, makeUploaderClient } from '../../src/lib/arweave/uploader-client.js';
import { openFakeBundler } from '../support/fake-bundler.js';
import type { FakeBundler } from '../support/fake-bundler.js';

describe('uploader client', () => {
  let bundler: FakeBundler;
  const opened: { close(): unknown }[] = [];

  beforeEach(async () => {
    bundler = await openFakeBundler();
    opened.push(bundler);
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  function clientOf(path = '', timeoutMs = 2_000) {
    const client = makeUploaderClient({ url: bundler.url + path, timeoutMs, connectionsMax: 4 });
    opened.unshift(client);
    return client;
  }

  it('posts the bytes as they are to /tx/arweave below the base path', async () => {
    const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 251);
    for (const [base, path] of [
      ['', '/tx/arweave'],
      ['/', '/tx/arweave'],
      ['/v1', '/v1/tx/arweave'],
      ['/v1/', '/v1/tx/arweave'],
    ] as const) {
      expect(await clientOf(base).upload(bytes)).to.deep.equal({ status: 'accepted' });
      const upload = bundler.uploads.at(-1);
      expect(upload?.path).to.equal(path);
      expect(upload?.contentType).to.equal('application/octet-stream');
      expect(upload?.bytes.equals(bytes)).to.equal(true);
    }
  });

  it('tells accepted, refused, misconfigured and failed apart', async () => {
    const client = clientOf();
    const expected: Record<string, number[]> = {
      accepted: [200, 201, 202, 204],
      refused: [400, 409, 413, 415, 422],
      misconfigured: [401, 402, 403, 404, 301, 302, 405, 418, 451],
      failed: [408, 425, 429, 500, 502, 503, 504],
    };
    for (const [status, codes] of Object.entries(expected)) {
      for (const code of codes) {
        bundler.answerWith(code);
        expect((await client.upload(Buffer.from('x'))).status, String(code)).to.equal(status);
      }
    }
  });

  it('passes on how long the bundler asks to wait and, bounded and on one line, why it refuses', async () => {
    bundler.answerWith({ status: 429, headers: { 'retry-after': '7' } });
    expect(await clientOf().upload(Buffer.from('x'))).to.include({
      status: 'failed',
      retryAfterMs: 7_000,
    });
    bundler.answerWith({ status: 400, body: `bad\n\u0000tags ${'y'.repeat(100_000)}` });
    const refused = await clientOf().upload(Buffer.from('x'));
    expect(refused)
      .to.have.property('reason')
      .that.matches(/^400: bad tags y+$/)
      .with.length.below(220);
  });

  it('calls no answer, a broken connection and no listener failed', async () => {
    bundler.answerWith('hang');
    expect((await clientOf('', 80).upload(Buffer.from('x'))).status).to.equal('failed');
    bundler.answerWith('break');
    expect((await clientOf().upload(Buffer.from('x'))).status).to.equal('failed');
    await bundler.goDown();
    expect(await clientOf().upload(Buffer.from('x'))).to.deep.equal({
      status: 'failed',
      reason: 'the connection failed (ECONNREFUSED)',
      retryAfterMs: undefined,
    });
    await bundler.comeUp();
  });

  it('sends an item again at once when the bundler had just closed a kept connection', async () => {
    const client = clientOf();
    await client.upload(Buffer.from('x'));
    await bundler.goDown();
    await bundler.comeUp();
    expect((await client.upload(Buffer.from('y'))).status).to.equal('accepted');
  });

  it('gives up when the caller does', async () => {
    bundler.answerWith('hang');
    const abort = new AbortController();
    const upload = clientOf().upload(Buffer.from('x'), abort.signal);
    abort.abort();
    expect((await upload).status).to.equal('failed');
  });

  it('tells the cache of an item, and takes a cache that is away lightly', async () => {
    const cache = makeCacheClient({
      url: `${bundler.url}/cache/`,
      timeoutMs: 500,
      connectionsMax: 2,
    });
    opened.unshift(cache);
    expect(await cache.send(Buffer.from('x'))).to.equal(true);
    expect(bundler.uploads[0]?.path).to.equal('/cache/id?codec-device=ans104@1.0');
    bundler.answerWith(500);
    expect(await cache.send(Buffer.from('x'))).to.equal(false);
    await bundler.goDown();
    expect(await cache.send(Buffer.from('x'))).to.equal(false);
  });
});
