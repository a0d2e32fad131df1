import type { Worker } from 'node:worker_threads';
import { SuError } from '../errors.js';
import { startWorker } from '../start-worker.js';
import { asBuffer } from './ids.js';
import type { LargeText } from './large-text.js';
import type { RenderAnswer } from './render-worker.js';

/**
 * Entries with larger bundles are rendered in a thread. Ten megabytes that must all be escaped take most of a second,
 * during which nobody would be answered; what is smaller than this takes a few milliseconds at most.
 */
export const LARGE_BUNDLE_BYTES = 262_144;

/** Readers that wait, at most: the last of them waits some seconds. */
const WAITING_MAX = 32;
const RETRY_AFTER_SECONDS = 2;
/** A thread that has nothing to do keeps the memory of its largest text. */
const IDLE_MS = 30_000;

/** What is to be rendered: the bundle is asked for when its turn comes, so that those who wait hold no memory. */
export interface RenderRequest extends Omit<LargeText, 'bundle'> {
  readonly load: () => Uint8Array | Promise<Uint8Array>;
  /** False once nobody waits for the text any more. */
  readonly isWanted?: (() => boolean) | undefined;
  /** A write: before all readers, and never refused for their number. */
  readonly isUrgent?: boolean | undefined;
}

interface Waiting {
  readonly request: RenderRequest;
  readonly resolve: (text: Buffer) => void;
  readonly reject: (error: unknown) => void;
}

/** Starts the worker that answers each `LargeText` with a `RenderAnswer`. */
export function startRenderWorker(): Worker {
  return startWorker(new URL('./render-worker.js', import.meta.url));
}

/**
 * A thread that renders large entries, one at a time. It starts at the first, ends when it had nothing to do for a
 * while, and keeps the program alive only while somebody waits.
 */
export class RenderThread {
  readonly #startWorker: () => Worker;
  readonly #idleMs: number;
  #worker: Worker | undefined;
  #running: Waiting | undefined;
  #waiting: Waiting[] = [];
  #idle: NodeJS.Timeout | undefined;
  #closed = false;

  /**
   * @param start makes a worker that answers each `LargeText` with a `RenderAnswer`
   * @param idleMs how long a worker without work is kept
   */
  constructor(start: () => Worker = startRenderWorker, idleMs: number = IDLE_MS) {
    this.#startWorker = start;
    this.#idleMs = idleMs;
  }

  /**
   * The text as UTF-8. When no other is being rendered, `load` is called before this returns.
   *
   * @throws SuError `scheduler-busy` when too many wait, or when the thread ended before it answered;
   *   `invalid-request` when nobody waits for it any more; what `load` throws; `invalid-data-item`
   */
  render(request: RenderRequest): Promise<Buffer> {
    if (this.#closed) return Promise.reject(busy('the store is being closed'));
    const isUrgent = request.isUrgent === true;
    if (!isUrgent) {
      this.#forgetUnwanted();
      if (this.#waiting.length >= WAITING_MAX) {
        return Promise.reject(busy('too many large entries are being read: try again soon'));
      }
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { request, resolve, reject };
      if (isUrgent) this.#waiting.unshift(waiting);
      else this.#waiting.push(waiting);
      this.#next();
    });
  }

  /** Ends the thread, if there is one; whoever waits is refused. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idle);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(busy('the store is being closed'));
    await this.#worker?.terminate();
  }

  #forgetUnwanted(): void {
    this.#waiting = this.#waiting.filter(({ request, reject }) => {
      const isWanted = request.isWanted?.() !== false;
      if (!isWanted) reject(unwanted());
      return isWanted;
    });
  }

  #next(): void {
    if (this.#running !== undefined) return;
    this.#forgetUnwanted();
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#rest();
      return;
    }
    this.#running = next;
    clearTimeout(this.#idle);
    void this.#send(next);
  }

  /** Never rejects: what fails is told to whoever waits. */
  async #send(waiting: Waiting): Promise<void> {
    const { load, isWanted: _isWanted, isUrgent: _isUrgent, ...job } = waiting.request;
    try {
      // Its own copy: a view would drag everything that lies behind it through the structured clone.
      const bundle = new Uint8Array(await load());
      if (this.#closed) throw busy('the store is being closed');
      const worker = (this.#worker ??= this.#start());
      worker.ref();
      worker.postMessage({ ...job, bundle } satisfies LargeText, [bundle.buffer]);
    } catch (error) {
      waiting.reject(error);
      this.#running = undefined;
      this.#next();
    }
  }

  #rest(): void {
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.unref();
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => {
      // Forgotten first: what comes while it ends goes to a new one.
      this.#worker = undefined;
      void worker.terminate();
    }, this.#idleMs);
    this.#idle.unref();
  }

  #start(): Worker {
    const worker = this.#startWorker();
    let cause: unknown;
    worker.on('message', (answer: RenderAnswer) => this.#settle(answer));
    worker.on('error', (error) => {
      cause = error;
    });
    // Follows `error` and `terminate` alike, so this is the one place where a thread's end is noticed.
    worker.on('exit', () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#running?.reject(busy('reading a large entry was interrupted: try again', cause));
      this.#running = undefined;
      this.#next();
    });
    return worker;
  }

  #settle(answer: RenderAnswer): void {
    const running = this.#running;
    this.#running = undefined;
    if ('text' in answer) {
      running?.resolve(asBuffer(answer.text));
    } else {
      running?.reject(new SuError(answer.code, answer.message));
    }
    this.#next();
  }
}

function busy(message: string, cause?: unknown): SuError {
  return new SuError('scheduler-busy', message, { retryAfterSeconds: RETRY_AFTER_SECONDS, cause });
}

/** Why a text is not made for a client that went away. */
export function unwanted(): SuError {
  return new SuError('invalid-request', 'the client went away before its entry was read');
}
