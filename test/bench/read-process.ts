import { Agent, get } from 'node:http';
import { quantile } from './statistics.js';

/*
 * A program of its own: asks for addresses in turn over so many kept connections.
 * Its parent sends one ReadOrder at a time and gets one ReadReport.
 */
export interface ReadOrder {
  readonly url: string;
  /** Asked for in turn. */
  readonly paths: readonly string[];
  readonly connections: number;
  readonly durationMs: number;
}

export interface ReadReport {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the last answer. */
  readonly bytes: number;
}

async function ask(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (response) => {
      let bytes = 0;
      response.on('data', (chunk: Buffer) => (bytes += chunk.length));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(bytes);
        else reject(new Error(`${url} answers ${response.statusCode}`));
      });
    }).on('error', reject);
  });
}

async function run(order: ReadOrder): Promise<ReadReport> {
  const agent = new Agent({ keepAlive: true, maxSockets: order.connections });
  const durations: number[] = [];
  const begun = performance.now();
  let turn = 0;
  let bytes = 0;
  const lane = async (): Promise<void> => {
    while (performance.now() - begun < order.durationMs) {
      const path = order.paths[turn % order.paths.length] ?? '/';
      turn += 1;
      const startedAt = performance.now();
      bytes = await ask(order.url + path, agent);
      durations.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: order.connections }, lane));
  const perSecond = (durations.length * 1000) / (performance.now() - begun);
  agent.destroy();
  durations.sort((a, b) => a - b);
  return { perSecond, p50Ms: quantile(durations, 0.5), p99Ms: quantile(durations, 0.99), bytes };
}

process.on('message', (order: ReadOrder) => {
  run(order).then(
    (report) => process.send?.(report),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
