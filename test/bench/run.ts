import { readFileSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, release, tmpdir, totalmem, type } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { startPostgres, type TestServer } from '../support/postgres.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { Bench, type BenchOptions, type Programs } from './bench.js';
import { signsFast, type BenchCase, type StoreName } from './bench-case.js';
import { BACKLOG_CASES } from './cases/backlog.js';
import { SIZE_CASES, TYPE_CASES } from './cases/items.js';
import { LARGE_CASES } from './cases/large.js';
import { LATENCY_CASES } from './cases/latency.js';
import { PAGE_CASES } from './cases/pages.js';
import { SPAWN_CASES } from './cases/spawns.js';
import { TAIL_CASES } from './cases/tails.js';
import { WRITE_CASES } from './cases/writes.js';
import { HELP, readFlags, type Flags } from './flags.js';
import { Items } from './items.js';
import {
  startBundler,
  startCommitProgram,
  startLoadProgram,
  startPresignProgram,
  startReadProgram,
  startYardstick,
} from './programs.js';
import { renderTable, reportCase, type CaseReport, type RunReport } from './report.js';

/*
 * npm run bench: a real server, load from a program of its own, and beside every figure what the same machine does without
 * us in the same minute. Prints a table a store, and writes JSON with --json FILE. It fails when something does not work,
 * never because something is slow.
 */

/** In this order: those that share a server first, then those of the large log. */
const CASES: readonly BenchCase[] = [
  ...WRITE_CASES,
  ...LATENCY_CASES,
  ...TYPE_CASES,
  ...SPAWN_CASES,
  ...TAIL_CASES,
  // Last on the shared server: a database is busy with gigabytes of items for a while after them.
  ...SIZE_CASES,
  ...BACKLOG_CASES,
  ...PAGE_CASES,
  ...LARGE_CASES,
];

type Closing = (() => unknown)[];

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** What is going on goes to stderr, so that the table can be redirected. */
function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

function chosenCases({ isQuick, cases }: Flags): readonly BenchCase[] {
  if (cases.length === 0) return CASES.filter((one) => one.isQuick || !isQuick);
  const chosen = CASES.filter(({ name }) => cases.some((word) => name.includes(word)));
  if (chosen.length === 0) {
    throw new Error(`no case has ${cases.join(' or ')} in its name:\n${caseNames()}`);
  }
  return chosen;
}

function caseNames(): string {
  return CASES.map(({ name, isQuick }) => `  ${name}${isQuick ? ' (quick)' : ''}\n`).join('');
}

function optionsOf(flags: Flags): BenchOptions {
  const { isQuick } = flags;
  return {
    isQuick,
    rounds: flags.rounds,
    durationMs: isQuick ? 2_000 : 8_000,
    shortMs: isQuick ? 800 : 4_000,
    warmUpMessages: isQuick ? 150 : 2_000,
    entries: flags.entries,
    processes: Math.ceil(flags.entries / 10),
    backlog: isQuick ? 2_000 : 100_000,
    cores: availableParallelism(),
    node: flags.node,
    dataFolder: flags.data === undefined ? undefined : resolve(flags.data),
  };
}

async function versionOf(node: string): Promise<string> {
  return (await promisify(execFile)(node, ['--version'])).stdout.trim();
}

function processorFlags(): string {
  try {
    return readFileSync('/proc/cpuinfo', 'utf8');
  } catch {
    // Only Linux has it; elsewhere the usual goals hold.
    return '';
  }
}

async function main(): Promise<void> {
  const flags = readFlags(process.argv.slice(2));
  if (flags === 'help') {
    process.stdout.write(`${HELP}\nCases:\n${caseNames()}`);
    return;
  }
  const chosen = chosenCases(flags);
  const closing: Closing = [];
  try {
    const report = await runAll(flags, chosen, closing);
    if (flags.json !== undefined) {
      await writeFile(flags.json, `${JSON.stringify(report, undefined, 2)}\n`);
    }
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

async function runAll(
  flags: Flags,
  chosen: readonly BenchCase[],
  closing: Closing,
): Promise<RunReport> {
  const options = optionsOf(flags);
  const folder = await mkdtemp(join(tmpdir(), 'su-bench-'));
  closing.push(() => rm(folder, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      // Behind the listeners that end the servers, which write into it.
      process.once('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
      process.exit(130);
    });
  }
  await testWallet('scheduler');
  await testWallet('user');
  const { programs, items } = await startPrograms({ flags, folder, closing });
  const nodeVersion = await versionOf(flags.node);
  const isFast = signsFast(nodeVersion, processorFlags());
  // The programs have started when they have answered; signing is measured with nothing else going on.
  await items.processes();
  await programs.yardstick.verificationMs();
  const signing = await programs.yardstick.signing();
  print(
    `${cpus()[0]?.model ?? 'unknown processor'}, ${options.cores} cores; the server runs on Node ${nodeVersion}`,
  );
  print(
    `RSA-4096 signatures a second: ${signing.all.toFixed(0)} on all cores, ${signing.one.toFixed(0)} on one`,
  );
  let postgres: Promise<TestServer> | undefined;
  closing.push(async () => (await postgres)?.destroy());
  const startDatabase = (): Promise<TestServer> => (postgres ??= startPostgres('on'));
  const cases: CaseReport[] = [];
  for (const store of flags.stores) {
    const own = chosen.filter((one) => one.stores.includes(store));
    const parts = { store, programs, items, options, postgres: startDatabase, note };
    cases.push(...(await runStore(own, { ...parts, folder: join(folder, store) }, isFast)));
  }
  const version = await postgresVersion(await postgres);
  return {
    date: new Date().toISOString().slice(0, 10),
    machine: {
      processor: cpus()[0]?.model ?? 'unknown',
      cores: options.cores,
      memoryBytes: totalmem(),
      system: `${type()} ${release()}`,
    },
    versions: {
      node: nodeVersion,
      loadNode: process.version,
      su: packageVersion('../../package.json'),
      rocksdb: packageVersion('rocksdb/package.json'),
      ...(version === undefined ? {} : { postgres: version }),
    },
    isQuick: options.isQuick,
    entries: options.entries,
    signing,
    signsFast: isFast,
    cases,
  };
}

async function startPrograms(parts: {
  readonly flags: Flags;
  readonly folder: string;
  readonly closing: Closing;
}): Promise<{ readonly programs: Programs; readonly items: Items }> {
  const { flags, folder, closing } = parts;
  const { node, isQuick } = flags;
  const started = <Program extends { close(): void }>(program: Program): Program => {
    closing.push(() => program.close());
    return program;
  };
  const walletFile = testWalletPath('scheduler');
  const programs: Programs = {
    bundler: started(await startBundler()),
    load: started(startLoadProgram()),
    reads: started(startReadProgram()),
    yardstick: started(startYardstick({ node, walletFile, durationMs: isQuick ? 350 : 1_000 })),
    commits: started(startCommitProgram(node)),
  };
  return { programs, items: new Items(started(startPresignProgram(node)), folder) };
}

async function runStore(
  cases: readonly BenchCase[],
  parts: ConstructorParameters<typeof Bench>[0],
  isFast: boolean,
): Promise<readonly CaseReport[]> {
  if (cases.length === 0) return [];
  const { store } = parts;
  await mkdir(parts.folder);
  parts.items.rewind();
  const bench = new Bench(parts);
  const reports: CaseReport[] = [];
  print(`\n${titleOf(store)}`);
  try {
    for (const one of cases) {
      note(`${store} · ${one.name}`);
      const begun = performance.now();
      const measured = await one.run(bench);
      const seconds = (performance.now() - begun) / 1000;
      const report = reportCase(one, measured, { store, signsFast: isFast, seconds });
      reports.push(report);
      // At once: a long run that is interrupted has shown what it found.
      for (const line of renderTable([report])) print(line);
    }
  } finally {
    await bench.close();
    await rm(parts.folder, { recursive: true, force: true });
  }
  return reports;
}

function titleOf(store: StoreName): string {
  return { embedded: 'embedded', postgres: 'PostgreSQL', disk: 'PostgreSQL with a disk copy' }[
    store
  ];
}

async function postgresVersion(server: TestServer | undefined): Promise<string | undefined> {
  if (server === undefined) return undefined;
  const client = new pg.Client({ connectionString: server.url('postgres') });
  await client.connect();
  try {
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]?.server_version;
  } finally {
    await client.end();
  }
}

function packageVersion(name: string): string {
  const { version } = createRequire(import.meta.url)(name) as { version: string };
  return version;
}

await main();
