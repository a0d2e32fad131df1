import type { Bench } from '../bench.js';
import { STORES, type BenchCase, type GoalSpec } from '../bench-case.js';
import { HOT_MESSAGES, USUAL_MESSAGES } from '../items.js';
import { median } from '../statistics.js';
import {
  CPU_SIGNATURES,
  OF_SIGNATURES,
  runWriteRounds,
  writeFigures,
  type WriteRound,
} from '../write-round.js';

/** CPU time of the server's own program for each message: the signature itself and a quarter. */
const CPU_GOAL: GoalSpec = { at: 'most', value: 1.25 };

const MANY_GOAL: GoalSpec = {
  at: 'least',
  value: 0.58,
  stores: { embedded: 0.68 },
  fast: { embedded: 0.5, postgres: 0.42, disk: 0.42 },
};

const USUAL_CLIENTS = 32;

function manyProcesses(clients: number): BenchCase {
  const isUsual = clients === USUAL_CLIENTS;
  return {
    name: `writes: 64 processes with ${clients} client${clients === 1 ? '' : 's'}`,
    stores: STORES,
    comparedWith: 'crypto.sign of RSA-4096 on all cores, in the same minute',
    goals: isUsual ? { [OF_SIGNATURES]: MANY_GOAL, [CPU_SIGNATURES]: CPU_GOAL } : {},
    isQuick: isUsual,
    run: async (bench) => {
      const rounds = await measureMany(bench, clients);
      if (isUsual) await usualRate(bench, rounds);
      return writeFigures(rounds);
    },
  };
}

async function measureMany(bench: Bench, clients: number): Promise<readonly WriteRound[]> {
  const items = await bench.items.messages(USUAL_MESSAGES);
  return runWriteRounds(bench, await bench.shared(), { items, clients, against: 'all' });
}

/**
 * Messages a second of many processes with 32 clients: the most that this server takes. Measured once in a run, by the
 * case or by the first that needs it.
 */
export function usualRate(bench: Bench, measured?: readonly WriteRound[]): Promise<number> {
  return bench.recall('usual rate', async () => {
    const rounds = measured ?? (await measureMany(bench, USUAL_CLIENTS));
    return median(rounds.map(({ messagesPerSecond }) => messagesPerSecond));
  });
}

function hotProcess(clients: number): BenchCase {
  return {
    name: `writes: one process with ${clients} client${clients === 1 ? '' : 's'}`,
    stores: STORES,
    comparedWith: 'crypto.sign of RSA-4096 one after the other, in the same minute',
    goals: clients === 16 ? { [OF_SIGNATURES]: { at: 'least', value: 0.9 } } : {},
    isQuick: clients === 16,
    run: async (bench) => {
      const target = await bench.shared();
      const items = await bench.items.messages(HOT_MESSAGES);
      return writeFigures(await runWriteRounds(bench, target, { items, clients, against: 'one' }));
    },
  };
}

/** How many messages a second a server takes. */
export const WRITE_CASES: readonly BenchCase[] = [
  manyProcesses(USUAL_CLIENTS),
  manyProcesses(1),
  manyProcesses(8),
  manyProcesses(128),
  hotProcess(16),
  hotProcess(1),
];
