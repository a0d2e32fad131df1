import { MultiBar, type SingleBar } from 'cli-progress';

/** How a job that runs in segments shows that it goes on. */
export interface SegmentProgress {
  /** The rows of each segment; `done` were finished before this run. */
  begin(segments: readonly number[], done: number): void;
  /** So many rows more of a segment. */
  advance(segment: number, rows: number): void;
  /** Says something beside it. */
  say(line: string): void;
  /** Ends it; may be called twice. */
  stop(): void;
}

export interface SegmentProgressOptions {
  /** What is counted. */
  readonly unit: string;
  /** stderr when left out, so that results can be piped. */
  readonly stream?: NodeJS.WriteStream;
  /** How often a line is written where there is no terminal; 10 s when left out. */
  readonly lineMs?: number;
  readonly now?: () => number;
}

const LINE_MS = 10_000;

/** A bar for each segment and one for all on a terminal, elsewhere a line now and then. */
export function openSegmentProgress(options: SegmentProgressOptions): SegmentProgress {
  const { stream = process.stderr } = options;
  return stream.isTTY ? openBars(options, stream) : openLines(options, stream);
}

function openBars(options: SegmentProgressOptions, stream: NodeJS.WriteStream): SegmentProgress {
  const bars = new MultiBar({
    format: `{name} [{bar}] {value}/{total} ${options.unit} {note}`,
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
  const rate = makeRate(options);
  let all: SingleBar | undefined;
  let parts: readonly SingleBar[] = [];
  return {
    begin(segments, done) {
      rate.begin(segments, done);
      const total = done + segments.reduce((sum, rows) => sum + rows, 0);
      all = bars.create(total, done, { name: 'all', note: '' });
      parts = segments.map((rows, index) =>
        bars.create(rows, 0, { name: String(index + 1).padStart(3), note: '' }),
      );
    },
    advance(segment, rows) {
      rate.add(rows);
      parts[segment]?.increment(rows);
      all?.increment(rows, { note: rate.note() });
    },
    say: (line) => bars.log(`${line}\n`),
    stop: () => bars.stop(),
  };
}

function openLines(options: SegmentProgressOptions, stream: NodeJS.WriteStream): SegmentProgress {
  const { unit, lineMs = LINE_MS, now = () => performance.now() } = options;
  const rate = makeRate(options);
  let toldAt = now();
  return {
    begin: (segments, done) => rate.begin(segments, done),
    advance(_segment, rows) {
      rate.add(rows);
      if (now() - toldAt < lineMs) return;
      toldAt = now();
      stream.write(`${rate.done()} of ${rate.total()} ${unit}, ${rate.note()}\n`);
    },
    say: (line) => void stream.write(`${line}\n`),
    stop: () => undefined,
  };
}

interface Rate {
  begin(segments: readonly number[], done: number): void;
  add(rows: number): void;
  done(): number;
  total(): number;
  /** How fast, and how long still. */
  note(): string;
}

function makeRate({ now = () => performance.now() }: SegmentProgressOptions): Rate {
  let before = 0;
  let added = 0;
  let total = 0;
  let startedAt = now();
  return {
    begin(segments, done) {
      before = done;
      total = done + segments.reduce((sum, rows) => sum + rows, 0);
      startedAt = now();
    },
    add: (rows) => (added += rows),
    done: () => before + added,
    total: () => total,
    note() {
      const perSecond = added / Math.max(0.001, (now() - startedAt) / 1000);
      const left = Math.max(0, total - before - added) / Math.max(1, perSecond);
      return `${perSecond.toFixed(0)}/s, ${formatSeconds(left)} left`;
    },
  };
}

function formatSeconds(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
