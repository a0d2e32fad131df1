import { expect } from 'chai';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { Id } from '../../../src/lib/protocol/ids.js';
import { testWalletPath } from '../../support/test-wallet.js';
import type { CommitPlace } from '../bare-commits.js';
import type { Bench, Target } from '../bench.js';
import { STORES, type BenchCase } from '../bench-case.js';
import { USUAL_MESSAGES } from '../items.js';
import { startBareScheduler, type ServerProgram } from '../programs.js';
import { median, quantile } from '../statistics.js';
import { runWriteRound, runWriteRounds } from '../write-round.js';
import { usualRate } from './writes.js';

const OF_PARTS = 'of the sum of its parts';
const BARE_OF_PARTS = 'bare server that does these steps, of the same sum';
const P99_OF_P50 = 'p99, times p50';
/** Receiving, parsing, answering. */
const REST_MS = 1;
const COMMITS = 200;
/** Bytes of what the embedded store writes for an entry besides bundle and JSON. */
const INDEX_VALUE_BYTES = [120, 20, 60, 60, 150];

/** Sizes of the last entry of a process as its store holds it. */
interface EntrySizes {
  readonly jsonBytes: number;
  readonly bundleBytes: number;
}

async function entrySizes(target: Target, processId: Id): Promise<EntrySizes> {
  const response = await fetch(`${target.url}/${processId}/latest`);
  const text = await response.text();
  const { message, assignment } = JSON.parse(text) as Record<
    'message' | 'assignment',
    { data?: string; tags: readonly { name: string; value: string }[] }
  >;
  const tagBytes = (tags: typeof message.tags): number =>
    tags.reduce((sum, { name, value }) => sum + name.length + value.length + 4, 0);
  // Three items with signature and owner: wrapper, assignment, message.
  const bundleBytes =
    3 * 1100 +
    60 +
    tagBytes(message.tags) +
    tagBytes(assignment.tags) +
    (message.data ?? '').length;
  return { jsonBytes: text.length, bundleBytes };
}

/** Where such entries are committed without us, in a store like the server's. */
async function placeOf(bench: Bench, target: Target): Promise<CommitPlace> {
  const { ids } = await bench.items.processes();
  const sizes = await entrySizes(target, ids[1] ?? ids[0]!);
  const { databaseUrl: url } = target;
  if (url !== undefined) return { kind: 'postgres', url, ...sizes };
  return {
    kind: 'rocksdb',
    folder: await mkdtemp(join(bench.folder, 'commits-')),
    valueBytes: [sizes.bundleBytes, sizes.jsonBytes, ...INDEX_VALUE_BYTES],
  };
}

/** p50 of a server that does the same three steps and nothing else, ms. */
async function bareP50(bench: Bench, bare: ServerProgram): Promise<number> {
  const pool = await bench.items.messages(USUAL_MESSAGES);
  const { one } = await bench.programs.yardstick.recent();
  const slice = await pool.take(Math.ceil((one * bench.durationMs) / 1000));
  const { failures, latenciesMs } = await bench.programs.load.run({
    url: bare.url,
    ...slice,
    clients: 1,
    durationMs: bench.durationMs,
  });
  expect(failures, 'every post is answered').to.deep.equal({});
  // Our server has not had them.
  pool.used(slice.from);
  return quantile(latenciesMs, 0.5);
}

const oneClient: BenchCase = {
  name: 'latency: one client',
  stores: STORES,
  comparedWith: 'one signature + one verification + one synced commit of such a row + 1 ms',
  goals: { [OF_PARTS]: { at: 'most', value: 1 } },
  isQuick: true,
  run: async (bench) => {
    const target = await bench.shared();
    const items = await bench.items.messages(USUAL_MESSAGES);
    const place = await placeOf(bench, target);
    const bare = await startBareScheduler({
      walletFile: testWalletPath('scheduler'),
      place: await placeOf(bench, target),
      node: bench.options.node,
    });
    const figures = {
      [OF_PARTS]: [] as number[],
      [BARE_OF_PARTS]: [] as number[],
      'receipt p50, ms': [] as number[],
      'p50 of the bare server, ms': [] as number[],
      'signature, ms': [] as number[],
      'verification, ms': [] as number[],
      'commit, ms': [] as number[],
    };
    try {
      for (let round = 0; round < bench.rounds; round += 1) {
        const { p50Ms } = await runWriteRound(bench, target, { items, clients: 1, against: 'one' });
        const bareMs = await bareP50(bench, bare);
        const signMs = 1000 / (await bench.programs.yardstick.signing()).one;
        const verifyMs = await bench.programs.yardstick.verificationMs();
        const commits = await bench.programs.commits.run({
          place,
          times: COMMITS,
          connections: 1,
        });
        const commitMs = median(commits.eachMs);
        const sumMs = signMs + verifyMs + commitMs + REST_MS;
        figures[OF_PARTS].push(p50Ms / sumMs);
        figures[BARE_OF_PARTS].push(bareMs / sumMs);
        figures['receipt p50, ms'].push(p50Ms);
        figures['p50 of the bare server, ms'].push(bareMs);
        figures['signature, ms'].push(signMs);
        figures['verification, ms'].push(verifyMs);
        figures['commit, ms'].push(commitMs);
      }
    } finally {
      bare.close();
    }
    return figures;
  },
};

const halfLoad: BenchCase = {
  name: 'latency: half of the maximum load',
  stores: STORES,
  comparedWith: 'its own p50',
  goals: { [P99_OF_P50]: { at: 'most', value: 3 } },
  isQuick: true,
  run: async (bench) => {
    const target = await bench.shared();
    const rate = (await usualRate(bench)) / 2;
    const items = await bench.items.messages(USUAL_MESSAGES);
    const rounds = await runWriteRounds(bench, target, {
      items,
      clients: 32,
      against: 'all',
      rate,
    });
    return {
      [P99_OF_P50]: rounds.map(({ p50Ms, p99Ms }) => p99Ms / p50Ms),
      'messages a second': rounds.map(({ messagesPerSecond }) => messagesPerSecond),
      'receipt p50, ms': rounds.map(({ p50Ms }) => p50Ms),
      'receipt p99, ms': rounds.map(({ p99Ms }) => p99Ms),
    };
  },
};

/** What PostgreSQL does by itself with rows of these sizes, one commit each. */
const bareInserts: BenchCase = {
  name: 'yardstick: single rows into PostgreSQL by a bare client',
  stores: ['postgres'],
  comparedWith: 'nothing: for comparison',
  goals: {},
  isQuick: true,
  run: async (bench) => {
    const target = await bench.shared();
    const place = await placeOf(bench, target);
    const figures: Record<string, number[]> = {};
    for (let round = 0; round < bench.rounds; round += 1) {
      for (const connections of [1, 8]) {
        const times = COMMITS * connections;
        const { elapsedMs } = await bench.programs.commits.run({ place, times, connections });
        const name = `rows a second, ${connections} connection${connections === 1 ? '' : 's'}`;
        (figures[name] ??= []).push((times * 1000) / elapsedMs);
      }
    }
    return figures;
  },
};

/** How long a client waits for its receipt. */
export const LATENCY_CASES: readonly BenchCase[] = [oneClient, halfLoad, bareInserts];
