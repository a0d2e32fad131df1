import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { startWorker } from '../start-worker.js';
import type { CheckAnswer, CheckJob } from './check-worker.js';
import type { CheckedEntry } from './checked-entry.js';
import type { EntryChecks, RawEntry } from './ports.js';

/** Entries that one thread checks at a go: a piece of a log is spread over all of them. */
const JOB_ENTRIES_MAX = 64;
const JOB_BYTES_MAX = 1024 * 1024;

interface Waiting {
  readonly job: CheckJob;
  readonly payload: ArrayBuffer;
  readonly resolve: (checked: readonly CheckedEntry[]) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Checks entries on a thread for each core, started when there is work for them. Each thread verifies signatures itself:
 * libuv's pool has four threads however many cores there are, and taking bundles and JSON apart costs half as much again
 * as the signatures.
 */
export class CheckThreads implements EntryChecks {
  readonly #threadsMax: number;
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Waiting>();
  #queue: Waiting[] = [];
  #isClosed = false;

  constructor(threadsMax = availableParallelism()) {
    this.#threadsMax = Math.max(1, threadsMax);
  }

  get parallel(): number {
    return this.#threadsMax;
  }

  async check(
    processId: Id,
    entries: readonly RawEntry[],
    { signatures }: { readonly signatures: boolean },
  ): Promise<readonly CheckedEntry[]> {
    const jobs = splitEntries(entries).map((part) => this.#send(processId, part, signatures));
    return (await Promise.all(jobs)).flat();
  }

  /** Ends the threads; what they were doing is refused. May be called twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const workers = [...this.#idle, ...this.#busy.keys()];
    const waiting = this.#queue;
    this.#queue = [];
    for (const { reject } of waiting) reject(ended());
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #send(
    processId: Id,
    entries: readonly RawEntry[],
    signatures: boolean,
  ): Promise<readonly CheckedEntry[]> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(ended());
        return;
      }
      const { packed, payload } = pack(entries);
      this.#queue.push({
        job: { processId, entries: packed, signatures },
        payload,
        resolve,
        reject,
      });
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#queue.length > 0) {
      const worker = this.#idle.pop() ?? this.#start();
      if (worker === undefined) return;
      const waiting = this.#queue.shift();
      if (waiting === undefined) return;
      this.#busy.set(worker, waiting);
      worker.postMessage(waiting.job, [waiting.payload]);
    }
  }

  #start(): Worker | undefined {
    if (this.#busy.size + this.#idle.length >= this.#threadsMax) return undefined;
    const worker = startWorker(new URL('./check-worker.js', import.meta.url));
    let cause: unknown;
    worker.on('message', (answer: CheckAnswer) => this.#settle(worker, answer));
    worker.on('error', (error) => {
      cause = error;
    });
    // Follows `error` and `terminate` alike.
    worker.on('exit', () => this.#forget(worker, cause));
    return worker;
  }

  #settle(worker: Worker, answer: CheckAnswer): void {
    const waiting = this.#busy.get(worker);
    this.#busy.delete(worker);
    this.#idle.push(worker);
    if ('error' in answer) {
      waiting?.reject(new SuError('invariant', `an entry could not be checked: ${answer.error}`));
    } else waiting?.resolve(answer.checked);
    this.#dispatch();
  }

  #forget(worker: Worker, cause: unknown): void {
    const at = this.#idle.indexOf(worker);
    if (at !== -1) this.#idle.splice(at, 1);
    this.#busy.get(worker)?.reject(ended(cause));
    this.#busy.delete(worker);
    if (!this.#isClosed) this.#dispatch();
  }
}

function ended(cause?: unknown): SuError {
  return new SuError('interrupted', 'the threads that check entries have ended', { cause });
}

function splitEntries(entries: readonly RawEntry[]): readonly (readonly RawEntry[])[] {
  const parts: RawEntry[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const entry of entries) {
    const last = parts.at(-1);
    if (last === undefined || last.length >= JOB_ENTRIES_MAX || bytes > JOB_BYTES_MAX) {
      parts.push([entry]);
      bytes = 0;
    } else last.push(entry);
    bytes += entry.kind === 'wire' ? 0 : entry.row.bundle.length;
  }
  return parts;
}

/**
 * Copies the bundles into one buffer that is handed over. A bundle may be a view of a larger buffer, which a structured
 * clone would copy whole for each of them.
 */
function pack(entries: readonly RawEntry[]): {
  packed: readonly RawEntry[];
  payload: ArrayBuffer;
} {
  const size = entries.reduce(
    (sum, entry) => sum + (entry.kind === 'wire' ? 0 : entry.row.bundle.length),
    0,
  );
  const bytes = new Uint8Array(size);
  let offset = 0;
  const packed = entries.map((entry): RawEntry => {
    if (entry.kind === 'wire') return entry;
    const { bundle } = entry.row;
    bytes.set(bundle, offset);
    const view = bytes.subarray(offset, offset + bundle.length);
    offset += bundle.length;
    return entry.kind === 'process'
      ? { kind: 'process', row: { ...entry.row, bundle: view } }
      : { kind: 'message', row: { ...entry.row, bundle: view } };
  });
  return { packed, payload: bytes.buffer };
}
