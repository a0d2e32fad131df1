import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { findUploads } from './find-uploads.js';
import type { QueuedUpload, RawLogReader, StoredProcess, UploadQueue } from './ports.js';

export interface RequeueOptions {
  readonly reader: RawLogReader & {
    /** @throws SuError `store-unavailable` */
    findProcess(processId: Id): Promise<StoredProcess | undefined>;
  };
  readonly queue: UploadQueue;
  /** Empty: all. */
  readonly processes: readonly Id[];
  /** Milliseconds; entries from before are left alone. */
  readonly since: number | undefined;
  /** Ends the work between two pieces. */
  readonly signal: AbortSignal;
  onProgress(counts: RequeueCounts): void;
}

export interface RequeueCounts {
  readonly processes: number;
  readonly processesTotal: number;
  /** Entries that were looked at, processes among them. */
  readonly entries: number;
  readonly queued: number;
  /** Entries whose uploads were waiting already. */
  readonly waiting: number;
  /** Entries whose bundle cannot be read. */
  readonly unreadable: number;
}

/**
 * Queues what was published of stored entries once more, whoever stored them; a bundler that has an item already takes it
 * without harm. What still waits in the outbox is not queued twice, so it may be stopped and begun again.
 *
 * @throws SuError `unknown-process`, `store-unavailable`
 */
export async function requeueUploads(options: RequeueOptions): Promise<RequeueCounts> {
  const { reader, processes, signal } = options;
  const total = processes.length > 0 ? processes.length : await reader.countProcesses();
  const counts = {
    processes: 0,
    processesTotal: total,
    entries: 0,
    queued: 0,
    waiting: 0,
    unreadable: 0,
  };
  for await (const process of chosen(options)) {
    if (signal.aborted) break;
    const outstanding = await reader.readOutstanding(process.processId);
    const requeue = async (rows: Parameters<typeof sort>[0]): Promise<void> => {
      const { fresh, waiting, unreadable } = sort(rows, outstanding);
      if (fresh.length > 0) await options.queue.queueUploads(fresh);
      counts.entries += rows.length;
      counts.queued += fresh.length;
      counts.waiting += waiting;
      counts.unreadable += unreadable;
      options.onProgress({ ...counts });
    };
    await requeue(isSince(process, options.since) ? [process] : []);
    for await (const piece of reader.readMessages(process.processId, undefined)) {
      if (signal.aborted) return counts;
      await requeue(piece.filter((message) => isSince(message, options.since)));
    }
    counts.processes += 1;
    options.onProgress({ ...counts });
  }
  return counts;
}

async function* chosen({ reader, processes }: RequeueOptions): AsyncGenerator<StoredProcess> {
  if (processes.length === 0) {
    for await (const piece of reader.readProcesses(undefined)) yield* piece;
    return;
  }
  for (const processId of processes) {
    const process = await reader.findProcess(processId);
    if (process === undefined) {
      throw new SuError('unknown-process', `process ${processId} is not known here`);
    }
    yield process;
  }
}

/** A process without an assignment has no timestamp of its own in its row: it counts as of any time. */
function isSince(
  row: { readonly timestamp: number | undefined },
  since: number | undefined,
): boolean {
  return since === undefined || row.timestamp === undefined || row.timestamp >= since;
}

function sort(
  rows: readonly Parameters<typeof findUploads>[0][],
  outstanding: ReadonlyMap<Id, number>,
): {
  readonly fresh: readonly QueuedUpload[];
  readonly waiting: number;
  readonly unreadable: number;
} {
  const uploads = rows.map(findUploads).filter((upload) => upload !== undefined);
  const fresh = uploads.flatMap((upload) => {
    const parts = upload.parts & ~(outstanding.get(upload.messageId) ?? 0);
    return parts === 0 ? [] : [{ ...upload, parts }];
  });
  return {
    fresh,
    waiting: uploads.length - fresh.length,
    unreadable: rows.length - uploads.length,
  };
}
