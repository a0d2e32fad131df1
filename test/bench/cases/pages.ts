import { writeFile } from 'node:fs/promises';
import { Agent } from 'node:http';
import { join } from 'node:path';
import type { Bench, Target } from '../bench.js';
import { STORES, type BenchCase, type GoalSpec } from '../bench-case.js';
import { fetchTimed } from '../fetch-timed.js';
import type { LargeLog } from '../large-log.js';
import { startPageServer, type ServerProgram } from '../programs.js';
import { median } from '../statistics.js';

type Warmth = 'warm' | 'cold';

const OF_BARE = "of the bare server's bytes a second";
const OF_BEGINNING = 'time at the end, times the time at the beginning';

/** Pages of one place in a round, by their size: a large page is one of few that fit between two places. */
const PAGES: Readonly<Record<number, number>> = { 1: 60, 100: 30, 1000: 9 };
const QUICK_PAGES: Readonly<Record<number, number>> = { 1: 20, 100: 10, 1000: 2 };
/** Pages asked for before anything is measured, so that the server's code is compiled. */
const WARM_UP_PAGES: Readonly<Record<number, number>> = { 1: 200, 100: 60, 1000: 20 };
const QUICK_WARM_UP_PAGES: Readonly<Record<number, number>> = { 1: 40, 100: 20, 1000: 2 };

/** How often each page is asked for and measured. */
const TIMES: Readonly<Record<Warmth, number>> = { cold: 1, warm: 6 };

type Place = 'beginning' | '10^4' | 'end';

interface Samples {
  /** A page's milliseconds for each of the bytes, by place. */
  readonly ms: Record<Place, number[]>;
  readonly bareMs: number[];
  readonly ofBare: number[];
}

/** Where in the log the pages of a place begin; none of them is asked for while warming up. */
function placesOf(log: LargeLog): Readonly<Record<Place, number>> {
  const isLong = log.entries >= 40_000;
  return {
    beginning: 0,
    '10^4': isLong ? 10_000 : Math.floor(log.entries / 4),
    end: log.entries - (isLong ? 10_000 : Math.floor(log.entries / 5)),
  };
}

interface PageParts {
  readonly bench: Bench;
  readonly log: LargeLog;
  readonly limit: number;
  readonly agent: Agent;
}

/** Asks for each page of the round, and each time for the same bytes from a bare server. */
async function measureRound(
  { bench, log, limit, agent }: PageParts,
  { target, bare, warmth }: { target: Target; bare: ServerProgram; warmth: Warmth },
): Promise<Samples> {
  const samples: Samples = { ms: { beginning: [], '10^4': [], end: [] }, bareMs: [], ofBare: [] };
  const count = (bench.isQuick ? QUICK_PAGES : PAGES)[limit] ?? 1;
  const places = Object.entries(placesOf(log)) as [Place, number][];
  for (let page = 0; page < count; page += 1) {
    // Not always in the same order: collections of garbage would fall on the same place each time.
    for (let turn = 0; turn < places.length; turn += 1) {
      const [place, from] = places[(page + turn) % places.length]!;
      const url = pageUrl(target, log, { from: from + page * limit, limit });
      if (warmth === 'warm') await fetchTimed(url, agent);
      for (let time = 0; time < TIMES[warmth]; time += 1) {
        const answer = await fetchTimed(url, agent);
        const plain = await fetchTimed(bare.url, agent);
        samples.ms[place].push(answer.ms);
        samples.bareMs.push(plain.ms);
        samples.ofBare.push(answer.bytes.length / answer.ms / (plain.bytes.length / plain.ms));
      }
    }
  }
  return samples;
}

function pageUrl(
  { url }: Target,
  { processId }: LargeLog,
  { from, limit }: { from: number; limit: number },
): string {
  return `${url}/${processId}?from-nonce=${from}&limit=${limit}`;
}

async function warmUp({ bench, log, limit, agent }: PageParts, target: Target): Promise<void> {
  const count = (bench.isQuick ? QUICK_WARM_UP_PAGES : WARM_UP_PAGES)[limit] ?? 1;
  const middle = Math.floor(log.entries / 2);
  for (let page = 0; page < count; page += 1) {
    await fetchTimed(pageUrl(target, log, { from: middle + page * limit, limit }), agent);
  }
}

async function startBare(parts: PageParts, target: Target): Promise<ServerProgram> {
  const { bench, log, limit, agent } = parts;
  const url = pageUrl(target, log, { from: Math.floor(log.entries / 2), limit });
  const file = join(bench.folder, `page-${limit}.json`);
  await writeFile(file, (await fetchTimed(url, agent)).bytes);
  const bare = await startPageServer(file, bench.options.node);
  for (let i = 0; i < 20; i += 1) await fetchTimed(bare.url, agent);
  return bare;
}

/** Cold pages: a server that was just started has none of the pages in its own memory. */
async function measurePages(bench: Bench, limit: number, warmth: Warmth): Promise<Samples[]> {
  const log = await bench.large();
  const agent = new Agent({ keepAlive: true });
  const parts = { bench, log, limit, agent };
  const rounds: Samples[] = [];
  let bare: ServerProgram | undefined;
  let target: Target | undefined;
  try {
    for (let round = 0; round < bench.rounds; round += 1) {
      if (target === undefined || warmth === 'cold') {
        await target?.close();
        target = await bench.start(log);
        await warmUp(parts, target);
      }
      bare ??= await startBare(parts, target);
      rounds.push(await measureRound(parts, { target, bare, warmth }));
    }
    return rounds;
  } finally {
    agent.destroy();
    bare?.close();
    await target?.close();
  }
}

const BARE_GOALS: Readonly<Record<Warmth, GoalSpec>> = {
  warm: { at: 'least', value: 0.5 },
  cold: { at: 'least', value: 0.35, stores: { postgres: 0.15 } },
};

function pageCase(limit: number, warmth: Warmth): BenchCase {
  return {
    name: `pages: ${limit} ${limit === 1 ? 'entry' : 'entries'} ${warmth}`,
    stores: STORES,
    comparedWith: 'a bare node:http server that sends the same bytes',
    goals: {
      ...(limit === 1000 ? { [OF_BARE]: BARE_GOALS[warmth] } : {}),
      [OF_BEGINNING]: { at: 'most', value: 1.25 },
    },
    isQuick: limit === 1000,
    run: async (bench) => {
      const rounds = await measurePages(bench, limit, warmth);
      return {
        [OF_BARE]: rounds.map(({ ofBare }) => median(ofBare)),
        [OF_BEGINNING]: rounds.map(({ ms }) => median(ms.end) / median(ms.beginning)),
        'time at the beginning, ms': rounds.map(({ ms }) => median(ms.beginning)),
        'time at nonce 10^4, ms': rounds.map(({ ms }) => median(ms['10^4'])),
        'time at the end, ms': rounds.map(({ ms }) => median(ms.end)),
        'time of the bare server, ms': rounds.map(({ bareMs }) => median(bareMs)),
      };
    },
  };
}

/** Pages of a long log, one request after the other. Of a short log (`--entries`) the places are nearer. */
export const PAGE_CASES: readonly BenchCase[] = (['cold', 'warm'] as const).flatMap((warmth) =>
  [1000, 100, 1].map((limit) => pageCase(limit, warmth)),
);
