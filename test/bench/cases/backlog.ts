import { expect } from 'chai';
import { openRocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { migrate } from '../../../src/lib/storage/postgres/migrations.js';
import { OUTBOX_LEASE_MS } from '../../../src/lib/uploader/outbox-limits.js';
import { generateIntoDatabase, generateIntoStore } from '../../support/generate-log.js';
import { silentLog } from '../../support/postgres.js';
import type { Bench, StorePlace, Target } from '../bench.js';
import { STORES, type BenchCase } from '../bench-case.js';
import { USUAL_MESSAGES } from '../items.js';
import { pendingUploads, uploadsOf } from '../write-round.js';
import { usualRate } from './writes.js';

const OF_USUAL = 'of the rate without a backlog';

/** A store in which so many entries wait for the bundler. */
async function placeWithBacklog(bench: Bench): Promise<StorePlace> {
  const place = await bench.emptyPlace();
  const rows = bench.options.backlog;
  const plan = { entries: rows, processes: 0, pendingUploads: rows };
  bench.note(`writing an outbox of ${rows} rows`);
  if (place.databaseUrl !== undefined) {
    await migrate({ url: place.databaseUrl, log: silentLog });
    await generateIntoDatabase(place.databaseUrl, plan);
    return place;
  }
  const store = await openRocksdbStore({
    folder: place.env['SU_DATA_DIR'] ?? '',
    leaseMs: OUTBOX_LEASE_MS,
    clock: Date.now,
    monotonicMs: () => performance.now(),
    log: silentLog,
  });
  try {
    await generateIntoStore(store.store, plan);
  } finally {
    await store.close();
  }
  return place;
}

/** Messages a second of 32 clients for the short duration of a round. */
async function writeRate(bench: Bench, target: Target): Promise<number> {
  const pool = await bench.items.messages(USUAL_MESSAGES);
  const usual = await usualRate(bench);
  const slice = await pool.take(Math.ceil((usual * 1.3 * bench.shortMs) / 1000));
  const report = await bench.programs.load.run({
    url: target.url,
    ...slice,
    clients: 32,
    durationMs: bench.shortMs,
  });
  pool.used(report.next);
  expect(report.failures, 'every message is acknowledged').to.deep.equal({});
  return (report.acknowledged * 1000) / report.elapsedMs;
}

const tellBundler = async (bench: Bench, word: 'away' | 'back'): Promise<void> => {
  await fetch(`${bench.programs.bundler.url}/${word}`);
};

const full: BenchCase = {
  name: 'outbox: writing while many uploads wait',
  stores: STORES,
  comparedWith: 'the rate of 64 processes with 32 clients',
  goals: {},
  isQuick: true,
  run: async (bench) => {
    const usual = await usualRate(bench);
    await bench.closeShared();
    const place = await placeWithBacklog(bench);
    await tellBundler(bench, 'away');
    const target = await bench.start(place);
    try {
      await bench.spawnProcesses(target);
      if (!bench.isQuick) await bench.warmUp(target);
      const away: number[] = [];
      for (let i = 0; i < bench.rounds; i += 1) away.push(await writeRate(bench, target));
      const waiting = await pendingUploads(target.server);
      await tellBundler(bench, 'back');
      const draining: number[] = [];
      const uploads: number[] = [];
      for (let i = 0; i < bench.rounds; i += 1) {
        const before = await uploadsOf(bench.programs.bundler);
        const begun = performance.now();
        draining.push(await writeRate(bench, target));
        const made = (await uploadsOf(bench.programs.bundler)) - before;
        uploads.push((made * 1000) / (performance.now() - begun));
      }
      return {
        [`${OF_USUAL}, bundler away`]: away.map((rate) => rate / usual),
        [`${OF_USUAL}, bundler back`]: draining.map((rate) => rate / usual),
        'messages a second, bundler away': away,
        'messages a second, bundler back': draining,
        'uploads a second meanwhile': uploads,
        'rows waiting when it came back': [waiting],
      };
    } finally {
      await tellBundler(bench, 'back');
      // Not drained: what is left is thrown away with the store.
      await target.server.stop('SIGKILL');
    }
  },
};

/** What a long queue of uploads costs those who write. */
export const BACKLOG_CASES: readonly BenchCase[] = [full];
