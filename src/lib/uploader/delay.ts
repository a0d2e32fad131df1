/** Waits `ms` milliseconds, or until `signal` is aborted if that is sooner. Never rejects. */
export type Delay = (ms: number, signal: AbortSignal) => Promise<void>;

/** The Delay of production: a timer. */
export const delayByTimer: Delay = (ms, signal) =>
  new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener('abort', finish, { once: true });
  });
