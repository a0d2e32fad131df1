import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import type { Id } from '../../../src/lib/protocol/ids.js';
import type { Bench, Target } from '../bench.js';
import { STORES, type BenchCase } from '../bench-case.js';
import type { CommitAnswer } from '../commit-process.js';
import { USUAL_MESSAGES } from '../items.js';
import { median } from '../statistics.js';
import { runWriteRound, runWriteRounds } from '../write-round.js';
import { usualRate } from './writes.js';

const OF_PARTS = 'of the sum of its parts';
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

/** One entry committed by itself, without us, in the store that the server uses. */
async function commitOne(bench: Bench, target: Target, sizes: EntrySizes): Promise<CommitAnswer> {
  if (target.databaseUrl !== undefined) {
    const { databaseUrl: url } = target;
    return bench.programs.commits.run({
      kind: 'postgres',
      url,
      times: COMMITS,
      connections: 1,
      ...sizes,
    });
  }
  return bench.programs.commits.run({
    kind: 'rocksdb',
    folder: await mkdtemp(join(bench.folder, 'commits-')),
    times: COMMITS,
    valueBytes: [sizes.bundleBytes, sizes.jsonBytes, ...INDEX_VALUE_BYTES],
  });
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
    const { ids } = await bench.items.processes();
    const sizes = await entrySizes(target, ids[1] ?? ids[0]!);
    const figures = {
      [OF_PARTS]: [] as number[],
      'receipt p50, ms': [] as number[],
      'signature, ms': [] as number[],
      'verification, ms': [] as number[],
      'commit, ms': [] as number[],
    };
    for (let round = 0; round < bench.rounds; round += 1) {
      const { p50Ms } = await runWriteRound(bench, target, { items, clients: 1, against: 'one' });
      const signMs = 1000 / (await bench.programs.yardstick.signing()).one;
      const verifyMs = await bench.programs.yardstick.verificationMs();
      const commitMs = median((await commitOne(bench, target, sizes)).eachMs);
      figures['receipt p50, ms'].push(p50Ms);
      figures['signature, ms'].push(signMs);
      figures['verification, ms'].push(verifyMs);
      figures['commit, ms'].push(commitMs);
      figures[OF_PARTS].push(p50Ms / (signMs + verifyMs + commitMs + REST_MS));
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
    const { databaseUrl: url = '' } = target;
    const { ids } = await bench.items.processes();
    const sizes = await entrySizes(target, ids[1] ?? ids[0]!);
    const figures: Record<string, number[]> = {};
    for (let round = 0; round < bench.rounds; round += 1) {
      for (const connections of [1, 8]) {
        const times = COMMITS * connections;
        const { elapsedMs } = await bench.programs.commits.run({
          kind: 'postgres',
          url,
          times,
          connections,
          ...sizes,
        });
        const name = `rows a second, ${connections} connection${connections === 1 ? '' : 's'}`;
        (figures[name] ??= []).push((times * 1000) / elapsedMs);
      }
    }
    return figures;
  },
};

/** How long a client waits for its receipt. */
export const LATENCY_CASES: readonly BenchCase[] = [oneClient, halfLoad, bareInserts];
