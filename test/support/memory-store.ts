import { idFromBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { LogEntry, LogProcess, LogReader, RangeQuery } from '../../src/lib/scheduler/ports.js';

/** An id that is recognisable in a failing test: `name` padded to 32 bytes. */
export function idOf(name: string): Id {
  return idFromBytes(Buffer.from(name.padEnd(32, '.').slice(0, 32)));
}

/** A message as the memory store keeps it. */
export interface MemoryEntry extends LogEntry {
  readonly processId: Id;
  readonly messageId: Id;
  readonly assignmentId: Id;
  readonly isAssignedTransaction: boolean;
}

export interface MemoryEntryOptions {
  readonly epoch?: number;
  readonly nonce: number;
  readonly timestamp?: number;
  /** Bytes of padding in the node. */
  readonly dataBytes?: number;
  readonly isAssignedTransaction?: boolean;
}

/** The node of entry `nonce`; a process's own is nonce 0 of its log. */
export function nodeOf(name: string, dataBytes = 0): Buffer {
  return Buffer.from(
    JSON.stringify({
      message: { id: idOf(name), data: 'é'.repeat(dataBytes / 2) },
      assignment: { id: idOf(`a-${name}`) },
    }),
  );
}

/** A LogReader over arrays, with what tests want to see and to break. */
export class MemoryLog implements LogReader {
  readonly processes = new Map<Id, LogProcess>();
  readonly entries: MemoryEntry[] = [];
  readonly ranges: RangeQuery[] = [];
  /** Entries in a piece of `readRange`. */
  pieceEntries = 3;
  piecesRead = 0;
  openRanges = 0;
  /** Thrown by every look-up, and by `readRange` after `failAfterPieces` pieces. */
  failure: Error | undefined;
  failAfterPieces = 0;

  /** Adds a process, with an entry of its own at `timestamp` unless that is undefined. */
  addProcess(name: string, timestamp?: number): Id {
    const processId = idOf(name);
    this.processes.set(processId, {
      processId,
      entry:
        timestamp === undefined ? undefined : { epoch: 0, nonce: 0, timestamp, node: nodeOf(name) },
      record: Buffer.from(JSON.stringify({ process_id: processId })),
    });
    return processId;
  }

  addEntry(processId: Id, name: string, options: MemoryEntryOptions): MemoryEntry {
    const { epoch = 0, nonce, timestamp = 1000 + nonce, dataBytes = 0 } = options;
    const entry: MemoryEntry = {
      processId,
      messageId: idOf(name),
      assignmentId: idOf(`a-${name}`),
      isAssignedTransaction: options.isAssignedTransaction ?? false,
      epoch,
      nonce,
      timestamp,
      node: nodeOf(name, dataBytes),
    };
    this.entries.push(entry);
    this.entries.sort((a, b) => a.epoch - b.epoch || a.nonce - b.nonce);
    return entry;
  }

  async findProcess(processId: Id): Promise<LogProcess | undefined> {
    await this.lookUp();
    return this.processes.get(processId);
  }

  async *readRange(query: RangeQuery): AsyncGenerator<readonly LogEntry[]> {
    this.ranges.push(query);
    this.openRanges += 1;
    try {
      const from = query.from ?? -Infinity;
      const to = query.to ?? Infinity;
      const all = this.entries.filter((entry) => {
        const place = query.by === 'nonce' ? entry.nonce : entry.timestamp;
        return entry.processId === query.processId && place > from && place <= to;
      });
      const wanted = all.slice(0, query.limit);
      for (let at = 0; at < wanted.length; at += this.pieceEntries) {
        await Promise.resolve();
        if (this.failure !== undefined && at / this.pieceEntries >= this.failAfterPieces)
          throw this.failure;
        this.piecesRead += 1;
        yield wanted.slice(at, at + this.pieceEntries);
      }
    } finally {
      this.openRanges -= 1;
    }
  }

  async findHeadPlace(processId: Id): Promise<LogEntry | undefined> {
    return this.findLatest(processId);
  }

  async findLatest(processId: Id): Promise<LogEntry | undefined> {
    await this.lookUp();
    return this.entries.filter((entry) => entry.processId === processId).at(-1);
  }

  async findEntry(id: Id, processId: Id | undefined): Promise<LogEntry | undefined> {
    await this.lookUp();
    const within = this.entries.filter(
      (entry) => processId === undefined || entry.processId === processId,
    );
    return (
      within.find((entry) => entry.messageId === id && !entry.isAssignedTransaction) ??
      within.find((entry) => entry.assignmentId === id)
    );
  }

  private async lookUp(): Promise<void> {
    await Promise.resolve();
    if (this.failure !== undefined && this.failAfterPieces === 0) throw this.failure;
  }
}
