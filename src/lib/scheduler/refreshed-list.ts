import { SuError } from '../errors.js';

/*
 * A list that somebody else keeps at a URL and that decides who is served. It is fetched again and again; what cannot
 * be fetched or read as a list changes nothing: the last good one stays in force, and grows older visibly. Before the
 * first good one nothing passes that the list guards.
 */

export interface RefreshedListOptions<Value> {
  /** The variable that names it. */
  readonly name: string;
  /** What it decides, for those who are told that it is missing: "the list of …". */
  readonly what: string;
  readonly fetch: (signal: AbortSignal) => Promise<Uint8Array>;
  /** @throws Error that says what is wrong with it */
  readonly parse: (bytes: Uint8Array) => Value;
  readonly intervalMs: number;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly onWarning: (message: string, details: Readonly<Record<string, unknown>>) => void;
  readonly onLoaded: (message: string, details: Readonly<Record<string, unknown>>) => void;
}

/** How a list stands, for operators. */
export interface ListState {
  readonly name: string;
  readonly loaded: boolean;
  /** Since it was last fetched whole, ms; undefined before the first time. */
  readonly ageMs: number | undefined;
  /** Why the last try failed; undefined when it did not. */
  readonly failure: string | undefined;
}

export interface RefreshedList<Value> {
  /** @throws SuError `not-ready` until it was loaded once */
  require(): Value;
  current(): Value | undefined;
  state(): ListState;
  /** Calls back with each new content. */
  onChange(callback: (value: Value) => void): void;
  close(): Promise<void>;
}

/** Begins to fetch at once; the first list may be a while in coming. */
export function openRefreshedList<Value>(
  options: RefreshedListOptions<Value>,
): RefreshedList<Value> {
  const { name, what, monotonicMs } = options;
  const abort = new AbortController();
  const listeners: ((value: Value) => void)[] = [];
  let known: { bytes: Uint8Array; value: Value; at: number } | undefined;
  let failure: string | undefined;

  async function refresh(): Promise<void> {
    try {
      const bytes = await options.fetch(abort.signal);
      const at = monotonicMs();
      // Reading a list of a hundred thousand processes takes a tenth of a second: only when it has changed.
      if (known !== undefined && Buffer.compare(known.bytes, bytes) === 0) known.at = at;
      else take(bytes, at);
      if (failure !== undefined) options.onLoaded('the list is loaded again', { list: name });
      failure = undefined;
    } catch (error) {
      if (abort.signal.aborted) return;
      const reason = error instanceof Error ? error.message : String(error);
      // The same reason every few seconds would bury everything else.
      if (reason !== failure) {
        const sentence =
          known === undefined
            ? 'the list cannot be loaded: what it guards stays closed'
            : 'the list cannot be refreshed: the last one stays in force';
        options.onWarning(sentence, { list: name, reason });
      }
      failure = reason;
    }
  }

  function take(bytes: Uint8Array, at: number): void {
    const value = options.parse(bytes);
    known = { bytes, value, at };
    options.onLoaded('the list has changed', { list: name, bytes: bytes.length });
    for (const listener of listeners) listener(value);
  }

  async function run(): Promise<void> {
    while (!abort.signal.aborted) {
      await refresh();
      await options.pause(options.intervalMs, abort.signal);
    }
  }

  const running = run();

  return {
    require() {
      if (known !== undefined) return known.value;
      throw new SuError('not-ready', `${what} has not been loaded yet: try again later`, {
        retryAfterSeconds: 5,
        details: { list: name, failure },
      });
    },
    current: () => known?.value,
    state: () => ({
      name,
      loaded: known !== undefined,
      ageMs: known === undefined ? undefined : Math.max(0, Math.round(monotonicMs() - known.at)),
      failure,
    }),
    onChange(callback) {
      listeners.push(callback);
      if (known !== undefined) callback(known.value);
    },
    async close() {
      abort.abort();
      await running;
    },
  };
}
