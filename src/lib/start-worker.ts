import { existsSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';

/**
 * Starts a worker thread on a file of ours, named as it is when built: `new URL('./x-worker.js', import.meta.url)`.
 *
 * Run from the sources, the file is TypeScript, which a worker does not load by itself. Then it is started as the last build
 * left it, unless a source is newer.
 *
 * @param workerData what the worker finds under that name in `node:worker_threads`
 */
export function startWorker(file: URL, workerData?: unknown): Worker {
  // Not this process's flags: a worker refuses some of them, and needs none.
  const options = { workerData, execArgv: [] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(file, options);
  isBuilt ??= isBuildNewest();
  if (isBuilt) return new Worker(new URL(file.href.replace(SOURCES.href, BUILT.href)), options);
  return startFromSource(file, options);
}

/** Where this file is below `src/`, and what is made of it below `dist/`. */
const SOURCES = new URL('../', import.meta.url);
const BUILT = new URL('../../dist/', import.meta.url);

/** Looked at once: those who run from the sources start anew when one changes. */
let isBuilt: boolean | undefined;

/** True when no source was written after the last build. */
function isBuildNewest(): boolean {
  const built = fileURLToPath(new URL('lib/start-worker.js', BUILT));
  if (!existsSync(built)) return false;
  const builtAt = statSync(built).mtimeMs;
  return readdirSync(SOURCES, { recursive: true, withFileTypes: true }).every(
    (entry) => !entry.isFile() || statSync(`${entry.parentPath}/${entry.name}`).mtimeMs <= builtAt,
  );
}

/**
 * On Node 20 the hooks of tsx, even given by `--import`, reach the main thread only, so a line of script registers them in the
 * worker first, which takes half a second.
 */
function startFromSource(file: URL, options: object): Worker {
  const source = JSON.stringify(file.href.replace(/\.js$/, '.ts'));
  const script = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${source});
  });`;
  return new Worker(script, { ...options, eval: true });
}
