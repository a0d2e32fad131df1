import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** A `su serve` that runs as its users run it: a program of its own, from the built package. */
export interface SuProcess {
  readonly url: string;
  readonly pid: number;
  /** Everything it wrote so far, both streams. */
  output(): string;
  /** Sends a signal and resolves with the exit code, or the signal's name. */
  stop(signal: NodeJS.Signals): Promise<number | string>;
  readonly exited: Promise<number | string>;
}

export interface SuProcessOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly args?: readonly string[];
  /** Default: su. */
  readonly mode?: 'su' | 'router';
  /** Default: this Node. */
  readonly node?: string;
  /** What stands between the program and its script. */
  readonly nodeFlags?: readonly string[];
  /** Resolve as soon as it listens, not only when `/health` is 200. */
  readonly unhealthy?: boolean;
}

const ENTRY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));
const START_TIMEOUT_MS = 60_000;

/** Starts `su serve su` on a free port of loopback and resolves once it is healthy. */
export async function startSu(options: SuProcessOptions): Promise<SuProcess> {
  const { cwd, args = [], nodeFlags = [] } = options;
  const child = spawn(
    options.node ?? process.execPath,
    [...nodeFlags, ENTRY, 'serve', options.mode ?? 'su', '0', '--host', '127.0.0.1', ...args],
    {
      cwd,
      env: {
        // Without coverage: it costs each of them most of a second, and the tests of the commands have it.
        PATH: process.env['PATH'],
        ...options.env,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = exitOf(child);
  const url = await listening(() => output, exited);
  if (options.unhealthy !== true) await healthy(url, exited, () => output);
  return {
    url,
    pid: child.pid ?? 0,
    output: () => output,
    exited,
    stop(signal) {
      child.kill(signal);
      return exited;
    },
  };
}

async function exitOf(child: ChildProcess): Promise<number | string> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  return code ?? signal ?? 'unknown';
}

async function listening(output: () => string, exited: Promise<number | string>): Promise<string> {
  const gone = exited.then((code) => {
    throw new Error(`su ended with ${code} before it listened:\n${output()}`);
  });
  gone.catch(() => undefined);
  const found = waitFor(
    () => /https?:\/\/127\.0\.0\.1:\d+(?=\/?\s|"|$)/m.exec(servingLine(output()))?.[0],
    () => `su did not say where it listens:\n${output()}`,
  );
  return Promise.race([found, gone]);
}

/** The line in which the server says where it serves. */
function servingLine(output: string): string {
  return (
    output.split('\n').find((line) => /serv|listen/i.test(line) && line.includes('http')) ?? ''
  );
}

async function healthy(
  url: string,
  exited: Promise<number | string>,
  output: () => string,
): Promise<void> {
  let ended = false;
  exited.then(
    () => (ended = true),
    () => undefined,
  );
  await waitFor(
    async () => {
      if (ended) throw new Error(`su ended before it was healthy:\n${output()}`);
      const response = await fetch(`${url}/health`).catch(() => undefined);
      await response?.arrayBuffer();
      return response?.status === 200 ? true : undefined;
    },
    () => `su did not become healthy:\n${output()}`,
  );
}

/** Asks again and again until there is an answer. */
export async function waitFor<Answer>(
  ask: () => Answer | undefined | Promise<Answer | undefined>,
  failure: () => string,
  timeoutMs = START_TIMEOUT_MS,
): Promise<Answer> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(failure());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
