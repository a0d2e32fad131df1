import { readFileSync } from 'node:fs';
import { BarePoster } from './bare-http.js';

/*
 * A program of its own: posts presigned items, so many at once, and measures each receipt.
 * Its parent sends one Order at a time and gets one Report.
 */
export interface Order {
  readonly url: string;
  /** A file of items, each behind its length (u32le). */
  readonly file: string;
  readonly from: number;
  readonly to: number;
  readonly clients: number;
  /** Items a second in all, undefined: as fast as they are taken. */
  readonly rate?: number;
  /** Ends earlier when the time is over, ms. */
  readonly durationMs?: number;
}

export interface Report {
  readonly acknowledged: number;
  /** Index behind the last item that was posted. */
  readonly next: number;
  readonly elapsedMs: number;
  readonly failures: Record<string, number>;
  /** Sorted, ms. */
  readonly latenciesMs: readonly number[];
}

let loaded: { file: string; items: readonly Buffer[] } | undefined;

function itemsOf(file: string): readonly Buffer[] {
  if (loaded?.file === file) return loaded.items;
  const bytes = readFileSync(file);
  const items: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    items.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  loaded = { file, items };
  return items;
}

async function run(order: Order): Promise<Report> {
  const items = itemsOf(order.file);
  const latenciesMs: number[] = [];
  const failures: Record<string, number> = {};
  const begun = performance.now();
  const end = Math.min(order.to, items.length);
  let next = order.from;
  const client = async (): Promise<void> => {
    const poster = new BarePoster(order.url);
    while (next < end && performance.now() - begun < (order.durationMs ?? Infinity)) {
      const bytes = items[next] ?? Buffer.alloc(0);
      const place = next - order.from;
      next += 1;
      if (order.rate !== undefined) {
        const waitMs = begun + (place * 1000) / order.rate - performance.now();
        if (waitMs > 1) await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
      const sentAt = performance.now();
      const status = await poster.post(bytes);
      if (status === 200) latenciesMs.push(performance.now() - sentAt);
      else failures[status] = (failures[status] ?? 0) + 1;
    }
    poster.close();
  };
  await Promise.all(Array.from({ length: order.clients }, client));
  const elapsedMs = performance.now() - begun;
  latenciesMs.sort((a, b) => a - b);
  return { acknowledged: latenciesMs.length, next, elapsedMs, failures, latenciesMs };
}

process.on('message', (order: Order) => {
  run(order).then(
    (report) => process.send?.(report),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
