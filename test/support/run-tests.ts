import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import pLimit from 'p-limit';

/*
 * Runs all tests: one mocha for each folder of them, several at once, since tests wait for a server, a database or a disk half of
 * the time. Each has a PostgreSQL of its own if it needs one, and looks for what its tests leave open.
 *
 * Promises: every test file runs in exactly one of them; what a folder says appears whole, when it has ended; the sum of
 * all stands at the end, in mocha's words; the exit code is 0 only when every mocha's was, and tests ran.
 * Arguments go to mocha.
 */

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TESTS = join(ROOT, 'test');
const MOCHA = join(ROOT, 'node_modules/mocha/bin/mocha.js');

/** Two wait while one works, often enough. */
const AT_ONCE = availableParallelism() + 1;

/** Those that take longest begin first, so that no core waits for the last one. */
const LONGEST_FIRST = [
  'durability',
  'cli',
  'takeover',
  'router',
  'storage/rocksdb',
  'storage/postgres',
  'disk',
  'golden',
  'migrator',
  'http',
];

/**
 * Servers under load, run as programs: what they run of the code the other tests run too, and counting it takes a sixth of
 * their time.
 */
const WITHOUT_COVERAGE: ReadonlySet<string> = new Set(['durability', 'takeover']);

interface Outcome {
  readonly passed: number;
  /** A run that broke, or left something open, counts as one. */
  readonly failed: number;
  readonly pending: number;
}

/** Folders below `test/` that have tests, and their files. */
function testFolders(): readonly (readonly [folder: string, files: readonly string[]])[] {
  const folders = new Map<string, string[]>();
  for (const path of readdirSync(TESTS, { recursive: true, encoding: 'utf8' }).toSorted()) {
    if (!path.endsWith('.test.ts')) continue;
    const folder = dirname(path);
    folders.set(folder, [...(folders.get(folder) ?? []), join(TESTS, path)]);
  }
  const rank = (folder: string): number => {
    const place = LONGEST_FIRST.indexOf(folder);
    return place === -1 ? LONGEST_FIRST.length : place;
  };
  return [...folders].toSorted(([a], [b]) => rank(a) - rank(b));
}

async function runMocha(
  files: readonly string[],
  options: { readonly isCovered: boolean },
): Promise<{ output: string; code: number }> {
  const colors = process.stdout.isTTY ? ['--color'] : [];
  const args = [MOCHA, ...colors, ...process.argv.slice(2), ...files];
  const { NODE_V8_COVERAGE: coverage, ...env } = process.env;
  const child = spawn(process.execPath, args, {
    cwd: ROOT,
    env: options.isCovered && coverage !== undefined ? { ...env, NODE_V8_COVERAGE: coverage } : env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolve(status ?? 1));
  });
  return { output, code };
}

/** What a mocha says at its end. */
function outcomeOf(output: string, code: number): Outcome {
  const count = (word: string): number =>
    // Colors stand around the number.
    Number(new RegExp(`^[^\\w\\n]*(?:\\[\\d+m|\\s)*(\\d+) ${word}\\b`, 'm').exec(output)?.[1] ?? 0);
  const passed = count('passing');
  const failed = count('failing');
  const broke = failed === 0 && code !== 0;
  return { passed, failed: broke ? 1 : failed, pending: count('pending') };
}

const begun = performance.now();
const folders = testFolders();
const limit = pLimit(AT_ONCE);
let ended = 0;
const outcomes = await Promise.all(
  folders.map(([folder, files]) =>
    limit(async () => {
      const { output, code } = await runMocha(files, { isCovered: !WITHOUT_COVERAGE.has(folder) });
      ended += 1;
      const name = relative(ROOT, join(TESTS, folder));
      process.stdout.write(`\n== ${name} (${ended} of ${folders.length})\n${output}`);
      return { name, ...outcomeOf(output, code) };
    }),
  ),
);

const sum = (what: keyof Outcome): number =>
  outcomes.reduce((total, outcome) => total + outcome[what], 0);
const minutes = ((performance.now() - begun) / 60_000).toFixed(1);
process.stdout.write(`\n== all\n\n  ${sum('passed')} passing (${minutes}m)\n`);
if (sum('pending') > 0) process.stdout.write(`  ${sum('pending')} pending\n`);
if (sum('passed') === 0) process.exitCode = 1;
if (sum('failed') > 0) {
  const names = outcomes.filter(({ failed }) => failed > 0).map(({ name }) => name);
  process.stdout.write(`  ${sum('failed')} failing (${names.join(', ')})\n`);
  process.exitCode = 1;
}
