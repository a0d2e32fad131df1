import { createHash, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { encodeDataItem, encodeUnsigned, parseDataItem } from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { messageTags, randomId } from '../support/item-factory.js';
import { seeded } from '../support/lane-harness.js';
import { emptyDatabase, type TestDatabase } from '../support/postgres.js';
import { faultsOfLog, readLog } from '../support/read-log.js';
import { quickProcess, quickWallet, type SignedItem } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const CLIENTS = 16;
const FROM = randomId();

/** The same content, pushed along another way and signed by another wallet. */
function copyOf(processId: Id, content: string): SignedItem {
  const wallet = quickWallet();
  const tags = messageTags([
    { name: 'From-Process', value: FROM },
    { name: 'Pushed-For', value: randomId() },
  ]);
  const fields = {
    signatureType: 2,
    owner: wallet.owner,
    target: idToBytes(processId),
    tags,
  } as const;
  const data = Buffer.from(content);
  const message = signatureMessageSync(parseDataItem(encodeUnsigned(fields, data), 'stored'));
  const signature = sign(null, message, wallet.key);
  const id = createHash('sha256').update(signature).digest('base64url') as Id;
  return { id, bytes: encodeDataItem({ ...fields, signature }, data) };
}

interface Answer {
  readonly status: number;
  readonly body: { readonly id?: Id; readonly error?: string };
}

async function post(url: string, item: SignedItem): Promise<Answer> {
  const response = await fetch(url, { method: 'POST', body: item.bytes });
  return { status: response.status, body: (await response.json()) as Answer['body'] };
}

/** The ids of a log's messages by their content. */
async function idsByContent(url: string, processId: Id): Promise<Map<string, Id[]>> {
  const ids = new Map<string, Id[]>();
  for (const { node } of await readLog(url, processId)) {
    const { id, data } = node.message as unknown as { id: Id; data: string };
    ids.set(data, [...(ids.get(data) ?? []), id]);
  }
  return ids;
}

describe('de-duplication by deep hash', function () {
  this.timeout(240_000);
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  let database: TestDatabase | undefined;
  const servers: SuProcess[] = [];

  before(async () => {
    await testWallet('scheduler');
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-deep-hashes-'));
    gateway = await openFakeGateway();
    bundler = await openFakeBundler();
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop('SIGKILL');
    await gateway.close();
    await bundler.close();
    await database?.drop();
    database = undefined;
    await rm(folder, { recursive: true, force: true });
  });

  async function start(env: Readonly<Record<string, string>> = {}): Promise<SuProcess> {
    const server = await startSu({
      cwd: folder,
      env: {
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ENABLE_DEEP_HASH_CHECKS: 'true',
        ...(database === undefined
          ? { SU_DATA_DIR: join(folder, 'data') }
          : { DATABASE_URL: database.url }),
        ...env,
      },
    });
    servers.push(server);
    return server;
  }

  async function spawn(url: string): Promise<Id> {
    const item = quickProcess(quickWallet());
    expect((await post(url, item)).status).to.equal(200);
    return item.id;
  }

  const PLACES = [
    ['one server on the embedded store', 1, false],
    ['one server on PostgreSQL', 1, true],
    ['two servers on one PostgreSQL', 2, true],
  ] as const;

  for (const [place, count, onPostgres] of PLACES) {
    it(`gives one entry to the same pushed message from ${CLIENTS} clients: ${place}`, async () => {
      if (onPostgres) database = await emptyDatabase();
      const urls: string[] = [];
      for (let made = 0; made < count; made += 1) urls.push((await start()).url);
      const [url = ''] = urls;
      const processId = await spawn(url);
      for (let round = 0; round < 5; round += 1) {
        const content = `content ${round}`;
        const copies = Array.from({ length: CLIENTS }, () => copyOf(processId, content));
        const answers = await Promise.all(
          copies.map((copy, index) => post(urls[index % count] ?? url, copy)),
        );
        const winners = answers.flatMap(({ status, body }) => (status === 200 ? [body.id] : []));
        expect(winners, JSON.stringify(answers)).to.have.lengthOf(1);
        for (const { status, body } of answers) {
          if (status === 200) continue;
          expect([status, body.error]).to.deep.equal([
            409,
            `the same message was scheduled before, as ${winners[0]}`,
          ]);
        }
        expect((await idsByContent(url, processId)).get(content)).to.deep.equal(winners);
        const winner = copies.find(({ id }) => id === winners[0]);
        const again = await post(url, winner ?? copyOf(processId, content));
        expect([again.status, again.body.id]).to.deep.equal([200, winners[0]]);
      }
      expect(await faultsOfLog(processId, await readLog(url, processId))).to.deep.equal([]);
    });
  }

  for (const [place, onPostgres] of [
    ['the embedded store', false],
    ['PostgreSQL', true],
  ] as const) {
    it(`blocks no message for ever and schedules none twice, killed again and again: ${place}`, async () => {
      if (onPostgres) database = await emptyDatabase();
      const random = seeded(place);
      let server = await start();
      const processId = await spawn(server.url);
      const contents: string[] = [];
      for (let round = 0; round < 6; round += 1) {
        let killed = false;
        const { url } = server;
        const client = async (): Promise<void> => {
          while (!killed) {
            const fresh = random() < 0.4 || contents.length === 0;
            const content = fresh
              ? `content ${contents.length}`
              : (contents[Math.floor(random() * contents.length)] ?? '');
            if (fresh) contents.push(content);
            // The connection breaks when the server is killed.
            await post(url, copyOf(processId, content)).catch(() => undefined);
          }
        };
        const clients = Array.from({ length: CLIENTS }, client);
        await new Promise((resolve) => setTimeout(resolve, 100 + 300 * random()));
        await server.stop('SIGKILL');
        killed = true;
        await Promise.all(clients);
        server = await start();
      }
      const before = await idsByContent(server.url, processId);
      expect(contents.length).to.be.greaterThan(10);
      for (const content of contents) {
        const stored = before.get(content) ?? [];
        expect(stored.length, content).to.be.lessThan(2);
        const { status, body } = await post(server.url, copyOf(processId, content));
        if (stored.length === 0) expect([status, body.error]).to.deep.equal([200, undefined]);
        else expect(body.error).to.equal(`the same message was scheduled before, as ${stored[0]}`);
      }
      expect(await faultsOfLog(processId, await readLog(server.url, processId))).to.deep.equal([]);
    });
  }

  it('compares with what was stored before the checks were on, once that was looked at', async () => {
    let server = await start({ ENABLE_DEEP_HASH_CHECKS: 'false' });
    const processId = await spawn(server.url);
    const old = copyOf(processId, 'old content');
    expect((await post(server.url, old)).status).to.equal(200);
    await server.stop('SIGTERM');
    server = await start();
    // Looked at in the background, from the first compared message on.
    expect((await post(server.url, copyOf(processId, 'new content'))).status).to.equal(200);
    const deadline = performance.now() + 10_000;
    let copies = 0;
    for (;;) {
      const { status, body } = await post(server.url, copyOf(processId, 'old content'));
      if (status === 409) {
        expect(body.error).to.equal(`the same message was scheduled before, as ${old.id}`);
        break;
      }
      copies += 1;
      expect(performance.now()).to.be.lessThan(deadline);
    }
    // The first copy may come before the look is over, and then counts as a copy itself.
    expect(copies).to.be.lessThan(2);
  });

  it('compares assigned transactions, with each other and with messages, by what the gateway says of them', async () => {
    const server = await start({ ASSIGN_RETRY_WINDOW_MS: '0' });
    const processId = await spawn(server.url);
    const target = Buffer.from(idToBytes(processId)).toString('base64url');
    const tags = messageTags([{ name: 'From-Process', value: FROM }]);
    const known = (name: string, data: string): Id => {
      const id = randomId();
      const node = { recipient: target, anchor: '', tags: name === 'tagged' ? tags : [] };
      gateway.know({ id, data: Buffer.from(data), node });
      return id;
    };
    const assign = async (id: Id): Promise<Answer> => {
      const response = await fetch(`${server.url}/?process-id=${processId}&assign=${id}`, {
        method: 'POST',
      });
      return { status: response.status, body: (await response.json()) as Answer['body'] };
    };
    const [first, second] = [known('tagged', 'assigned'), known('tagged', 'assigned')];
    expect((await assign(first)).status).to.equal(200);
    for (const id of [first, second]) {
      expect(await assign(id)).to.deep.equal({
        status: 409,
        body: { error: `the same message was scheduled before, as ${first}` },
      });
    }
    const posted = await post(server.url, copyOf(processId, 'assigned'));
    expect(posted.body.error).to.equal(`the same message was scheduled before, as ${first}`);
    expect((await assign(known('untagged', 'assigned'))).status).to.equal(200);
    expect(await assign(randomId())).to.have.property('status', 404);
  });
});
