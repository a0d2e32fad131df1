import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bench, Target } from '../bench.js';
import { STORES, type BenchCase, type Figures } from '../bench-case.js';
import { USUAL_MESSAGES } from '../items.js';
import { startBareKoa, type ServerProgram } from '../programs.js';
import { outboxEmpty } from '../write-round.js';
import { usualRate } from './writes.js';

const OF_KOA = "of the bare route's requests a second";
const CONNECTIONS = 16;
const LOGS = 32;

/** What everybody asks for again and again: the newest entries of logs. */
interface TailPaths {
  readonly paths: readonly string[];
  /** What one of them answers. */
  readonly body: Buffer;
}

type Route = 'page' | 'latest';

async function tailPaths(bench: Bench, { url }: Target, route: Route): Promise<TailPaths> {
  const { ids } = await bench.items.processes();
  const paths: string[] = [];
  for (const id of ids.slice(1, LOGS + 1)) {
    if (route === 'latest') {
      paths.push(`/${id}/latest`);
      continue;
    }
    const { assignment } = (await (await fetch(`${url}/${id}/latest`)).json()) as {
      assignment: { tags: readonly { name: string; value: string }[] };
    };
    const nonce = Number(assignment.tags.find(({ name }) => name === 'Nonce')?.value);
    paths.push(`/${id}?from-nonce=${nonce - 1}&limit=1`);
  }
  const body = Buffer.from(await (await fetch(url + (paths[0] ?? ''))).arrayBuffer());
  return { paths, body };
}

/** Server and bare koa in turn, as often as there are rounds. */
async function measureTails(
  bench: Bench,
  target: Target,
  { route, bare }: { readonly route: Route; readonly bare: ServerProgram },
): Promise<Figures> {
  const { paths } = await tailPaths(bench, target, route);
  const { shortMs: durationMs } = bench;
  const run = (url: string, ms: number): ReturnType<typeof bench.programs.reads.run> =>
    bench.programs.reads.run({ url, paths, connections: CONNECTIONS, durationMs: ms });
  await run(target.url, durationMs / 3);
  await run(bare.url, durationMs / 3);
  const figures = {
    [OF_KOA]: [] as number[],
    'requests a second': [] as number[],
    'requests a second, bare': [] as number[],
    'answer p50, ms': [] as number[],
    'answer p99, ms': [] as number[],
  };
  for (let round = 0; round < bench.rounds; round += 1) {
    const own = await run(target.url, durationMs);
    const plain = await run(bare.url, durationMs);
    figures[OF_KOA].push(own.perSecond / plain.perSecond);
    figures['requests a second'].push(own.perSecond);
    figures['requests a second, bare'].push(plain.perSecond);
    figures['answer p50, ms'].push(own.p50Ms);
    figures['answer p99, ms'].push(own.p99Ms);
  }
  return figures;
}

/** Posts at half of the usual rate while `work` runs. */
async function whileWriting<Result>(
  bench: Bench,
  target: Target,
  work: () => Promise<Result>,
): Promise<Result> {
  const rate = (await usualRate(bench)) / 2;
  const pool = await bench.items.messages(USUAL_MESSAGES);
  const durationMs = (2 * bench.rounds + 1) * bench.shortMs;
  const slice = await pool.take(Math.ceil((rate * durationMs) / 1000) + 50);
  const writing = bench.programs.load.run({
    url: target.url,
    ...slice,
    clients: 32,
    rate,
    durationMs,
  });
  const result = await work();
  const { next, failures } = await writing;
  pool.used(next);
  if (Object.keys(failures).length > 0)
    throw new Error(`writes failed: ${JSON.stringify(failures)}`);
  await outboxEmpty(target.server, bench.programs.bundler);
  return result;
}

function tailCase(route: Route, isWriting: boolean): BenchCase {
  const what = route === 'page' ? 'page of the last entry' : '/latest';
  const when = isWriting ? 'while messages come at half of the maximum rate' : 'at rest';
  return {
    name: `tail: ${what} ${when}`,
    stores: STORES,
    comparedWith: `a bare koa route that sends the same bytes${isWriting ? ', beside the same writes' : ''}`,
    goals: { [OF_KOA]: { at: 'least', value: 0.5 } },
    isQuick: route === 'page',
    run: async (bench) => {
      const target = await bench.shared();
      const { body } = await tailPaths(bench, target, route);
      const file = join(bench.folder, `tail-${route}.json`);
      await writeFile(file, body);
      const bare = await startBareKoa(file, bench.options.node);
      const measure = (): Promise<Figures> => measureTails(bench, target, { route, bare });
      try {
        return isWriting ? await whileWriting(bench, target, measure) : await measure();
      } finally {
        bare.close();
      }
    },
  };
}

/** Reads of the newest entries, which every Compute Unit asks for again and again. */
export const TAIL_CASES: readonly BenchCase[] = [
  tailCase('page', false),
  tailCase('page', true),
  tailCase('latest', false),
  tailCase('latest', true),
];
