import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { CommitPlace } from './bare-commits.js';
import type { CommitAnswer, CommitQuestion } from './commit-process.js';
import type { Order, Report } from './load-process.js';
import type { PresignOrder, PresignReport } from './presign-process.js';
import type { ReadOrder, ReadReport } from './read-process.js';
import type { Question } from './yardstick-process.js';

const pathOf = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** A program of the bench beside the server's. */
function start(name: string, args: readonly string[], node: string): ChildProcess {
  return fork(pathOf(name), args, { execPath: node, execArgv: ['--import', 'tsx'] });
}

/** A program that is asked one thing at a time. */
export interface AskedProgram<Asked, Answer> {
  run(asked: Asked): Promise<Answer>;
  close(): void;
}

function startAsked<Asked extends object, Answer>(
  name: string,
  { node, args = [] }: { readonly node: string; readonly args?: readonly string[] },
): AskedProgram<Asked, Answer> {
  const child = start(name, args, node);
  const ended = once(child, 'exit').then(([code]: unknown[]) => {
    throw new Error(`${name} ended with ${String(code)}`);
  });
  // Nobody may be waiting when it is closed.
  ended.catch(() => undefined);
  return {
    async run(asked) {
      child.send(asked);
      const [answer] = (await Promise.race([once(child, 'message'), ended])) as [Answer];
      return answer;
    },
    close: () => child.kill(),
  };
}

export type LoadProgram = AskedProgram<Order, Report>;
export type ReadProgram = AskedProgram<ReadOrder, ReadReport>;

/** Posts presigned items. */
export const startLoadProgram = (): LoadProgram =>
  startAsked('load-process.ts', { node: process.execPath });

/** Asks for pages. */
export const startReadProgram = (): ReadProgram =>
  startAsked('read-process.ts', { node: process.execPath });

/** Signs items beforehand. */
export const startPresignProgram = (node: string): AskedProgram<PresignOrder, PresignReport> =>
  startAsked('presign-process.ts', { node });

/** Commits entries without us. */
export const startCommitProgram = (node: string): AskedProgram<CommitQuestion, CommitAnswer> =>
  startAsked('commit-process.ts', { node });

/** RSA-4096 signatures a second: on all cores, and one after the other. */
export interface SignRate {
  readonly all: number;
  readonly one: number;
}

/** What the machine does by itself, with the Node that runs the server; for when nothing else runs. */
export interface Yardstick {
  /** The last one measured, to estimate with. */
  recent(): Promise<SignRate>;
  /** Measured now, or just now: two rounds that follow each other share what lies between them. */
  signing(): Promise<SignRate>;
  verificationMs(): Promise<number>;
  close(): void;
}

/** A measurement is as good as new for so long. */
const FRESH_MS = 1_500;

/** Starts the program that signs for comparison. */
export function startYardstick(options: {
  readonly node: string;
  readonly walletFile: string;
  readonly durationMs: number;
}): Yardstick {
  const { node, walletFile, durationMs } = options;
  const program = startAsked<Question, number>('yardstick-process.ts', {
    node,
    args: [walletFile],
  });
  let last: { readonly rate: SignRate; readonly at: number } | undefined;
  return {
    async recent() {
      return last?.rate ?? this.signing();
    },
    async signing() {
      if (last !== undefined && performance.now() - last.at < FRESH_MS) return last.rate;
      const rate = {
        all: await program.run({ kind: 'sign', atOnce: availableParallelism(), durationMs }),
        one: await program.run({ kind: 'sign', atOnce: 1, durationMs }),
      };
      last = { rate, at: performance.now() };
      return rate;
    },
    verificationMs: () => program.run({ kind: 'verify', times: 500 }),
    close: () => program.close(),
  };
}

export interface ServerProgram {
  readonly url: string;
  close(): void;
}

async function startServer(
  name: string,
  args: readonly string[],
  node: string,
): Promise<ServerProgram> {
  const child = start(name, args, node);
  const [port] = (await once(child, 'message')) as [number];
  return { url: `http://127.0.0.1:${port}`, close: () => child.kill() };
}

/** Gateway and bundler. */
export const startBundler = (): Promise<ServerProgram> =>
  startServer('bundler-process.ts', [], process.execPath);

/** A bare node:http server of a file's bytes. */
export const startPageServer = (file: string, node: string): Promise<ServerProgram> =>
  startServer('page-process.ts', [file], node);

/** A bare server that verifies, signs and commits. */
export const startBareScheduler = (options: {
  readonly walletFile: string;
  readonly place: CommitPlace;
  readonly node: string;
}): Promise<ServerProgram> =>
  startServer(
    'bare-scheduler.ts',
    [options.walletFile, JSON.stringify(options.place)],
    options.node,
  );

/** A bare koa server of a file's bytes, which also takes posts. */
export async function startBareKoa(file: string, node: string): Promise<ServerProgram> {
  const child = spawn(node, ['--import', 'tsx', pathOf('bare-koa.ts'), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  return { url: `http://127.0.0.1:${port.toString().trim()}`, close: () => child.kill() };
}

/** CPU time that a program has used, ms (Linux; undefined elsewhere). */
export async function cpuMsOf(pid: number): Promise<number | undefined> {
  try {
    const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
    // utime and stime, in ticks of 10 ms.
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return undefined;
  }
}

/** Resident memory of a program, bytes (Linux; undefined elsewhere). */
export async function memoryOf(pid: number): Promise<number | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
  } catch {
    return undefined;
  }
}
