import { execFile, fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Order, Report } from './load-process.js';

const pathOf = (name: string): string => fileURLToPath(new URL(`./${name}`, import.meta.url));

/** A helper program of the bench, with its parent's loader. */
function start(name: string, args: readonly string[] = []): ChildProcess {
  return fork(pathOf(name), args, { execArgv: ['--import', 'tsx'] });
}

/** RSA-4096 signatures a second: on all cores, and one after the other. */
export interface SignRate {
  readonly all: number;
  readonly one: number;
}

/** Measures what the machine signs at this moment, with the Node that runs the server. */
export async function measureSigning(
  walletFile: string,
  options: { readonly node: string; readonly durationMs: number },
): Promise<SignRate> {
  const run = async (atOnce: number): Promise<number> => {
    const args = [
      pathOf('sign-yardstick.ts'),
      walletFile,
      String(atOnce),
      String(options.durationMs),
    ];
    const { stdout } = await promisify(execFile)(options.node, ['--import', 'tsx', ...args]);
    return Number(stdout);
  };
  return { all: await run(availableParallelism()), one: await run(1) };
}

export interface LoadProgram {
  run(order: Order): Promise<Report>;
  close(): void;
}

/** The load generator. */
export function startLoadProgram(): LoadProgram {
  const child = start('load-process.ts');
  return {
    async run(order) {
      child.send(order);
      const [report] = (await once(child, 'message')) as [Report];
      return report;
    },
    close: () => child.kill(),
  };
}

export interface ServerProgram {
  readonly url: string;
  close(): void;
}

async function startServer(name: string, args: readonly string[] = []): Promise<ServerProgram> {
  const child = start(name, args);
  const [port] = (await once(child, 'message')) as [number];
  return { url: `http://127.0.0.1:${port}`, close: () => child.kill() };
}

/** Gateway and bundler. */
export const startBundler = (): Promise<ServerProgram> => startServer('bundler-process.ts');

/** A bare server of a file's bytes. */
export const startPageServer = (file: string): Promise<ServerProgram> =>
  startServer('page-process.ts', [file]);

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
