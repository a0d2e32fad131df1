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
  looked: Promise<void> | undefined;
  timer: { cancel(): void } | undefined;
  readonly abort: AbortController;
  readonly openCallbacks: Set<() => void>;
}

export function makeCircuit(options: CircuitOptions): Circuit {
  const { client, log, failuresMax } = options;
  const watched = new Map<string, Watched>();

  function succeeded(url: string): void {
    const state = watched.get(url);
    if (state === undefined) return;
    if (state.isOpen) log.info({ event: 'scheduler-back', scheduler: url }, 'the SU answers again');
    state.failures = 0;
    state.isOpen = false;
  }

  function failed(url: string, reason: string): void {
    const state = watched.get(url);
    if (state === undefined) return;
    state.failures += 1;
    if (state.failures === 1) lookIn(url, state, options.lostIntervalMs);
    if (state.isOpen || state.failures < failuresMax) return;
    state.isOpen = true;
    log.error(
      { event: 'scheduler-lost', scheduler: url, reason },
      'the SU does not answer: requests to it are refused at once until it does',
    );
    for (const callback of [...state.openCallbacks]) callback();
    state.openCallbacks.clear();
  }

  async function look(url: string, state: Watched): Promise<void> {
    try {
      state.waiting = (await client.fetchHealth(url, state.abort.signal)) === 'waiting';
      succeeded(url);
    } catch (error) {
      if (state.abort.signal.aborted) return;
      failed(url, error instanceof Error ? error.message : String(error));
    }
    lookIn(url, state, state.failures > 0 ? options.lostIntervalMs : options.intervalMs);
  }

  function lookIn(url: string, state: Watched, ms: number): void {
    state.timer?.cancel();
    if (state.abort.signal.aborted) return;
    // It settles its failures itself and does not reject.
    state.timer = options.schedule(() => void look(url, state), ms);
  }

  function forget(url: string): void {
    const state = watched.get(url);
    watched.delete(url);
    state?.abort.abort();
    state?.timer?.cancel();
  }

  return {
    succeeded,
    failed,
    isReachable: (url) => watched.get(url)?.isOpen !== true,
    takesNew(url) {
      const state = watched.get(url);
      return state === undefined || (state.failures === 0 && !state.waiting);
    },
    watch(urls) {
      for (const url of [...watched.keys()]) if (!urls.includes(url)) forget(url);
      for (const url of urls) {
        if (watched.has(url)) continue;
        const state: Watched = {
          failures: 0,
          waiting: false,
          isOpen: false,
          looked: undefined,
          timer: undefined,
          abort: new AbortController(),
          openCallbacks: new Set(),
        };
        watched.set(url, state);
        state.looked = look(url, state);
      }
    },
    onOpen(url, callback) {
      const callbacks = watched.get(url)?.openCallbacks;
      callbacks?.add(callback);
      return () => void callbacks?.delete(callback);
    },
    async firstLook() {
      await Promise.all([...watched.values()].map(({ looked }) => looked));
    },
    close() {
      for (const url of [...watched.keys()]) forget(url);
    },
  };
}
