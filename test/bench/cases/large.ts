import { Agent } from 'node:http';
import { expect } from 'chai';
import type { Bench, Target } from '../bench.js';
import { STORES, type BenchCase } from '../bench-case.js';
import { fetchTimed } from '../fetch-timed.js';
import type { LargeLog } from '../large-log.js';
import { memoryOf } from '../programs.js';
import { outboxEmpty } from '../write-round.js';
import { usualRate } from './writes.js';

const START_UP = 'seconds to /health';
const MEMORY = 'MB, at most';
const STARTS = 5;
const READERS = 8;

const MB = 1e6;

/** Nothing where the system does not tell. */
async function memoryMb(target: Target): Promise<readonly number[]> {
  const bytes = await memoryOf(target.server.pid);
  return bytes === undefined ? [] : [bytes / MB];
}

/** `count` different elements in an order that is the same in every run. */
function scattered<Element>(elements: readonly Element[], count: number): readonly Element[] {
  // 7919 is prime and divides no size that is used here, so every step leads to an element that was not taken.
  const size = elements.length;
  return Array.from({ length: Math.min(count, size) }, (_, i) => elements[(i * 7919) % size]!);
}

const startUp: BenchCase = {
  name: 'large log: start-up',
  stores: STORES,
  comparedWith: 'nothing',
  goals: { [START_UP]: { at: 'most', value: 1.5 } },
  isQuick: true,
  run: async (bench) => {
    const log = await bench.large();
    const seconds: number[] = [];
    const afterKill: number[] = [];
    for (let start = 0; start < (bench.isQuick ? 1 : STARTS); start += 1) {
      for (const [ending, times] of [
        ['SIGTERM', seconds],
        ['SIGKILL', afterKill],
      ] as const) {
        const begun = performance.now();
        const { server } = await bench.start(log);
        times.push((performance.now() - begun) / 1000);
        // The next one of the other list starts on what this one leaves.
        await server.stop(ending === 'SIGTERM' ? 'SIGKILL' : 'SIGTERM');
      }
    }
    return { [START_UP]: seconds, 'seconds to /health after kill -9': afterKill };
  },
};

/** Pages of a hundred entries all over the long log, and the newest entry of processes. */
async function touch(target: Target, log: LargeLog, count: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: READERS });
  const half = Math.floor(count / 2);
  const step = Math.max(1, Math.floor(log.entries / half));
  const pages = Array.from(
    { length: half },
    (_, i) => `/${log.processId}?from-nonce=${(i * step) % log.entries}&limit=100`,
  );
  const heads = scattered(log.others, half).map((id) => `/${id}/latest`);
  const paths = pages.flatMap((path, i) => [path, heads[i] ?? path]);
  let next = 0;
  const reader = async (): Promise<void> => {
    while (next < paths.length) {
      const path = paths[next] ?? '';
      next += 1;
      await fetchTimed(target.url + path, agent);
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  agent.destroy();
}

const memory: BenchCase = {
  name: 'large log: memory',
  stores: STORES,
  comparedWith: 'nothing',
  goals: { [MEMORY]: { at: 'most', value: 300 } },
  isQuick: true,
  run: async (bench) => {
    const log = await bench.large();
    const target = await bench.start(log);
    try {
      const count = bench.isQuick ? 200 : 10_000;
      const afterStart = await memoryMb(target);
      await touch(target, log, count);
      const afterOnce = await memoryMb(target);
      await touch(target, log, count);
      const afterTwice = await memoryMb(target);
      const most = [...afterStart, ...afterOnce, ...afterTwice];
      return {
        [MEMORY]: most.length === 0 ? [] : [Math.max(...most)],
        'MB after the start': afterStart,
        'MB after reads all over': afterOnce,
        'MB after the same once more': afterTwice,
      };
    } finally {
      await target.close();
    }
  },
};

const OF_USUAL = 'of the rate on processes in memory';

/** A message each to processes that the server has never seen since its start. */
async function measureColdHeads(bench: Bench): Promise<number> {
  const log = await bench.large();
  const ids = scattered(log.others, bench.isQuick ? 200 : 3_000);
  const slice = await bench.items.messageEach(ids);
  const target = await bench.start(log);
  try {
    await bench.spawnProcesses(target);
    await bench.warmUp(target);
    await outboxEmpty(target.server, bench.programs.bundler);
    const report = await bench.programs.load.run({ url: target.url, ...slice, clients: 32 });
    expect(report.failures, 'every message is acknowledged').to.deep.equal({});
    return (report.acknowledged * 1000) / report.elapsedMs;
  } finally {
    await target.close();
  }
}

const coldHeads: BenchCase = {
  name: 'large log: one message each to processes at random',
  stores: STORES,
  comparedWith: 'the rate of 64 processes with 32 clients',
  goals: {},
  // More than the server remembers are there only in the full log.
  isQuick: false,
  run: async (bench) => {
    const usual = await usualRate(bench);
    const rate = await measureColdHeads(bench);
    return { 'messages a second': [rate], [OF_USUAL]: [rate / usual] };
  },
};

/** What a log of a million entries, and a hundred thousand processes, change. */
export const LARGE_CASES: readonly BenchCase[] = [startUp, memory, coldHeads];
