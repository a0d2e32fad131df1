import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { appendFile, mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ArweaveSigner, bundleAndSignData, createData } from 'arbundles';
import Arweave from 'arweave';
import { expect } from 'chai';
import { makeGateway } from '../../src/lib/arweave/gateway.js';
import { makeUploaderClient } from '../../src/lib/arweave/uploader-client.js';
import { isSuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openLocalNetwork } from '../../src/lib/local-network/local-network.js';
import type { LocalNetwork } from '../../src/lib/local-network/local-network.js';
import { quickItem, quickWallet } from '../support/signed-items.js';

const CU_QUERY = `
  query GetProcesses ($processIds: [ID!]!, $skipTags: Boolean!, $skipSignature: Boolean!, $skipAnchor: Boolean!) {
    transactions(ids: $processIds) {
      edges { node {
        id
        signature @skip (if: $skipSignature)
        anchor @skip (if: $skipAnchor)
        owner { address key }
        tags @skip (if: $skipTags) { name value }
        recipient
      } }
    }
  }`;
const LOCATION_QUERY = `
  query GetSchedulerLocation ($owner: String!) {
    transactions (
      owners: [$owner]
      tags: [
        { name: "Data-Protocol", values: ["ao"] },
        { name: "Type", values: ["Scheduler-Location"] }
      ]
      # Only need the most recent Scheduler-Location
      sort: HEIGHT_DESC
      first: 1
    ) { edges { node { tags { name value } } } }
  }`;

interface Answer {
  readonly errors?: { message: string }[];
  readonly data: {
    transactions: {
      pageInfo?: { hasNextPage: boolean };
      edges: { cursor?: string; node: Record<string, unknown> & { id: string } }[];
    };
  };
}

describe('local network', function () {
  this.timeout(30_000);
  let folder: string;
  let network: LocalNetwork;
  let now = 1_700_000_000_000;
  const warnings: string[] = [];
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 4096 });
  const jwk = privateKey.export({ format: 'jwk' }) as ConstructorParameters<
    typeof ArweaveSigner
  >[0];
  const signer = new ArweaveSigner(jwk);
  const quick = quickWallet();

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-network-'));
    warnings.length = 0;
    network = await openAgain();
  });
  afterEach(async () => {
    await network.close();
    await rm(folder, { recursive: true });
  });

  function openAgain(): Promise<LocalNetwork> {
    const log = {
      warn: ({ event }: { readonly event: string }) => void warnings.push(event),
      error: (fields: Readonly<Record<string, unknown>>) => {
        throw fields['err'];
      },
    };
    return openLocalNetwork({ folder, host: '127.0.0.1', port: 0, clock: () => now, log });
  }

  async function reopen(): Promise<void> {
    await network.close();
    network = await openAgain();
  }

  function postBytes(path: string, body: Uint8Array): Promise<Response> {
    return fetch(network.url + path, { method: 'POST', body: new Uint8Array(body) });
  }

  async function query(text: string, variables: object = {}): Promise<Answer> {
    const response = await fetch(`${network.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: text, variables }),
    });
    return (await response.json()) as Answer;
  }

  async function signed(
    data: string | Uint8Array,
    tags: { name: string; value: string }[],
  ): Promise<{ id: string; raw: Buffer }> {
    const item = createData(data, signer, { tags, anchor: randomBytes(16).toString('hex') });
    await item.sign(signer);
    return { id: item.id, raw: item.getRaw() };
  }

  function quickOne(name: string, data = 'x'): { id: string; bytes: Uint8Array } {
    return quickItem(quick, {
      tags: [
        { name: 'Name', value: name },
        { name: 'Type', value: 'Thing' },
      ],
      data: Buffer.from(data),
    });
  }

  it('takes an item and serves its data, its status and its head', async () => {
    const { id, raw } = await signed('<p>hi</p>', [{ name: 'Content-Type', value: 'text/html' }]);
    const receipt = await postBytes('/tx/arweave', raw);
    expect(receipt.status).to.equal(200);
    expect(await receipt.json()).to.include({ id, timestamp: now });
    for (const path of [`/raw/${id}`, `/${id}`]) {
      const answer = await fetch(network.url + path);
      expect(answer.headers.get('content-type')).to.equal('text/html');
      expect(answer.headers.get('access-control-allow-origin')).to.equal('*');
      expect(await answer.text()).to.equal('<p>hi</p>');
      const head = await fetch(network.url + path, { method: 'HEAD' });
      expect(head.headers.get('content-length')).to.equal('9');
      expect(await head.text()).to.equal('');
    }
    const status = (await (await fetch(`${network.url}/tx/${id}/status`)).json()) as Record<
      string,
      unknown
    >;
    expect(status['number_of_confirmations']).to.be.at.least(20);
    expect(status).to.have.keys('block_height', 'block_indep_hash', 'number_of_confirmations');
  });

  it('answers what the adapters of the scheduler ask', async () => {
    const { id, bytes } = quickOne('asked');
    const uploader = makeUploaderClient({ url: network.url, timeoutMs: 2_000, connectionsMax: 2 });
    const gateway = makeGateway({
      arweaveUrl: network.url,
      graphqlUrl: network.url,
      arweaveUrls: [network.url],
      timeoutMs: 2_000,
    });
    const unknown = randomBytes(32).toString('base64url') as Id;
    try {
      expect(await uploader.upload(bytes)).to.deep.equal({ status: 'accepted' });
      expect(await uploader.upload(bytes)).to.deep.equal({ status: 'accepted' });
      expect(await gateway.fetchBlockHeight()).to.be.at.least(1_440_000);
      expect(await gateway.fetchTransactionExists(id as Id)).to.equal(true);
      expect(await gateway.fetchTransactionExists(unknown)).to.equal(false);
      expect(await gateway.fetchConfirmations(id as Id)).to.be.at.least(20);
      expect(await gateway.fetchIdAnswers(id as Id)).to.equal(true);
      expect(await gateway.fetchIdAnswers(unknown)).to.equal(false);
    } finally {
      uploader.close();
      gateway.close();
    }
  });

  it('refuses what is no data item, is not signed by its owner, or is too large', async () => {
    const { bytes } = quickOne('flipped');
    const flipped = Uint8Array.from(bytes);
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    expect((await postBytes('/tx/arweave', flipped)).status).to.equal(400);
    expect((await postBytes('/tx/arweave', Buffer.from('hello'))).status).to.equal(400);
    expect((await postBytes('/tx', Buffer.from('{"format":2}'))).status).to.equal(400);
    expect((await postBytes('/tx/arweave', new Uint8Array(16_000_000))).status).to.equal(413);
    expect((await postBytes('/elsewhere', Buffer.from('x'))).status).to.equal(404);
    expect((await fetch(network.url, { method: 'DELETE' })).status).to.equal(405);
    expect((await fetch(`${network.url}/raw/unknown`)).status).to.equal(404);
  });

  it('answers the queries of compute units and scheduler-utils', async () => {
    const tags = [
      { name: 'Data-Protocol', value: 'ao' },
      { name: 'Type', value: 'Scheduler-Location' },
    ];
    const old = await signed('', [...tags, { name: 'Url', value: 'http://old' }]);
    const recent = await signed('', [...tags, { name: 'Url', value: 'http://new' }]);
    await postBytes('/tx/arweave', old.raw);
    await postBytes('/tx/arweave', recent.raw);
    const skipped = await query(CU_QUERY, {
      processIds: [old.id],
      skipTags: true,
      skipSignature: false,
      skipAnchor: true,
    });
    const node = skipped.data.transactions.edges[0]?.node;
    expect(node).to.have.all.keys('id', 'signature', 'owner', 'recipient');
    const owner = node?.['owner'] as { address: string; key: string };
    expect(owner.key).to.equal(jwk.n);
    const found = await query(LOCATION_QUERY, { owner: owner.address });
    expect(found.data.transactions.edges).to.have.length(1);
    expect(found.data.transactions.edges[0]?.node['tags']).to.deep.include({
      name: 'Url',
      value: 'http://new',
    });
    expect(
      (await query(LOCATION_QUERY, { owner: 'someone' })).data.transactions.edges,
    ).to.deep.equal([]);
  });

  it('finds by tags, newest first, in pages that have no gap', async () => {
    const items = Array.from({ length: 25 }, (_, index) => quickOne(`number ${index}`));
    for (const { bytes } of items) await postBytes('/tx/arweave', bytes);
    const text = `query ($after: String, $sort: SortOrder = HEIGHT_DESC) {
      transactions(tags: [{name: "Type", values: ["Other", "Thing"]}, {name: "Name", values: ["number 3"], op: NEQ}], first: 7, after: $after, sort: $sort) {
        pageInfo { hasNextPage } edges { cursor node { id } } } }`;
    const expected = items.filter((_, index) => index !== 3).map((item) => item.id);
    for (const sort of ['HEIGHT_ASC', 'HEIGHT_DESC']) {
      const seen: string[] = [];
      let after: string | undefined;
      for (let more = true; more;) {
        const { pageInfo, edges } = (await query(text, { after, sort })).data.transactions;
        seen.push(...edges.map((edge) => edge.node.id));
        after = edges.at(-1)?.cursor;
        more = pageInfo?.hasNextPage ?? false;
      }
      expect(seen).to.deep.equal(sort === 'HEIGHT_ASC' ? expected : expected.toReversed());
    }
  });

  it('says in a sentence what of a query it does not support', async () => {
    for (const text of [
      '{ blocks { id } }',
      '{ transactions(colour: "red") { edges { cursor } } }',
      '{ transactions { edges { node { colour } } } }',
      '{ transactions }',
      'mutation { a }',
    ]) {
      const { errors, data } = await query(text);
      expect(errors?.[0]?.message).to.contain('the query cannot be');
      expect(data).to.equal(null);
    }
  });

  it('finds the items inside a bundle by their own ids', async () => {
    const inner = createData('inside', signer, { tags: [{ name: 'Name', value: 'inner' }] });
    const bundle = await bundleAndSignData([inner], signer);
    const tags = [
      { name: 'Bundle-Format', value: 'binary' },
      { name: 'Bundle-Version', value: '2.0.0' },
    ];
    const outer = await signed(bundle.getRaw(), tags);
    await postBytes('/tx/arweave', outer.raw);
    for (const again of [false, true]) {
      if (again) await reopen();
      expect(await (await fetch(`${network.url}/raw/${inner.id}`)).text()).to.equal('inside');
      const { edges } = (
        await query(
          '{ transactions(tags: {name: "Name", values: "inner"}) { edges { node { id bundledIn { id } } } } }',
        )
      ).data.transactions;
      expect(edges).to.deep.equal([{ node: { id: inner.id, bundledIn: { id: outer.id } } }]);
    }
  });

  it('takes a transaction from arweave-js', async () => {
    const { hostname, port } = new URL(network.url);
    const client = Arweave.init({ host: hostname, port, protocol: 'http' });
    const transaction = await client.createTransaction({ data: 'from arweave-js' }, jwk);
    transaction.addTag('Content-Type', 'text/plain');
    await client.transactions.sign(transaction, jwk);
    expect((await client.transactions.post(transaction)).status).to.equal(200);
    await reopen();
    const answer = await fetch(`${network.url}/${transaction.id}`);
    expect(answer.headers.get('content-type')).to.equal('text/plain');
    expect(await answer.text()).to.equal('from arweave-js');
    const forged = JSON.stringify({ ...transaction.toJSON(), reward: '1' });
    expect((await postBytes('/tx', Buffer.from(forged))).status).to.equal(400);
  });

  it('keeps everything over a restart, also when the last record was cut short', async () => {
    const items = Array.from({ length: 50 }, (_, index) =>
      quickOne(`kept ${index}`, 'y'.repeat(index * 500)),
    );
    await Promise.all(items.map(({ bytes }) => postBytes('/tx/arweave', bytes)));
    const before = await (await fetch(`${network.url}/tx/${items[7]?.id}/status`)).json();
    await network.close();
    const file = join(folder, 'items.log');
    const { size } = await stat(file);
    await appendFile(
      file,
      Buffer.concat([
        Buffer.from('SUN1'),
        Buffer.alloc(4),
        Buffer.from([255, 1, 0, 0]),
        Buffer.alloc(40),
      ]),
    );
    network = await openAgain();
    expect(warnings).to.deep.equal(['local-network-tail-removed']);
    expect((await stat(file)).size).to.equal(size);
    for (const [index, { id }] of items.entries()) {
      expect(await (await fetch(`${network.url}/raw/${id}`)).text()).to.have.length(index * 500);
    }
    expect(await (await fetch(`${network.url}/tx/${items[7]?.id}/status`)).json()).to.deep.equal(
      before,
    );
    await network.close();
    await truncate(file, size - 3);
    network = await openAgain();
    expect(await (await fetch(`${network.url}/info`)).json()).to.include({ items: 49 });
  });

  it('refuses a folder whose file is damaged, and leaves it as it is', async () => {
    const damaged = await mkdtemp(join(tmpdir(), 'su-network-'));
    await writeFile(join(damaged, 'items.log'), 'x'.repeat(100));
    const log = { warn: () => undefined, error: () => undefined };
    const error = await openLocalNetwork({
      folder: damaged,
      host: '127.0.0.1',
      port: 0,
      clock: () => now,
      log,
    }).catch((thrown: unknown) => thrown);
    expect(isSuError(error, 'folder-refused')).to.equal(true);
    expect((await stat(join(damaged, 'items.log'))).size).to.equal(100);
    await rm(damaged, { recursive: true });
  });

  it('stores two uploads of one item at once only once', async () => {
    const { bytes } = quickOne('twice');
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => postBytes('/tx/arweave', bytes)),
    );
    expect(answers.map((answer) => answer.status)).to.deep.equal(
      Array.from({ length: 8 }, () => 200),
    );
    expect((await stat(join(folder, 'items.log'))).size).to.equal(bytes.length + 16);
  });

  it('lets its height rise every two minutes and never fall, over restarts too', async () => {
    const height = async (): Promise<number> =>
      ((await (await fetch(`${network.url}/info`)).json()) as { height: number }).height;
    const first = await height();
    expect(first).to.be.at.least(1_440_000);
    now += 121_000;
    expect(await height()).to.equal(first + 1);
    now -= 121_000;
    expect(await height()).to.equal(first + 1);
    now += 600_000;
    await reopen();
    expect(await height()).to.equal(first + 5);
  });

  it('answers preflights of any origin', async () => {
    const answer = await fetch(`${network.url}/graphql`, {
      method: 'OPTIONS',
      headers: { 'access-control-request-headers': 'content-type' },
    });
    expect(answer.status).to.equal(204);
    expect(answer.headers.get('access-control-allow-origin')).to.equal('*');
    expect(answer.headers.get('access-control-allow-headers')).to.equal('content-type');
  });
});
