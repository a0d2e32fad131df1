import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { nextLink } from '../../src/lib/protocol/hash-chain.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { post } from '../support/load.js';
import { OldLog, type OldEntry, type OldForm } from '../support/old-log.js';
import { emptyDatabase, silentLog, type TestDatabase } from '../support/postgres.js';
import { readLog, type WireEdge } from '../support/read-log.js';
import { changedRows, digestRows, readColumns } from '../support/row-digests.js';
import { quickMessage, quickWallet } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const FORMS: readonly OldForm[] = ['outer', 'inner', 'assignment-only'];

describe('a database with the forms of all years', function () {
  this.timeout(60_000);
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  let database: TestDatabase;
  let server: SuProcess | undefined;

  before(() => testWallet('scheduler'));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-old-forms-'));
    gateway = await openFakeGateway({ height: 1_600_000 });
    bundler = await openFakeBundler();
  });
  afterEach(async () => {
    await server?.stop('SIGKILL');
    await database.drop();
    await gateway.close();
    await bundler.close();
    await rm(folder, { recursive: true, force: true });
  });

  const serve = async (): Promise<string> => {
    server = await startSu({
      cwd: folder,
      env: {
        DATABASE_URL: database.url,
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
        ENABLE_PROCESS_ASSIGNMENT: 'true',
        ENABLE_METRICS: 'true',
      },
    });
    return server.url;
  };
  const schedule = async (url: string, processId: Id): Promise<Record<string, string>> => {
    const { status, text } = await post(url, quickMessage(quickWallet(), processId));
    expect(status, text).to.equal(200);
    const edge = (await readLog(url, processId)).at(-1) as WireEdge;
    return Object.fromEntries(edge.node.assignment.tags.map(({ name, value }) => [name, value]));
  };
  /** What the next assignment of a log must say. */
  const after = (head: OldEntry): Record<string, string> => ({
    Nonce: String(head.nonce + 1),
    'Hash-Chain': nextLink(head.assignmentId, head.hashChain),
    'Block-Height': '000001600000',
  });

  it('is brought up to date from the first version, its rows as they were, and every entry is read', async () => {
    database = await emptyDatabase(stage('20231213213153'));
    const bare = new OldLog(database);
    await bare.spawnBare();
    for (let count = 0; count < 5; count += 1) await bare.add({ form: 'outer' });
    const columns = await readColumns(database);
    const before = await digestRows(database, columns);
    const url = await serve();
    expect(changedRows(before, await digestRows(database, columns))).to.deep.equal([]);
    const edges = await readLog(url, bare.processId);
    expect(idsOf(edges)).to.deep.equal(bare.entries.map(({ messageId }) => messageId));
    expect(edges.map(({ node }) => node.assignment.id)).to.deep.equal(
      bare.entries.map(({ assignmentId }) => assignmentId),
    );
    const record = (await (await fetch(`${url}/processes/${bare.processId}`)).json()) as object;
    expect(record).to.deep.include({ process_id: bare.processId, block: '000001393008' });
    expect(await schedule(url, bare.processId)).to.deep.include(
      after(bare.entries.at(-1) as OldEntry),
    );
  });

  for (const spawn of ['spawnBare', 'spawnAssigned'] as const) {
    it(`keeps the order of mixed forms and goes on from the last: ${spawn}`, async () => {
      database = await emptyDatabase(stage('20250318144400'));
      const log = new OldLog(database);
      await log[spawn]();
      for (let turn = 0; turn < 9; turn += 1) await log.add({ form: FORMS[turn % 3] as OldForm });
      const before = await digestRows(database);
      const url = await serve();
      for (const limit of [100, 4, 1]) {
        const edges = await readLog(url, log.processId, limit);
        expect(edges.map(({ cursor }) => Number(cursor))).to.deep.equal(
          log.entries.map(({ nonce }) => nonce),
        );
        expect(edges.map(({ node }) => node.assignment.id)).to.deep.equal(
          log.entries.map(({ assignmentId }) => assignmentId),
        );
      }
      expect(await schedule(url, log.processId)).to.deep.include(
        after(log.entries.at(-1) as OldEntry),
      );
      expect(changedRows(before, await digestRows(database))).to.deep.equal([]);
    });
  }

  it('tolerates old damage: a nonce held twice, a hole, a clock that was set back', async () => {
    database = await emptyDatabase(stage('20250318144400'));
    const log = new OldLog(database);
    await log.spawnAssigned();
    const future = Date.now() + 3_600_000;
    await log.add({ form: 'inner' });
    await log.add({ form: 'inner' });
    await log.add({ form: 'inner', nonce: 2 });
    await log.add({ form: 'inner', nonce: 5, timestamp: future });
    const head = await log.add({ form: 'inner', nonce: 6, timestamp: future - 60_000 });
    const before = await digestRows(database);
    const url = await serve();
    for (const limit of [100, 3, 2, 1]) {
      for (const by of ['from-nonce', 'from']) {
        const edges = await readPages(url, log.processId, { by, limit });
        expect(
          edges.map(({ node }) => node.assignment.id),
          `${by}, ${limit} a page`,
        ).to.deep.equal(log.entries.map(({ assignmentId }) => assignmentId));
      }
    }
    const tags = await schedule(url, log.processId);
    expect(tags).to.deep.include(after(head));
    // Behind the latest of all, not only behind the last: who has paged by time must not miss it.
    expect(Number(tags['Timestamp'])).to.equal(future + 1);
    expect(changedRows(before, await digestRows(database))).to.deep.equal([]);
    expect(server?.output()).to.include('duplicate-nonces-found');
  });

  it('ends a page before an entry that cannot be read, fails the next, and names it in log and metrics', async () => {
    database = await emptyDatabase(stage('20250318144400'));
    const log = new OldLog(database);
    await log.spawnAssigned();
    for (let turn = 0; turn < 5; turn += 1) await log.add({ form: 'inner' });
    await database.query(
      'update messages set bundle = substring(bundle from 1 for 2000) where nonce = 3',
    );
    const url = await serve();
    const ask = async (query: string): Promise<{ status: number; body: unknown }> => {
      const response = await fetch(`${url}/${log.processId}?process-id=${log.processId}&${query}`);
      return { status: response.status, body: await response.json() };
    };
    const { status, body } = await ask('from-nonce=-1');
    const page = body as { edges: WireEdge[]; page_info: unknown };
    expect(status).to.equal(200);
    expect(page.edges.map(({ cursor }) => cursor)).to.deep.equal(['0', '1', '2']);
    expect(page.page_info).to.deep.equal({ has_next_page: true });
    expect(await ask('from-nonce=2')).to.deep.equal({
      status: 500,
      body: { error: 'internal error' },
    });
    expect((await ask('from-nonce=3')).status).to.equal(200);
    const metrics = await (await fetch(`${url}/metrics`)).text();
    expect(metrics).to.include('su_unreadable_entries_total 2');
    const line = server
      ?.output()
      .split('\n')
      .find((each) => each.includes('entry-unreadable'));
    expect(line).to.include(log.processId).and.include('nonce');
    expect(await schedule(url, log.processId).catch((error: unknown) => String(error))).to.include(
      '500',
    );
    expect((await ask('from-nonce=5')).body)
      .to.have.property('edges')
      .that.has.lengthOf(1);
  });

  it('migrated while the reference still adds rows of its own, takes those too', async () => {
    database = await emptyDatabase(stage('20250318144400'));
    const log = new OldLog(database);
    await log.spawnAssigned();
    await migrate({ url: database.url, log: silentLog });
    await log.add({ form: 'inner' });
    const head = await log.add({ form: 'assignment-only' });
    const url = await serve();
    expect(await schedule(url, log.processId)).to.deep.include(after(head));
  });
});

function stage(version: string): string {
  return readFileSync(
    new URL(`../vectors/databases/stage-${version}.sql`, import.meta.url),
    'utf8',
  );
}

/** A whole log as a client pages through it, by nonce or by time. */
async function readPages(
  url: string,
  processId: Id,
  { by, limit }: { readonly by: string; readonly limit: number },
): Promise<readonly WireEdge[]> {
  const edges: WireEdge[] = [];
  for (;;) {
    const from = edges.at(-1)?.cursor;
    const begin = from === undefined ? (by === 'from' ? '' : '&from-nonce=-1') : `&${by}=${from}`;
    const answer = await fetch(
      `${url}/${processId}?process-id=${processId}&limit=${limit}${begin}`,
    );
    const page = (await answer.json()) as {
      edges: WireEdge[];
      page_info: { has_next_page: boolean };
    };
    edges.push(...page.edges);
    if (!page.page_info.has_next_page) return edges;
  }
}

function idsOf(edges: readonly WireEdge[]): readonly (string | undefined)[] {
  return edges.map(({ node }) => node.message?.id);
}
