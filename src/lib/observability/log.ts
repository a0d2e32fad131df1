import { isatty } from 'node:tty';
import { pino, type DestinationStream, type Logger } from 'pino';
import { prettyFactory } from 'pino-pretty';

/** What the program writes its log with: part of pino's logger, so that tests can pass any pino. */
export type Log = Pick<
  Logger,
  'error' | 'warn' | 'info' | 'debug' | 'child' | 'isLevelEnabled' | 'level'
>;

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'silent';

export interface LogOptions {
  readonly level?: LogLevel;
  /** 1 is stdout, 2 stderr. */
  readonly fd?: 1 | 2;
  /** Lines for people instead of JSON; by default when `fd` is a terminal. */
  readonly isPretty?: boolean;
  /** Where lines go instead of `fd`. */
  readonly destination?: DestinationStream;
  /** For programs that write a line for each request: information may wait this long for more of it, ms. */
  readonly gatherMs?: number;
}

/** What a server's log is opened with. */
export const SERVER_LOG: LogOptions = { gatherMs: 100 };

/** Pino's number for `warn`. */
const WARNING = 40;
/** So many bytes do not wait. */
const GATHERED_BYTES_MAX = 8_192;
const gathered = new Set<{ flushSync(): void }>();

/**
 * Opens the log: one JSON line per event, on stderr so that stdout stays a command's answer. Lines are written
 * synchronously, since asynchronous writes would queue with the signatures in libuv's thread pool, and at once, since
 * those that wait are lost exactly when they are wanted. With `gatherMs` information waits a moment, which spares a server
 * a write for each request; a warning or an error goes out at once with all before it, and so does everything when
 * the program ends. Lines for people never wait.
 */
export function openLog(options: LogOptions = {}): Log {
  const fd = options.fd ?? 2;
  const isPretty = options.isPretty ?? (options.destination === undefined && isatty(fd));
  const plain =
    options.destination ??
    (options.gatherMs === undefined || isPretty
      ? pino.destination({ fd, sync: true })
      : gatheringDestination(fd, options.gatherMs));
  return pino(
    {
      level: options.level ?? 'info',
      // The machine and the process id are the collector's to add.
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      serializers: { err: pino.stdSerializers.errWithCause },
    },
    isPretty ? prettyStream(plain, options.destination === undefined && isatty(fd)) : plain,
  );
}

function gatheringDestination(fd: number, gatherMs: number): DestinationStream {
  const plain = pino.destination({
    fd,
    sync: true,
    minLength: GATHERED_BYTES_MAX,
    periodicFlush: gatherMs,
  });
  if (gathered.size === 0) process.once('exit', flushGathered);
  gathered.add(plain);
  const destination = {
    // Pino notes the level of each line at a stream that asks for it.
    [pino.symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write(line: string): void {
      plain.write(line);
      if (destination.lastLevel >= WARNING) plain.flushSync();
    },
  };
  return destination;
}

function flushGathered(): void {
  for (const destination of gathered) destination.flushSync();
}

function prettyStream(plain: DestinationStream, colorize: boolean): DestinationStream {
  const pretty = prettyFactory({
    colorize,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'event',
    messageFormat: '{event}{if msg} {msg}{end}',
  });
  return { write: (line) => plain.write(pretty(line)) };
}
