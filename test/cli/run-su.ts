import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface SuRun {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface SuRunOptions {
  /** Nothing of this process's environment reaches the command but these and PATH. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const ENTRY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));

/** Runs the built program as a user does, with stdin closed, and waits for its end. */
export async function runSu(args: readonly string[], options: SuRunOptions = {}): Promise<SuRun> {
  const child = spawnSu(args, options);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return { status, signal, stdout, stderr };
}

/** Starts the built program; the caller waits for its end. */
export function spawnSu(args: readonly string[], options: SuRunOptions = {}) {
  return spawn(process.execPath, [ENTRY, ...args], {
    ...spawnOptions(options),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** The same with output on descriptors of the caller's. */
export function spawnSuOnto(
  args: readonly string[],
  output: { readonly stdout?: number; readonly stderr?: number },
  options: SuRunOptions = {},
): ChildProcess {
  const { stdout = 'pipe', stderr = 'pipe' } = output;
  return spawn(process.execPath, [ENTRY, ...args], {
    ...spawnOptions(options),
    stdio: ['ignore', stdout, stderr],
  });
}

function spawnOptions({ env = {}, cwd }: SuRunOptions) {
  const coverage = process.env['NODE_V8_COVERAGE'];
  return {
    cwd: cwd ?? fileURLToPath(new URL('../support/', import.meta.url)),
    env: {
      PATH: process.env['PATH'],
      ...(coverage === undefined ? {} : { NODE_V8_COVERAGE: coverage }),
      ...env,
    },
  };
}
