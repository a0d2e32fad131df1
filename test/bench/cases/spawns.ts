import { STORES, type BenchCase } from '../bench-case.js';
import { runWriteRounds, writeFigures } from '../write-round.js';

/** New processes, each with an assignment of its own. */
export const SPAWN_CASES: readonly BenchCase[] = [
  {
    name: 'spawns: 32 clients',
    stores: STORES,
    comparedWith: 'crypto.sign of RSA-4096 on all cores, in the same minute',
    goals: {},
    isQuick: true,
    run: async (bench) => {
      const target = await bench.shared();
      const { shortMs: durationMs } = bench;
      const items = bench.items.spawns();
      return writeFigures(
        await runWriteRounds(bench, target, { items, clients: 32, against: 'all', durationMs }),
      );
    },
  },
];
