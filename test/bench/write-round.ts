import { expect } from 'chai';
import type { SuProcess } from '../support/su-process.js';
import { waitFor } from '../support/su-process.js';
import type { Bench, Target } from './bench.js';
import type { Figures } from './bench-case.js';
import type { ItemPool } from './items.js';
import { cpuMsOf, type ServerProgram, type SignRate } from './programs.js';
import { quantile } from './statistics.js';

/** One round of load, beside what the machine signs just before and just after it. */
export interface WriteRound {
  readonly messagesPerSecond: number;
  readonly bytesPerSecond: number;
  /** Of the machine's own signatures a second. */
  readonly ofSignatures: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time of the server's own program for each message, in signatures; undefined where it cannot be read. */
  readonly cpuSignatures: number | undefined;
  /** Uploads that were still to come when the last message was acknowledged. */
  readonly uploadsBehind: number;
}

export interface WriteLoad {
  readonly items: ItemPool;
  readonly clients: number;
  /** Which rate the figure is compared with. */
  readonly against: keyof SignRate;
  /** Items a second in all, undefined: as fast as they are taken. */
  readonly rate?: number;
  /** Items at most; undefined: as many as the machine could sign meanwhile. */
  readonly count?: number;
  /** Bytes of an item, for `bytesPerSecond`. */
  readonly itemBytes?: number;
  /** Another duration than that of all rounds. */
  readonly durationMs?: number;
}

/** So much more than the machine has just signed is signed beforehand: its rate is not the same at all times. */
const SLACK = 1.2;

/** Posts for the duration of a round. */
export async function runWriteRound(
  bench: Bench,
  { server }: Target,
  load: WriteLoad,
): Promise<WriteRound> {
  const { bundler, yardstick } = bench.programs;
  const durationMs = load.durationMs ?? bench.durationMs;
  const rate = await yardstick.recent();
  const count =
    load.count ?? Math.ceil(((load.rate ?? rate[load.against] * SLACK) * durationMs) / 1000) + 50;
  const slice = await load.items.take(count);
  await outboxEmpty(server, bundler);
  const before = await yardstick.signing();
  const uploadsBefore = await uploadsOf(bundler);
  const cpuBefore = await cpuMsOf(server.pid);
  const report = await bench.programs.load.run({
    url: server.url,
    ...slice,
    clients: load.clients,
    durationMs,
    ...(load.rate === undefined ? {} : { rate: load.rate }),
  });
  load.items.used(report.next);
  const uploaded = (await uploadsOf(bundler)) - uploadsBefore;
  await outboxEmpty(server, bundler);
  const cpuAfter = await cpuMsOf(server.pid);
  const after = await yardstick.signing();
  expect(report.failures, 'every message is acknowledged').to.deep.equal({});
  if (load.count === undefined) {
    expect(report.next, 'presigned items suffice').to.be.lessThan(slice.to);
  }
  const signaturesPerSecond = (before[load.against] + after[load.against]) / 2;
  const signatureMs = (bench.cores * 2000) / (before.all + after.all);
  const messagesPerSecond = (report.acknowledged * 1000) / report.elapsedMs;
  return {
    messagesPerSecond,
    bytesPerSecond: messagesPerSecond * (load.itemBytes ?? Number.NaN),
    ofSignatures: messagesPerSecond / signaturesPerSecond,
    p50Ms: quantile(report.latenciesMs, 0.5),
    p99Ms: quantile(report.latenciesMs, 0.99),
    cpuSignatures:
      cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : (cpuAfter - cpuBefore) / report.acknowledged / signatureMs,
    uploadsBehind: 2 * report.acknowledged - uploaded,
  };
}

/** So many rounds, one after the other. */
export async function runWriteRounds(
  bench: Bench,
  target: Target,
  load: WriteLoad,
): Promise<readonly WriteRound[]> {
  const rounds: WriteRound[] = [];
  for (let i = 0; i < bench.rounds; i += 1) rounds.push(await runWriteRound(bench, target, load));
  return rounds;
}

/** The names of the figures of writes, which goals refer to. */
export const OF_SIGNATURES = "of the machine's signatures";
export const CPU_SIGNATURES = 'CPU of the server for each, signatures';

/** What all rounds of writes show. */
export function writeFigures(rounds: readonly WriteRound[]): Figures {
  const cpu = rounds.flatMap(({ cpuSignatures }) => cpuSignatures ?? []);
  return {
    'messages a second': rounds.map((round) => round.messagesPerSecond),
    [OF_SIGNATURES]: rounds.map((round) => round.ofSignatures),
    [CPU_SIGNATURES]: cpu,
    'receipt p50, ms': rounds.map((round) => round.p50Ms),
    'receipt p99, ms': rounds.map((round) => round.p99Ms),
    'uploads behind at the end': rounds.map((round) => round.uploadsBehind),
  };
}

/** How many uploads the bundler has taken. */
export async function uploadsOf(bundler: ServerProgram): Promise<number> {
  return Number(await (await fetch(`${bundler.url}/count`)).text());
}

/** Uploads that the server knows of and has not made. */
export async function pendingUploads(server: SuProcess): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(/^su_outbox_entries\{state="pending"\} (\d+)/m.exec(text)?.[1]);
}

/** Waits until nothing is left to upload: the server's own count is zero. */
export async function outboxEmpty(server: SuProcess, bundler: ServerProgram): Promise<void> {
  await waitFor(
    async () => ((await pendingUploads(server)) === 0 ? true : undefined),
    () => `the outbox did not drain; the bundler at ${bundler.url}`,
  );
}
