/** A job that stops at a good place when it is told to. */
export interface StopSignal {
  /** Given with the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Leaves signals to their usual effect again. */
  release(): void;
}

/** One Ctrl-C may arrive twice, from the terminal and passed on by npm; only what comes later is a second word. */
const ECHO_MS = 300;

const STATUSES = { SIGINT: 130, SIGTERM: 143 } as const;

/** The first signal asks the job to stop, a second one ends the program at once. */
export function abortOnSignal(onFirst: () => void): StopSignal {
  const controller = new AbortController();
  let toldAt: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    if (toldAt !== undefined) {
      if (performance.now() - toldAt >= ECHO_MS)
        process.exit(STATUSES[name as keyof typeof STATUSES]);
      return;
    }
    toldAt = performance.now();
    onFirst();
    controller.abort();
  };
  const names = Object.keys(STATUSES) as (keyof typeof STATUSES)[];
  for (const name of names) process.on(name, onSignal);
  return {
    signal: controller.signal,
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}
