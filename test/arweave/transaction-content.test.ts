import { expect } from 'chai';
import { makeGateway } from '../../src/lib/arweave/gateway.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { TransactionContent } from '../../src/lib/scheduler/ports.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { waitFor } from '../support/su-process.js';

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

  const fetchContent = (id = ID): Promise<TransactionContent | undefined> =>
    gateway.fetchTransaction(id, async (content) => content);
  const fetchCode = async (): Promise<unknown> =>
    fetchContent().then(
      () => 'no error',
      (error: { code?: unknown }) => error.code,
    );

  const rawQuestions = (): number =>
    server.questions.filter(({ path }) => path.startsWith('/raw/')).length;

  it('is what GraphQL says of it, decoded, and its bytes', async () => {
    const tags = [{ name: 'Type', value: 'Message' }];
    const node = { recipient: 'AAEC', anchor: '_-8', tags };
    server.know({ id: ID, data: Buffer.from([0, 255, 7]), node });
    const content = await fetchContent();
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
    const content = await fetchContent();
    expect(content?.target).to.have.lengthOf(0);
    expect(content?.anchor).to.have.lengthOf(0);
    expect(content?.data).to.have.lengthOf(0);
    expect(content?.tags).to.deep.equal([]);
  });

  it('is nothing when GraphQL does not know it', async () => {
    expect(await fetchContent()).to.equal(undefined);
    server.know({ id: ID, indexed: false });
    expect(await fetchContent()).to.equal(undefined);
  });

  it('has as many bytes as a body may have, and no more', async () => {
    server.know({ id: ID, data: Buffer.alloc(BYTES_MAX) });
    expect((await fetchContent())?.data).to.have.lengthOf(BYTES_MAX);
    server.know({ id: ID, data: Buffer.alloc(BYTES_MAX + 1) });
    expect(await fetchCode()).to.equal('body-too-large');
  });

  it('is in use of few large ones at a time, which others do not wait for', async () => {
    const idOf = (index: number): Id => `${'A'.repeat(41)}${index}A` as Id;
    for (let index = 0; index < 8; index += 1) {
      server.know({ id: idOf(index), data: Buffer.alloc(65_536, index) });
    }
    const ends: (() => void)[] = [];
    let inUse = 0;
    let most = 0;
    const use = async ({ data }: TransactionContent): Promise<number | undefined> => {
      most = Math.max(most, (inUse += 1));
      await new Promise<void>((resolve) => ends.push(resolve));
      inUse -= 1;
      return data[0];
    };
    const used = Array.from({ length: 8 }, (_, index) =>
      gateway.fetchTransaction(idOf(index), use),
    );
    await waitFor(
      () => (ends.length === 3 && rawQuestions() === 8 + 3 ? true : undefined),
      () => `${ends.length} are in use after ${rawQuestions()} questions`,
    );
    server.know({ id: ID, data: Buffer.alloc(65_535) });
    expect((await fetchContent())?.data).to.have.lengthOf(65_535);
    expect(inUse).to.equal(3);
    for (let done = 0; done < 8; done += 1) {
      await waitFor(
        () => (ends.length > done ? true : undefined),
        () => `only ${done} were used`,
      );
      ends[done]?.();
    }
    expect(await Promise.all(used)).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(most).to.equal(3);
  });

  it('is refused as busy when a large one finds no place in time, and has one when those before it failed', async () => {
    server.know({ id: ID, data: Buffer.alloc(65_536) });
    const fails: ((error: Error) => void)[] = [];
    const used = Array.from({ length: 3 }, () =>
      gateway
        .fetchTransaction(ID, () => new Promise((_, reject) => fails.push(reject)))
        .catch((error: unknown) => String(error)),
    );
    await waitFor(
      () => (fails.length === 3 ? true : undefined),
      () => `${fails.length} are in use`,
    );
    expect(await fetchCode()).to.equal('scheduler-busy');
    for (const fail of fails) fail(new Error('not hashed'));
    expect(new Set(await Promise.all(used))).to.deep.equal(new Set(['Error: not hashed']));
    expect((await fetchContent())?.data).to.have.lengthOf(65_536);
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
