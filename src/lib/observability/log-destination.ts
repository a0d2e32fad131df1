/*
 * Where the lines of a log go: a file descriptor that is written synchronously, since asynchronous writes would queue with the
 * signatures in libuv's thread pool. The library that pino brings for this repeats a write that fails, with the event loop
 * asleep in between, until it succeeds: a full disk under the log, or a reader that went away, would stop the program.
 *
 * Promises:
 * - lines are written whole and in order; a warning or an error at once, with all that came before; information waits at most
 *   `gatherMs` for more of it;
 * - a write that fails stops nobody: what could not be written is kept and tried again with the next line and every
 *   RETRY_MS; beyond KEPT_BYTES_MAX lines are dropped, and how many is told once writing works again;
 * - when nobody can read any more (EPIPE) lines are dropped from then on;
 * - what waits when the program ends is written by `finish`, which gives a slow reader EXIT_TRIES moments.
 */

/** Pino's number for `warn`. */
const WARNING = 40;

/** So many bytes do not wait. */
const GATHERED_BYTES_MAX = 8_192;
const KEPT_BYTES_MAX = 1024 * 1024;
const RETRY_MS = 1_000;
const EXIT_TRIES = 20;
const EXIT_TRY_MS = 10;

export interface LogDestinationOptions {
  /** Writes bytes as `fs.writeSync` does: returns how many, throws the system's errors. */
  readonly write: (bytes: Uint8Array) => number;
  /** How long information may wait for more of it, ms; 0: not at all. */
  readonly gatherMs: number;
  /** A line, with its end, that tells of lines that were dropped. */
  readonly describeLoss: (lines: number) => string;
}

export class LogDestination {
  readonly #options: LogDestinationOptions;
  /** What is to be written next. */
  #writing: Buffer = Buffer.alloc(0);
  #lines: string[] = [];
  #linesBytes = 0;
  #dropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #isReaderGone = false;

  constructor(options: LogDestinationOptions) {
    this.#options = options;
  }

  /** Takes a line, with its end and pino's number of its level. Never throws. */
  write(line: string, level: number): void {
    if (this.#isReaderGone) return;
    const bytes = Buffer.byteLength(line);
    if (this.#linesBytes + this.#writing.length + bytes > KEPT_BYTES_MAX) {
      this.#dropped += 1;
      return;
    }
    this.#lines.push(line);
    this.#linesBytes += bytes;
    const { gatherMs } = this.#options;
    if (gatherMs === 0 || level >= WARNING || this.#linesBytes >= GATHERED_BYTES_MAX) this.#flush();
    else this.#flushLater(gatherMs);
  }

  /** Writes what waits, for a program that ends. */
  finish(): void {
    this.#flush();
    for (let tries = 0; this.#writing.length > 0 && tries < EXIT_TRIES; tries += 1) {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, EXIT_TRY_MS);
      this.#flush();
    }
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#writing.length > 0 || this.#takeLines()) {
      let bytes = 0;
      try {
        bytes = this.#options.write(this.#writing);
      } catch (error) {
        if (isReaderGone(error)) {
          this.#giveUp();
          return;
        }
      }
      this.#writing = this.#writing.subarray(bytes);
      if (bytes === 0) {
        this.#flushLater(RETRY_MS);
        return;
      }
    }
  }

  /** False when there are none. */
  #takeLines(): boolean {
    if (this.#dropped > 0) {
      this.#lines.push(this.#options.describeLoss(this.#dropped));
      this.#dropped = 0;
    }
    this.#writing = Buffer.from(this.#lines.join(''), 'utf8');
    this.#lines = [];
    this.#linesBytes = 0;
    return this.#writing.length > 0;
  }

  #flushLater(ms: number): void {
    this.#timer ??= setTimeout(() => this.#flush(), ms).unref();
  }

  #giveUp(): void {
    this.#isReaderGone = true;
    this.#writing = Buffer.alloc(0);
    this.#lines = [];
    this.#linesBytes = 0;
  }
}

function isReaderGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE';
}
