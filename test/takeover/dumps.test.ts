import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { Id } from '../../src/lib/protocol/ids.js';
import { runSu } from '../cli/run-su.js';
import { openFakeBundler, type FakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type FakeGateway } from '../support/fake-gateway.js';
import { post } from '../support/load.js';
import { emptyDatabase, type TestDatabase } from '../support/postgres.js';
import { faultsOfLog, readLog } from '../support/read-log.js';
import { readRecordedItem } from '../support/recorded.js';
import { changedRows, digestRows } from '../support/row-digests.js';
import { quickMessage, quickWallet } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';

const MESSAGES = 1_000;
const CLIENTS = 8;

interface Dump {
  readonly name: string;
  /** Entries that the dump lacks, in its first process. */
  readonly holes: readonly number[];
}

const DUMPS: readonly Dump[] = [
  { name: 'with-process-assignment', holes: [12] },
  { name: 'without-process-assignment', holes: [] },
];

describe("a database that the reference has left, taken over by another wallet's server", function () {
  this.timeout(180_000);
  let folder: string;
  let gateway: FakeGateway;
  let bundler: FakeBundler;
  let database: TestDatabase | undefined;
  let server: SuProcess | undefined;

  before(() => testWallet('scheduler'));
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-takeover-'));
    gateway = await openFakeGateway({ height: 1_600_000 });
    bundler = await openFakeBundler();
  });
  afterEach(async () => {
    await server?.stop('SIGKILL');
    await database?.drop();
    await gateway.close();
    await bundler.close();
    await rm(folder, { recursive: true, force: true });
  });

  for (const { name, holes } of DUMPS) {
    it(`keeps its rows as they are and goes on with every log for ${MESSAGES} messages: ${name}`, async () => {
      database = await emptyDatabase(readDump(name));
      const before = await digestRows(database);
      const lengths = await readLengths(database);
      expect(lengths).to.have.lengthOf(4);
      server = await startSu({
        cwd: folder,
        env: {
          DATABASE_URL: database.url,
          SU_WALLET_PATH: testWalletPath('scheduler'),
          GATEWAY_URL: gateway.url,
          UPLOAD_NODE_URL: bundler.url,
          ENABLE_PROCESS_ASSIGNMENT: String(name.startsWith('with-')),
        },
      });

      await postMessages(
        server.url,
        lengths.map(({ processId }) => processId),
      );

      for (const { processId, entries, first } of lengths) {
        const edges = await readLog(server.url, processId);
        expect(edges).to.have.lengthOf(entries + MESSAGES / lengths.length);
        expect(await faultsOfLog(processId, edges, first ? holes : [])).to.deep.equal([]);
      }
      expect(changedRows(before, await digestRows(database))).to.deep.equal([]);
      expect(await server.stop('SIGTERM')).to.equal(0);
      expect(await faultsOfAudit(database)).to.deep.equal(
        holes.map((nonce) => ({ process: lengths[0]?.processId, code: 'nonce-hole', nonce })),
      );
    });
  }

  it('answers a message that the reference has scheduled with its receipt, and schedules it no second time', async () => {
    database = await emptyDatabase(readDump('with-process-assignment'));
    const before = await digestRows(database);
    server = await startSu({
      cwd: folder,
      env: {
        DATABASE_URL: database.url,
        SU_WALLET_PATH: testWalletPath('scheduler'),
        GATEWAY_URL: gateway.url,
        UPLOAD_NODE_URL: bundler.url,
      },
    });
    for (const item of ['message-json', 'process-plain']) {
      const { status, text } = await post(server.url, { bytes: readRecordedItem(item) });
      expect(status, text).to.equal(200);
      const { id, timestamp } = JSON.parse(text) as { id: string; timestamp: number };
      const [row] = await database.query<{ timestamp: string }>(
        `select timestamp from messages where message_id = $1
         union all select timestamp from processes where process_id = $1`,
        [id],
      );
      expect(timestamp).to.equal(Number(row?.timestamp));
    }
    expect(await database.query('select from messages')).to.have.lengthOf(
      [...before.keys()].filter((key) => key.startsWith('messages/')).length,
    );
  });
});

function readDump(name: string): string {
  return readFileSync(new URL(`../vectors/databases/${name}.sql`, import.meta.url), 'utf8');
}

/** How many entries each log has, its process's own among them. */
async function readLengths(
  database: TestDatabase,
): Promise<{ processId: Id; entries: number; first: boolean }[]> {
  const rows = await database.query<{ process_id: Id; entries: number; row_id: number }>(
    `select p.process_id, p.row_id,
            (p.nonce is not null)::int
              + (select count(*)::int from messages m where m.process_id = p.process_id) as entries
       from processes p order by p.row_id`,
  );
  return rows.map((row) => ({
    processId: row.process_id,
    entries: row.entries,
    first: row.row_id === 1,
  }));
}

/** What `su verify` calls a fault: process, code and nonce of each. */
async function faultsOfAudit(database: TestDatabase): Promise<readonly object[]> {
  const { stdout, stderr, status } = await runSu(['verify', '--json'], {
    env: { DATABASE_URL: database.url },
  });
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.at(-1), stderr).to.have.property('type', 'summary');
  const faults = lines.filter(({ severity }) => severity === 'fault');
  expect(status, stderr).to.equal(faults.length === 0 ? 0 : 1);
  return faults.map(({ process, code, nonce }) => ({ process, code, nonce }));
}

async function postMessages(url: string, processes: readonly Id[]): Promise<void> {
  const wallet = quickWallet();
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < MESSAGES) {
      const processId = processes[next++ % processes.length] as Id;
      const { status, text } = await post(url, quickMessage(wallet, processId));
      expect(status, text).to.equal(200);
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
}
