import { expect } from 'chai';
import { makeGateway } from '../../src/lib/arweave/gateway.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';

const ID = ('A'.repeat(42) + 'A') as Id;
const BYTES_MAX = 10_485_760;

describe('the content of a transaction', () => {
  let server: FakeGateway;
  let gateway: ReturnType<typeof makeGateway>;

  beforeEach(async () => {
    server = await openFakeGateway();
    gateway = makeGateway({
      arweaveUrl: server.url,
      graphqlUrl: server.url,
      arweaveUrls: [server.url],
      timeoutMs: 2_000,
    });
  });
  afterEach(async () => {
    gateway.close();
    await server.close();
  });

  const fetchCode = async (): Promise<unknown> =>
    gateway.fetchTransaction(ID).then(
      () => 'no error',
      (error: { code?: unknown }) => error.code,
    );

  it('is what GraphQL says of it, decoded, and its bytes', async () => {
    const tags = [{ name: 'Type', value: 'Message' }];
    const node = { recipient: 'AAEC', anchor: '_-8', tags };
    server.know({ id: ID, data: Buffer.from([0, 255, 7]), node });
    const content = await gateway.fetchTransaction(ID);
    expect(content?.tags).to.deep.equal(tags);
    expect(
      [content?.target, content?.anchor, content?.data].map((part) => [...(part ?? [])]),
    ).to.deep.equal([
      [0, 1, 2],
      [255, 239],
      [0, 255, 7],
    ]);
    const [graphql, raw] = server.questions;
    expect(JSON.parse(graphql?.body ?? '')).to.have.nested.property('variables.ids[0]', ID);
    expect(raw?.path).to.equal(`/raw/${ID}`);
  });

  it('has empty parts where the transaction has none', async () => {
    server.know({ id: ID, node: { recipient: '', anchor: null, tags: null } });
    const content = await gateway.fetchTransaction(ID);
    expect(content?.target).to.have.lengthOf(0);
    expect(content?.anchor).to.have.lengthOf(0);
    expect(content?.data).to.have.lengthOf(0);
    expect(content?.tags).to.deep.equal([]);
  });

  it('is nothing when GraphQL does not know it', async () => {
    expect(await gateway.fetchTransaction(ID)).to.equal(undefined);
    server.know({ id: ID, indexed: false });
    expect(await gateway.fetchTransaction(ID)).to.equal(undefined);
  });

  it('has as many bytes as a body may have, and no more', async () => {
    server.know({ id: ID, data: Buffer.alloc(BYTES_MAX) });
    expect((await gateway.fetchTransaction(ID))?.data).to.have.lengthOf(BYTES_MAX);
    server.know({ id: ID, data: Buffer.alloc(BYTES_MAX + 1) });
    expect(await fetchCode()).to.equal('body-too-large');
  });

  for (const [what, node] of [
    ['a recipient that is not base64url', { recipient: 'a+b' }],
    ['an anchor that is no text', { anchor: 7 }],
    ['a tag without a value', { tags: [{ name: 'x' }] }],
  ] as const) {
    it(`is not made of ${what}`, async () => {
      server.know({ id: ID, node });
      expect(await fetchCode()).to.equal('gateway-unavailable');
    });
  }

  it('cannot be told while the gateway fails or is slow', async () => {
    server.know({ id: ID });
    server.answerWith(500);
    expect(await fetchCode()).to.equal('gateway-unavailable');
    server.answerWith({ body: 'Pending' });
    expect(await fetchCode()).to.equal('gateway-unavailable');
    await server.goDown();
    expect(await fetchCode()).to.equal('gateway-unavailable');
  });
});
