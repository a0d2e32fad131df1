import { Worker } from 'node:worker_threads';

/**
 * Starts a worker thread on a file of ours, named as it is when built: `new URL('./x-worker.js', import.meta.url)`.
 *
 * Run from the sources, the file is TypeScript, which a worker does not load by itself: on Node 20 the hooks of tsx, even
 * given by `--import`, reach the main thread only, so a line of script registers them in the worker first. It takes the
 * hooks for ES modules, so that a file both threads load is the same code in both, and coverage may add them up.
 *
 * @param workerData what the worker finds under that name in `node:worker_threads`
 */
export function startWorker(file: URL, workerData?: unknown): Worker {
  // Not this process's flags: a worker refuses some of them, and needs none.
  const options = { workerData, execArgv: [] };
  if (!import.meta.url.endsWith('.ts')) return new Worker(file, options);
  const source = JSON.stringify(file.href.replace(/\.js$/, '.ts'));
  const script = `import('tsx/esm/api').then(({ register }) => {
    register();
    return import(${source});
  });`;
  return new Worker(script, { ...options, eval: true });
}
