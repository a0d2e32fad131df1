import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import {
  makeAddressGuard,
  makeAddressSet,
  makeClientAddress,
} from '../../src/lib/http/client-address.js';
import { startApp, type RunningApp } from '../support/scheduler-app.js';

type Asked = Parameters<ReturnType<typeof makeClientAddress>>[0];

const requestFrom = (remoteAddress: string | undefined, headers: Record<string, string> = {}) =>
  ({ socket: { remoteAddress }, headers }) as unknown as Asked;

describe('the address of a client', () => {
  const find = makeClientAddress(makeAddressSet(['10.0.0.0/8', '::1']));

  for (const [what, request, address] of [
    ['the socket’s', requestFrom('203.0.113.9'), '203.0.113.9'],
    [
      'the socket’s, whatever headers an untrusted one writes',
      requestFrom('203.0.113.9', { 'x-real-ip': '1.1.1.1', 'x-forwarded-for': '1.1.1.1' }),
      '203.0.113.9',
    ],
    ['IPv4 where the socket has it as IPv6', requestFrom('::ffff:203.0.113.9'), '203.0.113.9'],
    ['a proxy’s X-Real-IP', requestFrom('10.0.0.1', { 'x-real-ip': ' 1.1.1.1 ' }), '1.1.1.1'],
    [
      'X-Real-IP before X-Forwarded-For',
      requestFrom('::ffff:10.0.0.1', { 'x-real-ip': '1.1.1.1', 'x-forwarded-for': '2.2.2.2' }),
      '1.1.1.1',
    ],
    [
      'the last of X-Forwarded-For that is no proxy',
      requestFrom('::1', { 'x-forwarded-for': '6.6.6.6, 2001:db8::5, 10.9.9.9' }),
      '2001:db8::5',
    ],
    [
      'the proxy’s own behind a hop that cannot be read',
      requestFrom('10.0.0.1', { 'x-forwarded-for': '6.6.6.6, unknown' }),
      '10.0.0.1',
    ],
    [
      'the proxy’s own when all hops are proxies',
      requestFrom('10.0.0.1', { 'x-forwarded-for': '10.0.0.2' }),
      '10.0.0.1',
    ],
    ['the proxy’s own without headers', requestFrom('10.0.0.1'), '10.0.0.1'],
    ['none, when the socket is gone', requestFrom(undefined, { 'x-real-ip': '1.1.1.1' }), ''],
  ] as const) {
    it(`is ${what}`, () => expect(find(request)).to.equal(address));
  }
});

describe('the list of addresses that may write', () => {
  let app: RunningApp;
  let loaded = true;

  before(async () => {
    const addresses = makeAddressSet(['192.0.2.0/24']);
    const list = {
      require() {
        if (!loaded) throw new SuError('not-ready', 'not loaded', { retryAfterSeconds: 5 });
        return addresses;
      },
    };
    app = await startApp({
      guards: {
        checkAddress: makeAddressGuard(list, makeClientAddress(makeAddressSet(['127.0.0.1']))),
        checkRead: undefined,
        lists: () => [{ name: 'LIST', loaded, ageMs: loaded ? 7 : undefined, failure: 'away' }],
      },
    });
  });
  after(() => app.server.close(1_000));
  beforeEach(() => (loaded = true));

  const post = (address: string, path = '/') =>
    fetch(`${app.url}${path}`, {
      method: 'POST',
      headers: { 'x-real-ip': address },
      body: path === '/' ? 'item' : null,
    });

  it('lets a listed address post and assign', async () => {
    expect((await post('192.0.2.77')).status).to.equal(200);
    const path = '/?process-id=a&assign=b';
    expect((await post('192.0.2.77', path)).status).to.equal(200);
  });

  it('refuses every other with 403, before it reads a body', async () => {
    const { length } = app.submit.bodies;
    for (const path of ['/', '/?process-id=a&assign=b']) {
      const response = await post('192.0.3.1', path);
      expect(response.status).to.equal(403);
      expect(await response.json()).to.deep.equal({ error: 'this address may not write here' });
    }
    expect(app.submit.bodies).to.have.lengthOf(length);
  });

  it('leaves reads open', async () => {
    expect((await fetch(`${app.url}/timestamp`)).status).to.equal(200);
  });

  it('refuses every write with 503 until the list is loaded, while the server is healthy', async () => {
    loaded = false;
    const response = await post('192.0.2.77');
    expect(response.status).to.equal(503);
    expect(response.headers.get('retry-after')).to.equal('5');
    const health = await fetch(`${app.url}/health`);
    expect([health.status, await health.text()]).to.deep.equal([200, '']);
    const verbose = await fetch(`${app.url}/health?verbose`);
    expect(await verbose.json()).to.deep.equal({
      ready: true,
      lists: [{ name: 'LIST', loaded: false, age_ms: null, failure: 'away' }],
    });
  });

  it('has no room for what is neither address nor range', () => {
    for (const entry of ['', 'host', '1.2.3', '1.2.3.4/', '1.2.3.4/33', '::/129', '1.2.3.4/8/8']) {
      expect(() => makeAddressSet([entry]), entry).to.throw('is neither an address nor a range');
    }
  });
});
