import { BlockList } from 'node:net';
import { expect } from 'chai';
import fc from 'fast-check';
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

describe('a set of addresses', () => {
  /** Few different bits, so that ranges and addresses meet. */
  const byte = fc.constantFrom(0, 1, 127, 128, 255);
  const ipv4 = fc.array(byte, { minLength: 4, maxLength: 4 }).map((bytes) => bytes.join('.'));
  const groups = fc.array(fc.constantFrom('0', '1', '8000', 'FFFF', '0db8'), {
    minLength: 8,
    maxLength: 8,
  });
  const ipv6 = fc.oneof(
    groups.map((all) => all.join(':')),
    groups.map((all) => `${all.slice(0, 2).join(':')}::${all.slice(5).join(':')}`),
    groups.map((all) => `::${all.slice(6).join(':')}`),
    groups.map((all) => `${all.slice(0, 3).join(':')}::`),
    ipv4.map((address) => `::ffff:${address}`),
    ipv4.map((address) => `1::${address}`),
    groups.map((all) => `fe80::${all.slice(7).join(':')}%eth0`),
    fc.constant('::'),
  );
  const address = fc.oneof(ipv4, ipv6);
  const bitsMaxOf = (text: string): number => (/^(::ffff:)?[\d.]+$/.test(text) ? 32 : 128);
  const entry = fc.oneof(
    address,
    fc
      .tuple(address, fc.nat(128))
      .map(([text, bits]) => `${text}/${Math.min(bits, bitsMaxOf(text))}`),
  );
  const familyOf = (text: string) => (text.includes(':') ? 'ipv6' : 'ipv4');

  it('has what the BlockList of node has', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), address, (entries, asked) => {
        const oracle = new BlockList();
        for (const each of entries) {
          const [text = '', bits] = each.replace(/^::ffff:(?=\d+\.)/, '').split('/');
          if (bits === undefined) oracle.addAddress(text, familyOf(text));
          else oracle.addSubnet(text, Number(bits), familyOf(text));
        }
        const expected = oracle.check(asked, familyOf(asked));
        expect(makeAddressSet(entries).has(asked), `${entries.join()} has ${asked}`).to.equal(
          expected,
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it('knows an address however it is written', () => {
    const set = makeAddressSet(['2001:DB8::1', '::ffff:10.0.0.1', ' 192.0.2.0/24 ']);
    for (const same of ['2001:db8:0:0:0::1', '2001:0db8::0.0.0.1', '::ffff:a00:1', '10.0.0.1']) {
      expect(set.has(same), same).to.equal(true);
    }
    expect(set.has('::ffff:c000:2ff')).to.equal(true);
    for (const other of ['2001:db8::2', '::10.0.0.1', '192.0.3.0', 'host', '']) {
      expect(set.has(other), other).to.equal(false);
    }
  });

  it('takes the bits of a range of IPv4 in IPv6 form as those of either', () => {
    for (const range of ['::ffff:10.0.0.0/8', '::ffff:10.0.0.0/104']) {
      const set = makeAddressSet([range]);
      expect([set.has('10.9.9.9'), set.has('11.0.0.0')], range).to.deep.equal([true, false]);
    }
  });

  it('finds an address among 100,000 without going through them', () => {
    const set = makeAddressSet(
      Array.from({ length: 100_000 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`),
    );
    const begun = performance.now();
    for (let i = 0; i < 1_000; i += 1) expect(set.has('11.0.0.1')).to.equal(false);
    expect(performance.now() - begun).to.be.below(1_000);
    expect(set.has('10.1.134.159')).to.equal(true);
  });
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
