import type { RouterLog, SchedulerClient, SchedulerHealth } from './ports.js';

/*
 * What the router knows of each SU's life, from the requests that pass and from asking its health now and then.
 *
 * Promises: an SU of which nothing is known counts as alive; after the first failure no new process goes there, after
 * some in a row nothing is tried there any more (the circuit is open); the first answer closes it again. An SU that was
 * just lost is asked more often than one that lives. close() ends the asking.
 */

export interface CircuitOptions {
  readonly client: Pick<SchedulerClient, 'fetchHealth'>;
  readonly log: RouterLog;
  /** Failures in a row after which nothing is tried. */
  readonly failuresMax: number;
  /** Between two questions to an SU that lives, ms. */
  readonly intervalMs: number;
  /** Between two questions to an SU that does not, ms. */
  readonly lostIntervalMs: number;
  /** Calls back once after `ms`; the timer does not keep the program alive. */
  readonly schedule: (callback: () => void, ms: number) => { cancel(): void };
}

export interface Circuit extends SchedulerHealth {
  /** Watches these SUs, and no others, from now on. */
  watch(urls: readonly string[]): void;
  /**
   * Calls back once when the circuit of this SU opens: what still waits for its answer need not wait longer.
   *
   * @returns takes the call back
   */
  onOpen(url: string, callback: () => void): () => void;
  /** Resolves when each watched SU was asked once, whatever came of it. */
  firstLook(): Promise<void>;
  close(): void;
}

interface Watched {
  failures: number;
  /** It answers and says that it is not ready. */
  waiting: boolean;
  isOpen: boolean;
  looked: Promise<void>;
  timer: { cancel(): void } | undefined;
  readonly abort: AbortController;
  readonly openCallbacks: Set<() => void>;
}

/** See the promises above. */
export function makeCircuit(options: CircuitOptions): Circuit {
  return new WatchedCircuit(options);
}

class WatchedCircuit implements Circuit {
  readonly #options: CircuitOptions;
  readonly #watched = new Map<string, Watched>();

  constructor(options: CircuitOptions) {
    this.#options = options;
  }

  isReachable(url: string): boolean {
    return this.#watched.get(url)?.isOpen !== true;
  }

  takesNew(url: string): boolean {
    const state = this.#watched.get(url);
    return state === undefined || (state.failures === 0 && !state.waiting);
  }

  succeeded(url: string): void {
    const state = this.#watched.get(url);
    if (state === undefined) return;
    if (state.isOpen) {
      this.#options.log.info({ event: 'scheduler-back', scheduler: url }, 'the SU answers again');
    }
    state.failures = 0;
    state.isOpen = false;
  }

  failed(url: string, reason: string): void {
    const { log, failuresMax, lostIntervalMs } = this.#options;
    const state = this.#watched.get(url);
    if (state === undefined) return;
    state.failures += 1;
    if (state.failures === 1) this.#lookIn(url, state, lostIntervalMs);
    if (state.isOpen || state.failures < failuresMax) return;
    state.isOpen = true;
    log.error(
      { event: 'scheduler-lost', scheduler: url, reason },
      'the SU does not answer: requests to it are refused at once until it does',
    );
    const callbacks = [...state.openCallbacks];
    state.openCallbacks.clear();
    for (const callback of callbacks) callback();
  }

  watch(urls: readonly string[]): void {
    for (const url of this.#watched.keys()) if (!urls.includes(url)) this.#forget(url);
    for (const url of urls) {
      if (this.#watched.has(url)) continue;
      const state: Watched = {
        failures: 0,
        waiting: false,
        isOpen: false,
        looked: Promise.resolve(),
        timer: undefined,
        abort: new AbortController(),
        openCallbacks: new Set(),
      };
      this.#watched.set(url, state);
      state.looked = this.#look(url, state);
    }
  }

  onOpen(url: string, callback: () => void): () => void {
    const callbacks = this.#watched.get(url)?.openCallbacks;
    callbacks?.add(callback);
    return () => void callbacks?.delete(callback);
  }

  async firstLook(): Promise<void> {
    await Promise.all([...this.#watched.values()].map(({ looked }) => looked));
  }

  close(): void {
    for (const url of this.#watched.keys()) this.#forget(url);
  }

  async #look(url: string, state: Watched): Promise<void> {
    const { client, intervalMs, lostIntervalMs } = this.#options;
    try {
      state.waiting = (await client.fetchHealth(url, state.abort.signal)) === 'waiting';
      this.succeeded(url);
    } catch (error) {
      if (state.abort.signal.aborted) return;
      this.failed(url, error instanceof Error ? error.message : String(error));
    }
    this.#lookIn(url, state, state.failures > 0 ? lostIntervalMs : intervalMs);
  }

  #lookIn(url: string, state: Watched, ms: number): void {
    state.timer?.cancel();
    if (state.abort.signal.aborted) return;
    // It settles its failures itself and does not reject.
    state.timer = this.#options.schedule(() => void this.#look(url, state), ms);
  }

  #forget(url: string): void {
    const state = this.#watched.get(url);
    this.#watched.delete(url);
    state?.abort.abort();
    state?.timer?.cancel();
  }
}
