import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { makePrometheusMetrics } from '../../src/lib/observability/prometheus-metrics.js';
import { idOf } from '../support/memory-store.js';
import { RawClient, startApp, type RunningApp } from '../support/scheduler-app.js';

describe('http/scheduler-app', () => {
  let app: RunningApp;
  const start = async (...args: Parameters<typeof startApp>): Promise<RunningApp> => {
    app = await startApp(...args);
    return app;
  };
  afterEach(() => app.server.close(1000));

  const get = (path: string, init?: RequestInit): Promise<Response> => fetch(app.url + path, init);
  const post = (path: string, body: string | Uint8Array = 'item'): Promise<Response> =>
    fetch(app.url + path, { method: 'POST', body });

  describe('GET / and /timestamp', () => {
    it('tell the address and the clock, as text', async () => {
      await start();
      const response = await get('/');
      expect(response.headers.get('content-type')).to.equal('application/json');
      expect(await response.json()).to.deep.equal({
        address: idOf('wallet'),
        timestamp: '1700000000000',
      });
    });

    it('tell the block height with twelve digits and no age while it is fresh', async () => {
      await start();
      expect(await (await get('/timestamp')).json()).to.deep.equal({
        timestamp: '1700000000000',
        block_height: '000001234567',
      });
    });

    it('tell the age of a stale height', async () => {
      await start({
        blockClock: { current: () => ({ height: 5, ageMs: 70_000.6 }), isStale: () => true },
      });
      expect(await (await get('/timestamp')).json()).to.deep.equal({
        timestamp: '1700000000000',
        block_height: '000000000005',
        block_height_age_ms: 70_001,
      });
    });

    it('answer 503 with Retry-After until a height is known', async () => {
      await start({ blockClock: { current: () => undefined, isStale: () => true } });
      const response = await get('/timestamp');
      expect([response.status, response.headers.get('retry-after')]).to.deep.equal([503, '1']);
    });
  });

  describe('GET /health', () => {
    it('names what is missing, then stays 200 whatever goes away later', async () => {
      let missing: string | undefined = 'the first block height';
      await start({ health: () => missing });
      const before = await get('/health');
      expect([before.status, await before.json()]).to.deep.equal([
        503,
        { error: 'not ready: the first block height' },
      ]);
      missing = undefined;
      const ready = await get('/health');
      expect([ready.status, await ready.text()]).to.deep.equal([200, '']);
      missing = 'the store';
      expect((await get('/health')).status).to.equal(200);
    });
  });

  describe('GET /metrics', () => {
    it('is 404 when metrics are off', async () => {
      await start();
      expect((await get('/metrics')).status).to.equal(404);
    });

    it('is Prometheus text with the names of the field when they are on', async () => {
      await start({ metrics: makePrometheusMetrics() });
      const processId = app.log.addProcess('p', 1000);
      await get(`/${processId}`);
      await post('/');
      app.submit.answer = () => Promise.reject(new SuError('store-unavailable', 'away'));
      await post('/');
      await get('/nothing/at/all');
      const response = await get('/metrics');
      expect(response.headers.get('content-type')).to.match(/^text\/plain; version=0\.0\.4/);
      const text = await response.text();
      expect(text).to.contain('message_save_failures 1\n');
      const core = (name: string): string =>
        `su_core_metrics_duration_milliseconds_count{function_name="${name}"}`;
      expect(text).to.contain(`${core('read_message_data')} 1`);
      expect(text).to.contain(`${core('get_process')} 1`);
      expect(text).to.contain(`${core('get_messages')} 1`);
      expect(text).to.contain(`${core('write_item')} 2`);
      expect(text).to.contain('su_http_requests_total{method="GET",route="/:id",status="200"} 1');
      expect(text).to.contain('su_http_requests_total{method="GET",route="none",status="404"} 1');
      expect(text).to.contain('su_ack_duration_milliseconds_count 1');
    });
  });

  describe('POST /', () => {
    it('hands the bytes of the body to submit and answers its receipt', async () => {
      await start();
      const body = Buffer.from([0, 1, 2, 255]);
      const response = await post('/', body);
      expect([response.status, await response.text()]).to.deep.equal([
        200,
        `{"id":"${idOf('item')}","timestamp":1234}`,
      ]);
      expect(app.submit.bodies.map((bytes) => [...bytes])).to.deep.equal([[0, 1, 2, 255]]);
    });

    it('schedules a transaction when process-id and assign are there, and ignores the body', async () => {
      await start();
      const path = `/?process-id=${idOf('p')}&assign=${idOf('tx')}&base-layer&exclude=a,%20b,,c`;
      expect((await post(path, 'ignored')).status).to.equal(200);
      expect(app.submit.assigns).to.deep.equal([
        { processId: idOf('p'), assign: idOf('tx'), baseLayer: true, exclude: 'a, b,,c' },
      ]);
      expect(app.submit.bodies).to.deep.equal([]);
    });

    it('leaves what was not asked for undefined', async () => {
      await start();
      await post(`/?process-id=${idOf('p')}&assign=${idOf('tx')}`);
      expect(app.submit.assigns[0]).to.deep.include({ baseLayer: false, exclude: undefined });
    });

    for (const query of ['process-id=x', 'assign=x', 'assign=', 'process-id=']) {
      it(`refuses ?${query} alone with 400`, async () => {
        await start();
        expect((await post(`/?${query}`)).status).to.equal(400);
        expect(app.submit.bodies).to.deep.equal([]);
      });
    }

    it('refuses a repeated parameter with 400 and names it', async () => {
      await start();
      const response = await post('/?process-id=a&process-id=b&assign=c');
      expect([response.status, await response.json()]).to.deep.equal([
        400,
        { error: 'the query parameter process-id appears more than once' },
      ]);
    });

    it('writes one line with ids, nonce and duration, and nothing of the body', async () => {
      await start();
      await fetch(app.url, {
        method: 'POST',
        body: 'secret payload',
        headers: { 'X-Request-Id': 'abc-1' },
      });
      const [line, ...rest] = app.lines.filter((one) => one['event'] === 'request');
      expect(rest).to.deep.equal([]);
      expect(line).to.include({
        level: 'info',
        requestId: 'abc-1',
        method: 'POST',
        route: '/',
        status: 200,
        id: idOf('item'),
        processId: idOf('p'),
        nonce: 7,
        bytes: 14,
      });
      expect(line?.['durationMs']).to.be.a('number');
      expect(JSON.stringify(app.lines)).to.not.contain('secret');
    });
  });

  describe('every route', () => {
    const paths = (): string[] => [
      '/',
      '/timestamp',
      '/health',
      `/${idOf('p')}`,
      `/${idOf('p')}/latest`,
      `/processes/${idOf('p')}`,
    ];

    it('answers HEAD with the headers of GET and no body', async () => {
      await start();
      app.log.addProcess('p', 1000);
      for (const path of paths()) {
        const whole = await get(path);
        const head = await get(path, { method: 'HEAD' });
        expect(head.status, path).to.equal(200);
        for (const name of ['content-type', 'content-length']) {
          expect(head.headers.get(name), `${name} of ${path}`).to.equal(whole.headers.get(name));
        }
        expect(await head.text(), path).to.equal('');
      }
    });

    it('answers a preflight and a plain OPTIONS, open to every origin', async () => {
      await start();
      for (const path of [...paths(), '/metrics']) {
        const preflight = await get(path, {
          method: 'OPTIONS',
          headers: {
            Origin: 'https://app.example',
            'Access-Control-Request-Method': 'POST',
            'Access-Control-Request-Headers': 'content-type',
          },
        });
        expect(preflight.status, path).to.equal(204);
        expect(preflight.headers.get('access-control-allow-origin'), path).to.equal('*');
        expect(preflight.headers.get('access-control-allow-methods')).to.contain('POST');
        expect(preflight.headers.get('access-control-allow-headers')).to.equal('content-type');
        const plain = await get(path, { method: 'OPTIONS' });
        expect([plain.status, plain.headers.get('allow')], path).to.deep.equal([
          204,
          path === '/' ? 'GET, HEAD, POST, OPTIONS' : 'GET, HEAD, OPTIONS',
        ]);
      }
    });

    it('is open to every origin, in answers and in refusals', async () => {
      await start();
      for (const path of ['/', '/abc', '/a/b/c', '/metrics']) {
        const response = await get(path, { headers: { Origin: 'https://app.example' } });
        expect(response.headers.get('access-control-allow-origin'), path).to.equal('*');
      }
    });

    it('names the request: a sane id of the caller is kept, another replaced', async () => {
      await start();
      const idFor = async (given?: string): Promise<string | null> =>
        (
          await get('/', given === undefined ? {} : { headers: { 'X-Request-Id': given } })
        ).headers.get('x-request-id');
      expect(await idFor('trace:1.2_3-4')).to.equal('trace:1.2_3-4');
      for (const bad of ['two words', '<script>', 'x'.repeat(129), undefined]) {
        expect(await idFor(bad)).to.match(/^[0-9a-f-]{36}$/);
      }
    });

    it('keeps the connection for the next request', async () => {
      await start();
      const client = new RawClient(app);
      client.write(
        'GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /abc HTTP/1.1\r\nHost: x\r\n\r\nGET /timestamp HTTP/1.1\r\nHost: x\r\n\r\n',
      );
      await client.until('block_height');
      expect(client.received.match(/HTTP\/1\.1 \d+/g)).to.deep.equal([
        'HTTP/1.1 200',
        'HTTP/1.1 404',
        'HTTP/1.1 200',
      ]);
      client.socket.destroy();
    });
  });

  describe('what is not served', () => {
    it('is 404 with a sentence for an unknown path', async () => {
      await start();
      const response = await get('/a/b/c');
      expect([response.status, await response.json()]).to.deep.equal([
        404,
        { error: 'nothing is served at "/a/b/c"' },
      ]);
      expect((await get('/a/b/c', { method: 'OPTIONS' })).status).to.equal(404);
    });

    it('is 404 for another method, with what is allowed', async () => {
      await start();
      for (const [method, path, allow] of [
        ['DELETE', '/', 'GET, HEAD, POST, OPTIONS'],
        ['POST', '/timestamp', 'GET, HEAD, OPTIONS'],
        ['PUT', `/${idOf('p')}`, 'GET, HEAD, OPTIONS'],
      ] as const) {
        const response = await get(path, { method });
        expect([response.status, response.headers.get('allow')]).to.deep.equal([404, allow]);
        expect(await response.json()).to.have.all.keys('error');
      }
    });

    it('is 400 with a sentence and a line in the log for an address without a path', async () => {
      await start();
      for (const target of ['http://[x/', 'http://?x', 'http://@?x']) {
        const client = new RawClient(app);
        client.write(`GET ${target} HTTP/1.1\r\nHost: su\r\nConnection: close\r\n\r\n`);
        await client.closed;
        expect(client.received).to.match(/^HTTP\/1\.1 400 /);
        expect(client.received).to.include('{"error":"the request names no path"}');
      }
      const lines = app.lines.filter(({ event }) => event === 'request');
      expect(lines.map(({ path }) => path)).to.deep.equal([
        'http://[x/',
        'http://?x',
        'http://@?x',
      ]);
    });

    it('does not repeat a long path', async () => {
      await start();
      const response = await get(`/a/b/${'c'.repeat(8000)}`);
      expect(response.status).to.equal(404);
      expect((await response.text()).length).to.be.lessThan(200);
      expect(JSON.stringify(app.lines).length).to.be.lessThan(1500);
    });
  });

  it('logs probes below the usual level', async () => {
    await start();
    await get('/health');
    expect(app.lines.map((line) => line['level'])).to.deep.equal(['debug']);
  });
});
