import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { generateRows } from '../support/generate-rows.js';
import { migratedDatabase, type TestDatabase } from '../support/postgres.js';
import { openDiskCopy } from '../../src/lib/storage/rocksdb/disk-copy.js';
import { silentLog } from '../support/postgres.js';
import { runSu, spawnSu, type SuRun } from './run-su.js';

const ROWS = 6000;
const BATCH = 50;

describe('su migrate-disk', function () {
  this.timeout(180_000);
  let database: TestDatabase;
  let folder: string;

  before(async () => {
    database = await migratedDatabase();
    await generateRows(database.url, ROWS);
  });
  after(() => database.drop());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-migrate-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  const env = (): Record<string, string> => ({
    DATABASE_URL: database.url,
    SU_DATA_DIR: folder,
    MIGRATION_BATCH_SIZE: String(BATCH),
  });
  const run = (...args: string[]): Promise<SuRun> =>
    runSu(['migrate-disk', ...args], { env: env() });

  it('copies a range and says what it did, as JSON too', async () => {
    const first = await run('0-1000', '--segments', '2', '--json');
    expect(first.status, first.stderr).to.equal(0);
    expect(JSON.parse(first.stdout)).to.include({
      range: '0-1000',
      rows: 1000,
      rowsCopied: 1000,
      processes: 21,
      segments: 2,
    });
    const rest = await run('1000', '--verify');
    expect(rest.status, rest.stderr).to.equal(0);
    expect(rest.stdout).to.match(/5000 of the range's 5000 rows copied/);
    expect(rest.stdout).to.match(/5000 rows compared: the same/);
  });

  for (const range of ['all', '5-1', '1-', '0.5']) {
    it(`refuses ${range} with the value and examples, and touches nothing`, async () => {
      const { status, stderr } = await run(range);
      expect(status).to.equal(2);
      expect(stderr).to.include(range).and.to.include('1000-2000');
    });
  }

  it('killed ten times at random moments, goes on where it was and is complete in the end', async () => {
    const copied: number[] = [];
    for (let kill = 0; kill < 10; kill += 1) {
      const child = spawnSu(['migrate-disk', '0', '--segments', '2'], { env: env() });
      const exited = once(child, 'exit');
      // A program needs so long to start; what follows is copying.
      const timer = setTimeout(() => child.kill('SIGKILL'), 300 + Math.random() * 700);
      await exited;
      clearTimeout(timer);
      copied.push(await countCopied());
    }
    expect(copied).to.deep.equal(copied.toSorted((one, other) => one - other));
    const before = copied.at(-1) ?? 0;
    const last = await run('0', '--verify', '--json');
    expect(last.status, last.stderr).to.equal(0);
    const summary = JSON.parse(last.stdout) as { rowsCopied: number; rowsVerified: number };
    // A batch is noted as copied in the write that copies it: nothing of what was there is read again.
    expect(summary.rowsCopied).to.equal(ROWS - before);
    expect(summary.rowsVerified).to.equal(ROWS);
  });

  it('stopped with Ctrl-C, says how to go on, and does', async () => {
    const child = spawnSu(['migrate-disk', '0', '--segments', '1'], { env: env() });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const exited = once(child, 'close') as Promise<[number]>;
    while ((await countFiles()) === 0 && child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill('SIGINT');
    const [status] = await exited;
    expect(status, stderr).to.equal(130);
    expect(stderr).to.match(/su migrate-disk 0 goes on from there/);
    expect((await run('0', '--verify')).status).to.equal(0);
  });

  it('says who holds the folder', async () => {
    const held = await openDiskCopy({ folder, log: silentLog });
    try {
      const { status, stderr } = await run('0');
      expect(status).to.equal(2);
      expect(stderr).to.match(/held by a running su serve or another su migrate-disk.*--segments/);
    } finally {
      await held.close();
    }
  });

  /** Rows that the spans in the folder cover. */
  async function countCopied(): Promise<number> {
    const opened = await openDiskCopy({ folder, log: silentLog });
    const spans = await opened.copy.readSpans();
    await opened.close();
    let count = 0;
    for (const { after, through } of spans) {
      const [row] = await database.query<{ count: string }>(
        'select count(*) from messages where row_id > $1 and row_id <= $2',
        [after, through],
      );
      count += Number(row?.count);
    }
    return count;
  }

  async function countFiles(): Promise<number> {
    const { readdir } = await import('node:fs/promises');
    return (await readdir(join(folder, 'db')).catch(() => [])).length;
  }
});

describe('su disk:check', function () {
  this.timeout(60_000);

  it('makes no folder, and leaves the copy of another database alone', async () => {
    const [database, other] = [await migratedDatabase(), await migratedDatabase()];
    const folder = await mkdtemp(join(tmpdir(), 'su-check-'));
    try {
      const missing = join(folder, 'mistyped');
      const env = { DATABASE_URL: database.url, SU_DATA_DIR: missing };
      const found = await runSu(['disk:check', '--repair'], { env });
      expect(found.status).to.equal(2);
      expect(found.stderr).to.match(/^su: there is no store in .*mistyped/);
      expect(existsSync(missing)).to.equal(false);
      for (const { url } of [database, other]) await generateRows(url, 50);
      const copy = { SU_DATA_DIR: join(folder, 'copy') };
      await runSu(['migrate-disk', '0'], { env: { ...copy, DATABASE_URL: other.url } });
      const foreign = await runSu(['disk:check', '--repair'], {
        env: { ...copy, DATABASE_URL: database.url },
      });
      expect(foreign.status).to.equal(2);
      expect(foreign.stderr).to.include('the copy of another database');
      const own = await runSu(['disk:check'], { env: { ...copy, DATABASE_URL: other.url } });
      expect(own.stdout).to.match(/21 processes, 50 messages on the disk; 0 behind, 0 faults/);
    } finally {
      await rm(folder, { recursive: true, force: true });
      await database.drop();
      await other.drop();
    }
  });

  it('finds what is missing on the disk, and repairs it from the database', async () => {
    const database = await migratedDatabase();
    const folder = await mkdtemp(join(tmpdir(), 'su-check-'));
    const env = { DATABASE_URL: database.url, SU_DATA_DIR: folder };
    try {
      const { processId } = await generateRows(database.url, 200);
      expect((await runSu(['migrate-disk', '0'], { env })).status).to.equal(0);
      expect((await runSu(['disk:check'], { env })).status).to.equal(0);
      // As if the disk had a message that the database lost, and another log's end.
      await database.query(
        `delete from messages where process_id = '${processId}' and nonce = 3;
         update messages set hash_chain = 'another' where row_id =
           (select row_id from messages where process_id <> '${processId}' order by row_id desc limit 1)`,
      );
      const found = await runSu(['disk:check'], { env });
      expect(found.status, found.stderr + found.stdout).to.equal(1);
      expect(found.stdout).to.match(/^incomplete {2}\S+ {2}100 messages .* in the database 99$/m);
      expect(found.stdout).to.match(/^other-log {2}\S+ {2}the hash chain at nonce \d+ is/m);
      const repaired = await runSu(['disk:check', '--repair', '--json'], { env });
      expect(repaired.status, repaired.stderr).to.equal(0);
      expect(JSON.parse(repaired.stdout)).to.include({ faults: 2, repaired: 2 });
      const clean = await runSu(['disk:check'], { env });
      expect(clean.status).to.equal(0);
      expect(clean.stdout).to.match(/21 processes, 199 messages on the disk; 0 behind, 0 faults/);
    } finally {
      await rm(folder, { recursive: true, force: true });
      await database.drop();
    }
  });
});
