import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../support/postgres.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { measurePage, type PageFigure } from './page-case.js';
import { presignMessages, presignProcesses, type PresignedFile } from './presigned.js';
import {
  measureSigning,
  memoryOf,
  startBundler,
  startLoadProgram,
  type LoadProgram,
  type ServerProgram,
} from './programs.js';
import { spread } from './statistics.js';
import { runWriteRound, type WriteRound } from './write-case.js';

/*
 * npm run bench: a real server per store, load from a program of its own, and beside every figure what the same machine
 * does without us in the same minute. Prints a table, and writes JSON with --json FILE. It fails when something does
 * not work, never because something is slow.
 */
const HELP = `npm run bench -- [--quick] [--store embedded|postgres] [--node PATH] [--json FILE]

  --quick   fewer and shorter rounds (under two minutes)
  --store   only this store
  --node    the Node that runs the server (default: this one)
  --json    write all figures to this file
`;

const { values: flags } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    store: { type: 'string' },
    node: { type: 'string', default: process.execPath },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

type StoreName = 'embedded' | 'postgres';

interface Workload {
  readonly name: string;
  readonly items: PresignedFile;
  readonly clients: number;
  readonly against: 'all' | 'one';
}

interface StoreFigures {
  readonly store: StoreName;
  readonly writes: Record<string, readonly WriteRound[]>;
  readonly page: PageFigure;
  readonly memoryBytes: number | undefined;
}

const PROCESSES = 64;
const PAGE_ENTRIES = 1000;
const ITEM_BYTES = 1_500;
const PAGE_ITEM_BYTES = 1_240;
const rounds = flags.quick ? 1 : 3;
const durationMs = flags.quick ? 4_000 : 8_000;
const cores = availableParallelism();

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function main(): Promise<void> {
  if (flags.help) {
    process.stdout.write(HELP);
    return;
  }
  const folder = await mkdtemp(join(tmpdir(), 'su-bench-'));
  const closing: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
  try {
    await testWallet('scheduler');
    const sign = await measureSigning(testWalletPath('scheduler'), {
      node: flags.node,
      durationMs: 2_000,
    });
    print(`${cpus()[0]?.model ?? 'unknown processor'}, ${cores} cores, Node ${process.version}`);
    print(
      `RSA-4096 signatures a second: ${sign.all.toFixed(0)} on all cores, ${sign.one.toFixed(0)} on one`,
    );
    const bundler = await startBundler();
    closing.push(() => bundler.close());
    const load = startLoadProgram();
    closing.push(() => load.close());
    const workloads = await presign(folder, sign.all);
    const figures: StoreFigures[] = [];
    for (const store of ['embedded', 'postgres'] as const) {
      if (flags.store !== undefined && flags.store !== store) continue;
      figures.push(await benchStore(store, { folder, bundler, load, workloads }));
    }
    report(figures);
    if (flags.json !== undefined) {
      const machine = { model: cpus()[0]?.model, cores, node: process.version, server: flags.node };
      await writeFile(flags.json, `${JSON.stringify({ machine, sign, figures }, undefined, 2)}\n`);
    }
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}

interface Workloads {
  readonly processes: PresignedFile;
  readonly pageProcess: string;
  readonly page: PresignedFile;
  readonly writes: readonly Workload[];
}

/** Signs everything beforehand: enough for the machine's whole rate in every round. */
async function presign(folder: string, signaturesPerSecond: number): Promise<Workloads> {
  const enough = Math.ceil((signaturesPerSecond * durationMs * (rounds + 0.5)) / 1000);
  print(`signing ${2 * enough + PAGE_ENTRIES} messages beforehand…`);
  const processes = await presignProcesses(folder, PROCESSES + 2);
  const [hot = '', paged = '', ...many] = processes.ids;
  const messages = (ids: readonly string[], count: number, bytes: number): Promise<PresignedFile> =>
    presignMessages(folder, { processes: ids as typeof processes.ids, count, bytes });
  return {
    processes,
    pageProcess: paged,
    page: await messages([paged], PAGE_ENTRIES, PAGE_ITEM_BYTES),
    writes: [
      {
        name: '64 processes, 32 clients',
        items: await messages(many, enough, ITEM_BYTES),
        clients: 32,
        against: 'all',
      },
      {
        name: 'one process, 16 clients',
        items: await messages([hot], enough, ITEM_BYTES),
        clients: 16,
        against: 'one',
      },
    ],
  };
}

interface BenchParts {
  readonly folder: string;
  readonly bundler: ServerProgram;
  readonly load: LoadProgram;
  readonly workloads: Workloads;
}

async function benchStore(store: StoreName, parts: BenchParts): Promise<StoreFigures> {
  const { folder, bundler, load, workloads } = parts;
  const database = store === 'postgres' ? await startPostgres('on') : undefined;
  const cwd = join(folder, store);
  await mkdir(cwd);
  const server = await startSu({
    cwd,
    node: flags.node,
    env: {
      SU_WALLET_PATH: testWalletPath('scheduler'),
      SU_DATA_DIR: join(cwd, 'data'),
      DATABASE_URL: database?.url('postgres'),
      GATEWAY_URL: bundler.url,
      UPLOAD_NODE_URL: bundler.url,
      ENABLE_PROCESS_ASSIGNMENT: 'true',
      ENABLE_METRICS: 'true',
    },
  });
  try {
    const { file, count } = workloads.processes;
    await load.run({ url: server.url, file, from: 0, to: count, clients: 8 });
    const writes: Record<string, readonly WriteRound[]> = {};
    for (const workload of workloads.writes) {
      print(`${store}: ${workload.name}`);
      writes[workload.name] = await benchWrites(workload, server, parts);
    }
    print(`${store}: page of ${PAGE_ENTRIES}`);
    const filled = workloads.page;
    await load.run({ url: server.url, file: filled.file, from: 0, to: filled.count, clients: 16 });
    const page = await measurePage({
      url: `${server.url}/${workloads.pageProcess}?limit=${PAGE_ENTRIES}`,
      folder: cwd,
      times: flags.quick ? 20 : 60,
    });
    return { store, writes, page, memoryBytes: await memoryOf(server.pid) };
  } finally {
    await server.stop('SIGTERM');
    database?.destroy();
  }
}

async function benchWrites(
  workload: Workload,
  server: SuProcess,
  { bundler, load }: BenchParts,
): Promise<readonly WriteRound[]> {
  const { items, clients, against } = workload;
  const common = { url: server.url, file: items.file, to: items.count, clients };
  const warm = await load.run({ ...common, from: 0, durationMs: durationMs / 4 });
  const results: WriteRound[] = [];
  let from = warm.next;
  for (let i = 0; i < rounds; i += 1) {
    const { round, next } = await runWriteRound({
      server,
      bundler,
      load,
      items,
      from,
      clients,
      durationMs,
      against,
      cores,
      measureSigning: () =>
        measureSigning(testWalletPath('scheduler'), { node: flags.node, durationMs: 1_000 }),
    });
    from = next;
    results.push(round);
  }
  return results;
}

function report(figures: readonly StoreFigures[]): void {
  for (const { store, writes, page, memoryBytes } of figures) {
    print(`\n${store}`);
    for (const [name, results] of Object.entries(writes)) {
      const of = (pick: (round: WriteRound) => number): string => {
        const { median, min, max } = spread(results.map(pick));
        return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
      };
      print(`  ${name}`);
      print(`    messages a second               ${of((round) => round.messagesPerSecond)}`);
      print(`    of the machine's signatures     ${of((round) => round.ofSignatures)}`);
      print(
        `    CPU of the server, signatures   ${of((round) => round.cpuSignatures ?? Number.NaN)}`,
      );
      print(`    receipt after ms, p50           ${of((round) => round.p50Ms)}`);
      print(`    receipt after ms, p99           ${of((round) => round.p99Ms)}`);
      print(`    uploads behind at the end       ${of((round) => round.uploadsBehind)}`);
    }
    const size = (page.bytes / 1e6).toFixed(1);
    print(`  page of ${PAGE_ENTRIES} (${size} MB), warm`);
    print(
      `    ms, against a bare server       ${page.pageMs.toFixed(1)} against ${page.bareMs.toFixed(1)}`,
    );
    print(`    of the bare server's speed      ${page.ofBare.toFixed(2)}`);
    if (memoryBytes !== undefined)
      print(`  resident memory, MB               ${(memoryBytes / 1e6).toFixed(0)}`);
  }
}

await main();
