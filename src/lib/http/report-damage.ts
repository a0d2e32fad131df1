import { DamagedEntryError } from '../errors.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { LogReader } from '../scheduler/ports.js';

/**
 * A reader that names every damaged entry it meets in the log and counts it, also where the answer shows only that it ends
 * early. What it throws is unchanged.
 */
export function reportDamage(
  reader: LogReader,
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
): LogReader {
  const report = (error: unknown): void => {
    if (!(error instanceof DamagedEntryError)) return;
    metrics.entryUnreadable();
    log.error(
      { event: 'entry-unreadable', ...error.details, reason: error.message },
      'an entry of the log cannot be read',
    );
  };
  const watched = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work;
    } catch (error) {
      report(error);
      throw error;
    }
  };
  return {
    findProcess: (id, options) => watched(reader.findProcess(id, options)),
    findLatest: (id, options) => watched(reader.findLatest(id, options)),
    findHeadPlace: (id) => reader.findHeadPlace(id),
    findEntry: (id, processId, options) => watched(reader.findEntry(id, processId, options)),
    async *readRange(query) {
      try {
        yield* reader.readRange(query);
      } catch (error) {
        report(error);
        throw error;
      }
    },
  };
}
