import type { Worker } from 'node:worker_threads';
import { SuError } from '../../errors.js';
import { startWorker } from '../../start-worker.js';
import type {
  FromWriter,
  ToWriter,
  WriteAnswer,
  WriteRequest,
  WriterData,
} from './write-request.js';

interface Pending {
  readonly resolve: (message: FromWriter) => void;
  readonly reject: (error: SuError) => void;
}

/** The main thread's end of the writer thread. One batch at a time is under way. */
export class WriterThread {
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  #hasExited = false;
  #pending: Pending | undefined;

  private constructor(data: WriterData) {
    this.#worker = startWorker(new URL('./writer-worker.js', import.meta.url), data);
    this.#worker.on('message', (message: FromWriter) => this.#take()?.resolve(message));
    this.#worker.on('error', (error) =>
      this.#take()?.reject(lost('the writer thread failed', error)),
    );
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        this.#hasExited = true;
        this.#take()?.reject(lost('the writer thread ended', undefined));
        resolve();
      });
    });
  }

  /**
   * Starts the thread on an open database.
   *
   * @throws SuError `store-unavailable`
   */
  static async start(data: WriterData): Promise<WriterThread> {
    const thread = new WriterThread(data);
    const message = await thread.#next();
    if (message.type !== 'ready') {
      await thread.stop();
      throw lost(
        message.type === 'failed' ? message.reason : 'the writer thread did not start',
        undefined,
      );
    }
    return thread;
  }

  /**
   * Writes the requests as one batch. The buffers of their bytes are handed over; those of packed rows come back.
   *
   * @throws SuError `store-unavailable`: the batch may or may not be stored, and the thread is of no more use
   */
  async write(
    requests: readonly WriteRequest[],
    payloads: readonly ArrayBuffer[],
  ): Promise<{
    readonly answers: readonly WriteAnswer[];
    readonly memory: readonly ArrayBuffer[];
  }> {
    const answered = this.#next();
    const message: ToWriter = { type: 'write', requests };
    if (!this.#hasExited) this.#worker.postMessage(message, payloads);
    const answer = await answered;
    if (answer.type === 'written') return answer;
    const details = answer.type === 'failed' ? { code: answer.code } : {};
    throw new SuError(
      'store-unavailable',
      `the store could not write: ${answer.type === 'failed' ? answer.reason : answer.type}`,
      { details, retryAfterSeconds: 1 },
    );
  }

  /** Ends the thread and waits for its end; the database may be closed after it. */
  async stop(): Promise<void> {
    const message: ToWriter = { type: 'stop' };
    if (!this.#hasExited) this.#worker.postMessage(message);
    await this.#exited;
  }

  #next(): Promise<FromWriter> {
    return new Promise((resolve, reject) => {
      if (this.#hasExited) reject(lost('the writer thread has ended', undefined));
      else this.#pending = { resolve, reject };
    });
  }

  #take(): Pending | undefined {
    const pending = this.#pending;
    this.#pending = undefined;
    return pending;
  }
}

function lost(reason: string, cause: unknown): SuError {
  return new SuError('store-unavailable', `the store could not write: ${reason}`, {
    cause,
    retryAfterSeconds: 1,
  });
}
