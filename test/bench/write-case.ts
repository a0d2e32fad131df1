import { expect } from 'chai';
import type { SuProcess } from '../support/su-process.js';
import { waitFor } from '../support/su-process.js';
import { cpuMsOf, type LoadProgram, type ServerProgram, type SignRate } from './programs.js';
import type { PresignedFile } from './presigned.js';
import { quantile } from './statistics.js';

/** One round of load, beside what the machine signs just before and just after it. */
export interface WriteRound {
  readonly messagesPerSecond: number;
  /** Of the machine's own signatures a second. */
  readonly ofSignatures: number;
  readonly signaturesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU time of the server's own program for each message, in signatures; undefined where it cannot be read. */
  readonly cpuSignatures: number | undefined;
  /** Uploads that were still to come when the last message was acknowledged. */
  readonly uploadsBehind: number;
}

export interface WriteCase {
  readonly server: SuProcess;
  readonly bundler: ServerProgram;
  readonly load: LoadProgram;
  readonly items: PresignedFile;
  readonly from: number;
  readonly clients: number;
  readonly durationMs: number;
  /** Which rate the figure is compared with. */
  readonly against: keyof SignRate;
  readonly cores: number;
  /** What the machine signs, measured with nothing else running. */
  readonly measureSigning: () => Promise<SignRate>;
}

/** Runs one round; answers also where in the items the next one begins. */
export async function runWriteRound(
  options: WriteCase,
): Promise<{ readonly round: WriteRound; readonly next: number }> {
  const { server, bundler, load, items } = options;
  await outboxEmpty(server, bundler);
  const before = await options.measureSigning();
  const uploadsBefore = await uploadsOf(bundler);
  const cpuBefore = await cpuMsOf(server.pid);
  const report = await load.run({
    url: server.url,
    file: items.file,
    from: options.from,
    to: items.count,
    clients: options.clients,
    durationMs: options.durationMs,
  });
  const uploaded = (await uploadsOf(bundler)) - uploadsBefore;
  await outboxEmpty(server, bundler);
  const cpuAfter = await cpuMsOf(server.pid);
  const after = await options.measureSigning();
  expect(report.failures, 'every message is acknowledged').to.deep.equal({});
  expect(report.next, 'presigned items suffice').to.be.lessThan(items.count);
  const signaturesPerSecond = (before[options.against] + after[options.against]) / 2;
  const signatureMs = (options.cores * 2000) / (before.all + after.all);
  const messagesPerSecond = (report.acknowledged * 1000) / report.elapsedMs;
  const round = {
    messagesPerSecond,
    ofSignatures: messagesPerSecond / signaturesPerSecond,
    signaturesPerSecond,
    p50Ms: quantile(report.latenciesMs, 0.5),
    p99Ms: quantile(report.latenciesMs, 0.99),
    cpuSignatures:
      cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : (cpuAfter - cpuBefore) / report.acknowledged / signatureMs,
    uploadsBehind: 2 * report.acknowledged - uploaded,
  };
  return { round, next: report.next };
}

/** How many uploads the bundler has taken. */
export async function uploadsOf(bundler: ServerProgram): Promise<number> {
  return Number(await (await fetch(`${bundler.url}/count`)).text());
}

/** Waits until nothing is left to upload: the server's own count is zero. */
export async function outboxEmpty(server: SuProcess, bundler: ServerProgram): Promise<void> {
  await waitFor(
    async () => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      const pending = /^su_outbox_entries\{state="pending"\} (\d+)/m.exec(text)?.[1];
      return pending === '0' ? true : undefined;
    },
    () => `the outbox did not drain; the bundler at ${bundler.url}`,
  );
}
