import { asBuffer } from '../protocol/ids.js';
import type { LogEntry, LogReader } from './ports.js';
import type { ProcessWhitelist } from './process-whitelist.js';

/**
 * A reader that knows only the processes of a list. Whoever names a process was answered before (`checkRead`); here is
 * what is found without one: an entry whose process is not on the list is not found.
 */
export function makeGuardedReader(
  reader: LogReader,
  list: { require(): ProcessWhitelist },
): LogReader {
  const isListed = (processId: string): boolean => list.require().find(processId) !== undefined;
  return {
    findProcess: async (processId, options) =>
      isListed(processId) ? reader.findProcess(processId, options) : undefined,
    readRange: (query) => reader.readRange(query),
    findHeadPlace: async (processId) =>
      isListed(processId) ? reader.findHeadPlace(processId) : undefined,
    findLatest: async (processId, options) =>
      isListed(processId) ? reader.findLatest(processId, options) : undefined,
    async findEntry(id, processId, options) {
      if (processId !== undefined) {
        return isListed(processId) ? reader.findEntry(id, processId, options) : undefined;
      }
      const entry = await reader.findEntry(id, undefined, options);
      return entry !== undefined && isListed(processOf(entry)) ? entry : undefined;
    },
  };
}

const ASSIGNMENT_KEY = ',"assignment":';

/** An entry does not carry its process; its assignment names it. */
function processOf({ node }: LogEntry): string {
  const bytes = asBuffer(node);
  // The message before it may be large. Within a string the quotes would be escaped, so this is the key.
  const start = bytes.lastIndexOf(ASSIGNMENT_KEY);
  if (start < 0) return '';
  const { assignment } = JSON.parse(`{${bytes.toString('utf8', start + 1)}`) as {
    assignment?: { tags?: readonly { name: string; value: string }[] } | null;
  };
  return assignment?.tags?.find(({ name }) => name === 'Process')?.value ?? '';
}
