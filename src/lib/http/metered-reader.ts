import type { LogReader } from '../scheduler/ports.js';
import type { CoreFunction, Metrics } from '../observability/metrics.js';

/** A reader whose look-ups are timed under the names that dashboards of Scheduler Units know. */
export function meterReader(reader: LogReader, metrics: Metrics): LogReader {
  if (!metrics.enabled) return reader;
  const timed = async <T>(name: CoreFunction, work: () => Promise<T>): Promise<T> => {
    const startedAt = performance.now();
    try {
      return await work();
    } finally {
      metrics.observeCore(name, performance.now() - startedAt);
    }
  };
  return {
    findProcess: (id, options) => timed('get_process', () => reader.findProcess(id, options)),
    findLatest: (id, options) => timed('get_message', () => reader.findLatest(id, options)),
    findHeadPlace: (id) => timed('get_message', () => reader.findHeadPlace(id)),
    findEntry: (id, processId, options) =>
      timed('get_message', () => reader.findEntry(id, processId, options)),
    async *readRange(query) {
      let readingMs = 0;
      let resumedAt = performance.now();
      try {
        for await (const piece of reader.readRange(query)) {
          // The time a client takes to receive a piece is not the store's.
          readingMs += performance.now() - resumedAt;
          yield piece;
          resumedAt = performance.now();
        }
        readingMs += performance.now() - resumedAt;
      } finally {
        metrics.observeCore('get_messages', readingMs);
      }
    },
  };
}
