import { SingleBar } from 'cli-progress';

/** How a long job shows that it goes on. */
export interface Progress {
  /** @param note what else there is to say, short */
  update(done: number, total: number, note: string): void;
  /** Writes something else, such as a finding, without the bar running through it. */
  around(write: () => Promise<void>): Promise<void>;
  /** Ends the bar; may be called twice. */
  stop(): void;
}

export interface ProgressOptions {
  /** What is going on, in a word. */
  readonly name: string;
  /** What is counted. */
  readonly unit: string;
  /** Where it is shown; stderr when left out, so that results can be piped. */
  readonly stream?: NodeJS.WriteStream;
  /** How often a line is written where there is no terminal; 10 s when left out. */
  readonly lineMs?: number;
  readonly now?: () => number;
}

const LINE_MS = 10_000;
const ERASE_LINE = '\r\u001B[2K';

/** A bar on a terminal, elsewhere a line now and then. */
export function openProgress(options: ProgressOptions): Progress {
  const { stream = process.stderr } = options;
  return stream.isTTY ? openBar(options, stream) : openLines(options, stream);
}

function openBar({ name, unit }: ProgressOptions, stream: NodeJS.WriteStream): Progress {
  const bar = new SingleBar({
    format: `${name} [{bar}] {value}/{total} ${unit} {note}`,
    stream,
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    fps: 5,
    barCompleteChar: '#',
    barIncompleteChar: '-',
    // Ctrl-C is the command's: it says where the job goes on.
    gracefulExit: false,
  });
  let isShown = false;
  return {
    update(done, total, note) {
      if (!isShown) {
        bar.start(total, done, { note });
        isShown = true;
        return;
      }
      bar.setTotal(total);
      bar.update(done, { note });
    },
    async around(write) {
      if (isShown) stream.write(ERASE_LINE);
      await write();
    },
    stop() {
      if (isShown) bar.stop();
      isShown = false;
    },
  };
}

function openLines(
  { name, unit, lineMs = LINE_MS, now = () => performance.now() }: ProgressOptions,
  stream: NodeJS.WriteStream,
): Progress {
  let toldAt = now();
  return {
    update(done, total, note) {
      if (now() - toldAt < lineMs) return;
      toldAt = now();
      stream.write(`${name}: ${done} of ${total} ${unit}, ${note}\n`);
    },
    around: (write) => write(),
    stop: () => undefined,
  };
}
