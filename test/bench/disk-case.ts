import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import pg from 'pg';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openFakeGateway } from '../support/fake-gateway.js';
import { openFakeBundler } from '../support/fake-bundler.js';
import { createDatabase, silentLog, startPostgres, type TestServer } from '../support/postgres.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { generateRows } from '../support/generate-rows.js';
import { fetchTimed, type TimedAnswer } from './fetch-timed.js';
import { cpuMsOf, memoryOf } from './programs.js';
import { median } from './statistics.js';

/*
 * What `su migrate-disk` and USE_DISK cost and bring, on a database of many rows: a figure for each number of segments,
 * beside what the same database gives with COPY and with one query by key in the same run; and pages from the disk beside
 * the same pages from PostgreSQL. It fails when something does not work, never because something is slow.
 */
const HELP = `node --import tsx test/bench/disk-case.ts [--rows N] [--segments 1,2,4] [--json FILE]

  --rows      messages in the database (default 100000; half of them in one log)
  --segments  numbers of segments to measure (default 1,2,4)
  --json      write all figures to this file
`;

const { values: flags } = parseArgs({
  options: {
    rows: { type: 'string', default: '100000' },
    segments: { type: 'string', default: '1,2,4' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const PAGE_ENTRIES = 1000;
const PAGE_ROUNDS = 15;
const WARM_UP_ROUNDS = 2;
const SETTLED_LOOK_MS = 2000;
const SETTLED_WAIT_MS = 120_000;
const ENTRY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));

interface MigrationFigure {
  readonly segments: number;
  readonly rowsPerSecond: number;
  readonly peakMemoryMb: number;
  readonly ofCopy: number;
  readonly ofQuery: number;
}

interface PageFigure {
  readonly at: string;
  readonly diskMs: number;
  readonly databaseMs: number;
  readonly sameBytes: boolean;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  if (flags.help) {
    process.stdout.write(HELP);
    return;
  }
  const rows = Number(flags.rows);
  const folder = await mkdtemp(join(tmpdir(), 'su-bench-disk-'));
  const server = await startPostgres();
  try {
    const database = await createDatabase(server, 'template0');
    await migrate({ url: database.url, log: silentLog });
    print(`generating ${rows} rows…`);
    const { processId, bytes } = await generateRows(database.url, rows);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query('vacuum analyze messages');
    print(`${rows} rows, ${(bytes / 1e6).toFixed(0)} MB of bundles`);
    const copySeconds = await timed(() =>
      client.query('copy (select bundle from messages) to stdout'),
    );
    const querySeconds = await timed(() => readByKey(client));
    await client.end();
    print(`COPY TO STDOUT      ${(rows / copySeconds).toFixed(0)} rows/s`);
    print(`one query by key    ${(rows / querySeconds).toFixed(0)} rows/s`);
    const migrations: MigrationFigure[] = [];
    let data = '';
    for (const segments of flags.segments.split(',').map(Number)) {
      data = join(folder, `data-${segments}`);
      const run = await migrateOnce({ url: database.url, data, segments });
      const figure = {
        segments,
        ...run,
        ofCopy: run.rowsPerSecond / (rows / copySeconds),
        ofQuery: run.rowsPerSecond / (rows / querySeconds),
      };
      migrations.push(figure);
      print(
        `${segments} segments          ${figure.rowsPerSecond.toFixed(0)} rows/s, ${figure.ofCopy.toFixed(2)} of COPY, ` +
          `${figure.ofQuery.toFixed(2)} of the query, peak ${figure.peakMemoryMb.toFixed(0)} MB`,
      );
    }
    const pages = await measurePages({ server, url: database.url, data, processId, rows, folder });
    for (const { at, diskMs, databaseMs, sameBytes } of pages) {
      print(
        `page of ${PAGE_ENTRIES}, ${at.padEnd(7)} disk ${diskMs.toFixed(1)} ms, PostgreSQL ${databaseMs.toFixed(1)} ms, ` +
          `${(databaseMs / diskMs).toFixed(1)} times as fast, ${sameBytes ? 'the same bytes' : 'OTHER BYTES'}`,
      );
    }
    const figures = { rows, bytes, copySeconds, querySeconds, migrations, pages };
    if (flags.json !== undefined) {
      await writeFile(flags.json, `${JSON.stringify(figures, undefined, 2)}\n`);
    }
  } finally {
    server.destroy();
    await rm(folder, { recursive: true, force: true });
  }
}

/** All rows in the order of their ids, a thousand at a time, as a migration wants them. */
async function readByKey(client: pg.Client): Promise<void> {
  for (let after = 0; ;) {
    const { rows } = await client.query<{ row_id: number }>(
      `select row_id, process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, bundle
         from messages where row_id > $1 order by row_id limit 1000`,
      [after],
    );
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.row_id;
  }
}

async function migrateOnce(options: {
  readonly url: string;
  readonly data: string;
  readonly segments: number;
}): Promise<{ rowsPerSecond: number; peakMemoryMb: number }> {
  const child = execFile(
    process.execPath,
    [ENTRY, 'migrate-disk', '0', '--segments', String(options.segments), '--json'],
    { env: { PATH: process.env['PATH'], DATABASE_URL: options.url, SU_DATA_DIR: options.data } },
  );
  let output = '';
  child.stdout?.on('data', (chunk: string) => (output += chunk));
  child.stderr?.on('data', (chunk: string) => process.stderr.write(chunk));
  let peak = 0;
  const watch = setInterval(() => void note(), 200);
  const note = async (): Promise<void> => {
    const memory = (await memoryOf(child.pid ?? 0)) ?? 0;
    if (memory > peak) peak = memory;
  };
  const [code] = (await once(child, 'exit')) as [number];
  clearInterval(watch);
  if (code !== 0) throw new Error(`migrate-disk ended with ${code}`);
  const { rowsPerSecond } = JSON.parse(output) as { rowsPerSecond: number };
  return { rowsPerSecond, peakMemoryMb: peak / 1e6 };
}

/**
 * Waits until RocksDB has compacted what a migration left: that goes on for some seconds after it, and whoever asks then
 * shares the cores with it.
 */
async function settled(pid: number): Promise<void> {
  const deadline = performance.now() + SETTLED_WAIT_MS;
  let before = (await cpuMsOf(pid)) ?? 0;
  for (let isIdle = false; !isIdle && performance.now() < deadline;) {
    await sleep(SETTLED_LOOK_MS);
    const now = (await cpuMsOf(pid)) ?? 0;
    isIdle = now - before < 0.1 * SETTLED_LOOK_MS;
    before = now;
  }
}

/**
 * One server with the disk and one without, asked in turn for three pages each: whoever reads a log asks one server for one page
 * after the other, and what the other server does in between would make both slower.
 */
async function measurePages(options: {
  readonly server: TestServer;
  readonly url: string;
  readonly data: string;
  readonly processId: Id;
  readonly rows: number;
  readonly folder: string;
}): Promise<readonly PageFigure[]> {
  await testWallet('scheduler');
  const gateway = await openFakeGateway({ height: 1_500_000, transactions: [] });
  const bundler = await openFakeBundler();
  const env = {
    SU_WALLET_PATH: testWalletPath('scheduler'),
    GATEWAY_URL: gateway.url,
    UPLOAD_NODE_URL: bundler.url,
    DATABASE_URL: options.url,
  };
  const servers: SuProcess[] = [];
  try {
    const disk = await startSu({
      cwd: options.folder,
      env: { ...env, USE_DISK: 'true', SU_DATA_DIR: options.data },
    });
    servers.push(disk);
    const plain = await startSu({ cwd: options.folder, env });
    servers.push(plain);
    await settled(disk.pid);
    const count = Math.floor(options.rows / 2);
    const places = [
      { at: 'begin', from: 0, step: PAGE_ENTRIES },
      { at: 'middle', from: Math.floor(count / 2), step: PAGE_ENTRIES },
      { at: 'end', from: count - PAGE_ENTRIES - 1, step: -PAGE_ENTRIES },
    ].map((place) => ({ ...place, disk: [] as number[], database: [] as number[], same: true }));
    for (let round = 0; round < PAGE_ROUNDS + WARM_UP_ROUNDS; round += 1) {
      // Pages that nobody asked for before, so that neither server has them in memory; each place is the first as often.
      const turn = round % places.length;
      const asked = [...places.slice(turn), ...places.slice(0, turn)];
      const paths = asked.map(
        ({ from, step }) =>
          `/${options.processId}?from-nonce=${from + round * step}&limit=${PAGE_ENTRIES}`,
      );
      const fromDisk = await fetchInTurn(disk.url, paths);
      const fromDatabase = await fetchInTurn(plain.url, paths);
      for (const [index, place] of asked.entries()) {
        const [one, other] = [fromDisk[index], fromDatabase[index]];
        if (one === undefined || other === undefined) throw new Error('a page was not fetched');
        place.same &&= one.bytes.equals(other.bytes);
        if (round < WARM_UP_ROUNDS) continue;
        place.disk.push(one.ms);
        place.database.push(other.ms);
      }
    }
    return places.map(({ at, disk: onDisk, database, same }) => ({
      at,
      diskMs: median(onDisk),
      databaseMs: median(database),
      sameBytes: same,
    }));
  } finally {
    agent.destroy();
    for (const one of servers) await one.stop('SIGTERM');
    await gateway.close();
    await bundler.close();
  }
}

const agent = new Agent({ keepAlive: true });

/** One after the other. */
async function fetchInTurn(url: string, paths: readonly string[]): Promise<readonly TimedAnswer[]> {
  const answers: TimedAnswer[] = [];
  for (const path of paths) answers.push(await fetchTimed(url + path, agent));
  return answers;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

await main();
