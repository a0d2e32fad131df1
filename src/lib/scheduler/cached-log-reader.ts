import { LRUCache } from 'lru-cache';
import type { Id } from '../protocol/ids.js';
import type { LogEntry, LogProcess, LogReader, Position } from './ports.js';

/*
 * Processes, and the newest entries of logs, in memory. Pages have a memory of their own (edge-cache.ts).
 *
 * Promises:
 * - a stored process or entry never changes, so what is here cannot be wrong; what is not here is read from the store;
 * - the newest entry is answered from here only while the store says that the log ends there, so an entry that was acknowledged
 *   before the call is always found;
 * - memory is bounded in bytes, what nobody asks for goes first.
 */

export interface CachedReaderOptions {
  /** Of processes, and once more of newest entries. */
  readonly bytesMax: number;
  /** Larger ones are left to the store. */
  readonly entryBytesMax: number;
}

/** What an entry takes besides its JSON: objects and keys. */
const OVERHEAD_BYTES = 400;

/** The reader with a memory in front of it; ranges and look-ups by an entry's id pass through. */
export function cacheLogReader(reader: LogReader, options: CachedReaderOptions): LogReader {
  const { bytesMax: maxSize, entryBytesMax: maxEntrySize } = options;
  const processes = new LRUCache<Id, LogProcess>({
    maxSize,
    maxEntrySize,
    sizeCalculation: ({ record, entry }) =>
      record.length + (entry?.node.length ?? 0) + OVERHEAD_BYTES,
  });
  const newest = new LRUCache<Id, LogEntry>({
    maxSize,
    maxEntrySize,
    sizeCalculation: ({ node }) => node.length + OVERHEAD_BYTES,
  });
  return {
    async findProcess(processId, shown) {
      if (shown?.showAnchor === true) return reader.findProcess(processId, shown);
      const known = processes.get(processId);
      if (known !== undefined) return known;
      const found = await reader.findProcess(processId, shown);
      if (found !== undefined) processes.set(processId, ownProcess(found));
      return found;
    },
    async findLatest(processId, asked) {
      const known = newest.get(processId);
      if (known !== undefined && isAt(known, await reader.findHeadPlace(processId))) return known;
      const found = await reader.findLatest(processId, asked);
      if (found !== undefined) newest.set(processId, ownEntry(found));
      return found;
    },
    findHeadPlace: (processId) => reader.findHeadPlace(processId),
    findEntry: (id, processId, asked) => reader.findEntry(id, processId, asked),
    readRange: (query) => reader.readRange(query),
  };
}

function isAt(entry: Position, place: Position | undefined): boolean {
  return place?.epoch === entry.epoch && place.nonce === entry.nonce;
}

function ownEntry(entry: LogEntry): LogEntry {
  return { ...entry, node: ownBytes(entry.node) };
}

function ownProcess({ processId, record, entry }: LogProcess): LogProcess {
  return { processId, record: ownBytes(record), entry: entry && ownEntry(entry) };
}

/** A copy where the bytes are part of a larger piece that they would keep in memory. */
function ownBytes(bytes: Uint8Array): Uint8Array {
  return bytes.buffer.byteLength > bytes.length + 1024 ? Buffer.from(bytes) : bytes;
}
