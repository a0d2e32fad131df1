import type { Worker } from 'node:worker_threads';
import { SuError } from '../errors.js';
import { startWorker } from '../start-worker.js';
import type { Secp256k1Signature } from './secp256k1.js';
import type { VerifyAnswer, VerifyRequest } from './verify-worker.js';

/** At 2 to 3 ms each, the last of these waits two or three seconds; more would only make everybody time out. */
const WAITING_MAX = 1_024;

const RETRY_AFTER_SECONDS = 1;

interface Waiting {
  readonly resolve: (verified: boolean) => void;
  readonly reject: (error: SuError) => void;
}

/** Starts the worker that answers each `VerifyRequest` with a `VerifyAnswer`. */
export function startVerifyWorker(): Worker {
  return startWorker(new URL('./verify-worker.js', import.meta.url));
}

/**
 * A thread that verifies secp256k1 signatures. It starts at the first one, is started again at the next one after
 * it died, and keeps the program alive only while somebody waits for an answer.
 */
export class Secp256k1Thread {
  #worker: Worker | undefined;
  #nextRequest = 0;
  readonly #waiting = new Map<number, Waiting>();
  readonly #newWorker: () => Worker;

  /** @param newWorker makes a worker that answers each `VerifyRequest` with a `VerifyAnswer` */
  constructor(newWorker: () => Worker = startVerifyWorker) {
    this.#newWorker = newWorker;
  }

  /**
   * Whether the signature verifies.
   *
   * @throws SuError `scheduler-busy` when too many wait, or when the thread ended before it answered
   */
  verify(job: Secp256k1Signature): Promise<boolean> {
    if (this.#waiting.size >= WAITING_MAX) {
      return Promise.reject(busy(`${WAITING_MAX} signatures wait to be verified: try again soon`));
    }
    const worker = (this.#worker ??= this.#start());
    const request = this.#nextRequest;
    this.#nextRequest += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.set(request, { resolve, reject });
      worker.ref();
      worker.postMessage({ request, job: copyOf(job) } satisfies VerifyRequest);
    });
  }

  /** Ends the thread, if there is one; whoever waits is refused. May be called twice. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = this.#newWorker();
    let cause: unknown;
    worker.on('message', (answer: VerifyAnswer) => this.#settle(answer));
    worker.on('error', (error) => {
      cause = error;
    });
    // Follows `error` and `terminate` alike, so this is the one place where a thread's end is noticed.
    worker.on('exit', () => this.#forget(cause));
    return worker;
  }

  #settle({ request, verified }: VerifyAnswer): void {
    this.#waiting.get(request)?.resolve(verified);
    this.#waiting.delete(request);
    if (this.#waiting.size === 0) this.#worker?.unref();
  }

  #forget(cause: unknown): void {
    this.#worker = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) {
      reject(busy('the verification of signatures was interrupted: try again', cause));
    }
  }
}

function busy(message: string, cause?: unknown): SuError {
  return new SuError('scheduler-busy', message, { retryAfterSeconds: RETRY_AFTER_SECONDS, cause });
}

/** Own copies of the few bytes: a view would drag the whole body behind it through the structured clone. */
function copyOf({
  signatureType,
  owner,
  message,
  signature,
}: Secp256k1Signature): Secp256k1Signature {
  return {
    signatureType,
    owner: new Uint8Array(owner),
    message: new Uint8Array(message),
    signature: new Uint8Array(signature),
  };
}
