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
}

/**
 * Opens the log: one JSON line per event, on stderr so that stdout stays a command's answer. Lines are written at once
 * and synchronously: asynchronous writes would queue with the signatures in libuv's thread pool, and buffered ones are
 * lost exactly when they are wanted.
 */
export function openLog(options: LogOptions = {}): Log {
  const fd = options.fd ?? 2;
  const isPretty = options.isPretty ?? (options.destination === undefined && isatty(fd));
  const plain = options.destination ?? pino.destination({ fd, sync: true });
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
