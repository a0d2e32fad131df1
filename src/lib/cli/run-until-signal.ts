import { SuError } from '../errors.js';

/** A program that runs until it is told to stop. */
export interface Running {
  /** Resolves when it has stopped, rejects when it stopped by itself. */
  readonly closed: Promise<void>;
  /** Finishes what was taken, then stops. */
  close(): Promise<void>;
}

export interface RunOptions<Program extends Running> {
  readonly open: () => Promise<Program>;
  readonly onOpen: (program: Program) => void;
  readonly onStopping: (signal: NodeJS.Signals) => void;
  /** How long `close` may take. */
  readonly closeDeadlineMs: number;
}

/**
 * One Ctrl-C under `npm start`, or one signal to its process group, arrives twice: from the terminal, and passed on by
 * npm. Only what comes later than this is a second word of the operator.
 */
const ECHO_MS = 300;

const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Opens the program and keeps it until SIGTERM or SIGINT, then closes it. A signal while it is being opened closes
 * it as soon as it is open; a second one ends the process at once, with the status a shell gives that signal.
 *
 * @throws SuError `interrupted` when the deadline passes before all was finished
 */
export async function runUntilSignal<Program extends Running>(
  options: RunOptions<Program>,
): Promise<void> {
  const signals = catchSignals(options.onStopping);
  try {
    const program = await options.open();
    options.onOpen(program);
    const stopped = program.closed.then(() => 'stopped' as const);
    const first = await Promise.race([signals.first.then(() => 'signal' as const), stopped]);
    if (first === 'stopped') {
      throw new SuError('invariant', 'the server stopped without being told to');
    }
    await closeBefore(program, options.closeDeadlineMs);
  } finally {
    signals.release();
  }
}

function catchSignals(onFirst: (signal: NodeJS.Signals) => void): {
  readonly first: Promise<void>;
  release(): void;
} {
  let toldAt: number | undefined;
  let tell: () => void = () => undefined;
  const first = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const onSignal = (signal: NodeJS.Signals): void => {
    if (toldAt !== undefined) {
      if (performance.now() - toldAt < ECHO_MS) return;
      // The operator's second word is "now": nothing is waited for, the next start recovers from the store.
      process.exit(SIGNALS[signal as keyof typeof SIGNALS]);
    }
    toldAt = performance.now();
    onFirst(signal);
    tell();
  };
  const names = Object.keys(SIGNALS) as (keyof typeof SIGNALS)[];
  for (const name of names) process.on(name, onSignal);
  return {
    first,
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}

async function closeBefore(program: Running, deadlineMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const sentence = `stopping took longer than ${deadlineMs / 1000} s and was cut short; nothing acknowledged is lost`;
      reject(new SuError('request-timeout', sentence));
    }, deadlineMs);
  });
  try {
    await Promise.race([program.close(), late]);
  } finally {
    clearTimeout(timer);
  }
}
