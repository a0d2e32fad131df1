import { expect } from 'chai';
import { makeGateway } from '../../src/lib/arweave/gateway.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openFakeGateway } from '../support/fake-gateway.js';
import type { FakeGateway } from '../support/fake-gateway.js';

const KNOWN = ('A'.repeat(42) + 'A') as Id;
const UNKNOWN = ('B'.repeat(42) + 'A') as Id;

describe('gateway', () => {
  let server: FakeGateway;
  const opened: { close(): unknown }[] = [];

  beforeEach(async () => {
    server = await openFakeGateway({ transactions: [{ id: KNOWN, confirmations: 100 }] });
    opened.push(server);
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  function gatewayOf(
    urls: { arweave?: string; graphql?: string; list?: string[] } = {},
    timeoutMs = 2_000,
  ) {
    const gateway = makeGateway({
      arweaveUrl: urls.arweave ?? server.url,
      graphqlUrl: urls.graphql ?? server.url,
      arweaveUrls: urls.list ?? [server.url],
      timeoutMs,
    });
    opened.unshift(gateway);
    return gateway;
  }

  async function codeOf(promise: Promise<unknown>): Promise<unknown> {
    return promise.then(
      (value) => `no error but ${String(value)}`,
      (error: { code?: unknown }) => error.code,
    );
  }

  it('fetches the block height', async () => {
    expect(await gatewayOf().fetchBlockHeight()).to.equal(1_500_000);
  });

  it('accepts URLs with a base path, with and without slashes at the end, and a GraphQL URL that is complete', async () => {
    const based = await openFakeGateway({
      basePath: '/base/path',
      transactions: [{ id: KNOWN, confirmations: 7 }],
    });
    opened.push(based);
    for (const end of ['', '/', '//']) {
      for (const graphqlEnd of [end, `/graphql${end}`]) {
        const gateway = gatewayOf({
          arweave: based.url + end,
          graphql: based.url + graphqlEnd,
          list: [based.url + end],
        });
        expect(await gateway.fetchBlockHeight()).to.equal(1_500_000);
        expect(await gateway.fetchConfirmations(KNOWN)).to.equal(7);
        expect(await gateway.fetchTransactionExists(KNOWN)).to.equal(true);
        expect(await gateway.fetchIdAnswers(KNOWN)).to.equal(true);
      }
    }
  });

  it('knows a transaction by GraphQL, with its id as a variable and not in the query', async () => {
    const gateway = gatewayOf();
    expect(await gateway.fetchTransactionExists(KNOWN)).to.equal(true);
    expect(await gateway.fetchTransactionExists(UNKNOWN)).to.equal(false);
    const asked = JSON.parse(server.questions[0]?.body ?? '') as {
      query: string;
      variables: unknown;
    };
    expect(asked.variables).to.deep.equal({ ids: [KNOWN] });
    expect(asked.query).not.to.contain(KNOWN);
  });

  it('tells confirmations, pending and unknown apart', async () => {
    server.know({ id: UNKNOWN, confirmations: 'pending' });
    const gateway = gatewayOf();
    expect(await gateway.fetchConfirmations(KNOWN)).to.equal(100);
    expect(await codeOf(gateway.fetchConfirmations(UNKNOWN))).to.equal('not-enough-confirmations');
    expect(await codeOf(gateway.fetchConfirmations(('C'.repeat(42) + 'A') as Id))).to.equal(
      'unknown-transaction',
    );
  });

  it('calls a gateway that is away, fails or answers nonsense unavailable', async () => {
    const gateway = gatewayOf();
    for (const answer of [
      500,
      503,
      404,
      400,
      { body: 'hello' },
      { body: '[]' },
      { body: 'null' },
      { body: '{"data":null,"errors":[]}' },
    ] as const) {
      server.answerWith(answer);
      expect(await codeOf(gateway.fetchBlockHeight())).to.equal('gateway-unavailable');
      expect(await codeOf(gateway.fetchTransactionExists(KNOWN))).to.equal('gateway-unavailable');
    }
    server.answerWith(502);
    expect(await codeOf(gateway.fetchConfirmations(KNOWN))).to.equal('gateway-unavailable');
    await server.goDown();
    expect(await codeOf(gateway.fetchBlockHeight())).to.equal('gateway-unavailable');
    await server.comeUp();
    server.answerWith(undefined);
    expect(await gateway.fetchBlockHeight()).to.equal(1_500_000);
  });

  it('reads no answer beyond its limit', async () => {
    server.answerWith({ body: `{"height": 5, "filler": "${'x'.repeat(2_000_000)}"}` });
    expect(await codeOf(gatewayOf().fetchBlockHeight())).to.equal('gateway-unavailable');
  });

  it('gives a gateway that does not answer up in time', async () => {
    server.answerWith('hang');
    const gateway = gatewayOf({}, 100);
    expect(await codeOf(gateway.fetchBlockHeight())).to.equal('gateway-timeout');
    expect(await codeOf(gateway.fetchTransactionExists(KNOWN))).to.equal('gateway-timeout');
    expect(await codeOf(gateway.fetchIdAnswers(KNOWN))).to.equal('gateway-timeout');
  });

  it('follows redirects, but not for ever', async () => {
    const from = await openFakeGateway();
    opened.push(from);
    from.redirectTo(server.url, 302);
    expect(await gatewayOf({ arweave: from.url }).fetchConfirmations(KNOWN)).to.equal(100);
    from.redirectTo(server.url, 308);
    expect(await gatewayOf({ graphql: from.url }).fetchTransactionExists(KNOWN)).to.equal(true);
    from.redirectTo(from.url, 302);
    expect(await codeOf(gatewayOf({ arweave: from.url }).fetchBlockHeight())).to.equal(
      'gateway-unavailable',
    );
  });

  it('is unavailable when it redirects to a URL that cannot be asked', async () => {
    const from = await openFakeGateway();
    opened.push(from);
    const gateway = gatewayOf({ arweave: from.url, graphql: from.url, list: [from.url] });
    for (const target of [server.url.replace('//', '//%zz@'), 'http://[', 'http://127.0.0.1:0']) {
      from.redirectTo(target, 307);
      expect(await codeOf(gateway.fetchBlockHeight())).to.equal('gateway-unavailable');
      expect(await codeOf(gateway.fetchTransactionExists(KNOWN))).to.equal('gateway-unavailable');
      expect(await codeOf(gateway.fetchIdAnswers(KNOWN))).to.equal('gateway-unavailable');
    }
    expect(server.questions).to.deep.equal([]);
  });

  it('takes one gateway of the list that has an id for enough, also when another is away', async () => {
    const empty = await openFakeGateway();
    const away = await openFakeGateway();
    opened.push(empty);
    await away.close();
    expect(
      await gatewayOf({ list: [away.url, empty.url, server.url] }).fetchIdAnswers(KNOWN),
    ).to.equal(true);
    expect(await gatewayOf({ list: [away.url, empty.url] }).fetchIdAnswers(KNOWN)).to.equal(false);
    expect(await codeOf(gatewayOf({ list: [away.url] }).fetchIdAnswers(KNOWN))).to.equal(
      'gateway-unavailable',
    );
  });

  it('follows the redirects that gateways answer ids with, to see whether the id is there', async () => {
    const from = await openFakeGateway();
    opened.push(from);
    const gateway = gatewayOf({ list: [from.url] });
    for (const status of [301, 302, 307, 308]) {
      from.redirectTo(server.url, status);
      expect(await gateway.fetchIdAnswers(KNOWN)).to.equal(true);
      expect(await gateway.fetchIdAnswers(UNKNOWN)).to.equal(false);
    }
    expect(server.questions.every(({ method }) => method === 'HEAD')).to.equal(true);
    for (const nowhere of [from.url, 'ftp://elsewhere.invalid']) {
      from.redirectTo(nowhere, 302);
      expect(await codeOf(gateway.fetchIdAnswers(KNOWN))).to.equal('gateway-unavailable');
    }
    expect(
      await gatewayOf({ list: [from.url, server.url] }).fetchIdAnswers(KNOWN),
      'another gateway has it',
    ).to.equal(true);
  });

  it('does not take a gateway that is busy for one that does not have the id', async () => {
    for (const status of [408, 429, 500, 503, 304]) {
      server.answerWith(status);
      expect(await codeOf(gatewayOf().fetchIdAnswers(KNOWN))).to.equal('gateway-unavailable');
    }
    server.answerWith(403);
    expect(await gatewayOf().fetchIdAnswers(KNOWN)).to.equal(false);
  });

  it('gives up when the caller does', async () => {
    server.answerWith('hang');
    const abort = new AbortController();
    const asked = codeOf(gatewayOf().fetchBlockHeight(abort.signal));
    abort.abort();
    expect(await asked).to.equal('gateway-unavailable');
  });
});
