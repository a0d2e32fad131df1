import { writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isatty } from 'node:tty';
import { pino, type DestinationStream, type Logger } from 'pino';
import { LogDestination } from './log-destination.js';

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

const opened = new Set<LogDestination>();
const require = createRequire(import.meta.url);

/**
 * Opens the log: one JSON line per event, on stderr so that stdout stays a command's answer. Lines are written at once,
 * since those that wait are lost exactly when they are wanted. With `gatherMs` information waits a moment, which spares a
 * server a write for each request; a warning or an error goes out at once with all before it, and so does everything
 * when the program ends. Lines for people never wait.
 */
export function openLog(options: LogOptions = {}): Log {
  const fd = options.fd ?? 2;
  const isPretty = options.isPretty ?? (options.destination === undefined && isatty(fd));
  const plain = options.destination ?? openDestination(fd, isPretty ? 0 : (options.gatherMs ?? 0));
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

function openDestination(fd: number, gatherMs: number): DestinationStream {
  const lines = new LogDestination({
    write: (bytes) => writeSync(fd, bytes),
    gatherMs,
    describeLoss,
  });
  if (opened.size === 0) process.once('exit', finishAll);
  opened.add(lines);
  const destination = {
    // Pino notes the level of each line at a stream that asks for it.
    [pino.symbols.needsMetadataGsym]: true,
    lastLevel: 0,
    write: (line: string): void => lines.write(line, destination.lastLevel),
  };
  return destination;
}

function describeLoss(lines: number): string {
  const time = new Date().toISOString();
  const msg = 'the log could not be written for a while: lines are missing here';
  return `${JSON.stringify({ level: 'warn', time, event: 'log-lines-dropped', lines, msg })}\n`;
}

function finishAll(): void {
  for (const destination of opened) destination.finish();
}

function prettyStream(plain: DestinationStream, colorize: boolean): DestinationStream {
  // Loaded where lines are for people: servers and scripts start sooner without it.
  const { prettyFactory } = require('pino-pretty') as typeof import('pino-pretty');
  const pretty = prettyFactory({
    colorize,
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss.l',
    ignore: 'event',
    messageFormat: '{event}{if msg} {msg}{end}',
  });
  return { write: (line) => plain.write(pretty(line)) };
}
