import { Command } from '@oclif/core';
import type { ErrorCode, SuError } from '../errors.js';

/** What the exit status of every command means; the help texts and the README say the same. */
export const EXIT_STATUS_MEANINGS = {
  0: 'done',
  1: 'ran, and failed or found faults',
  2: 'could not run: usage, configuration, wallet, folder, or the store is away',
  70: 'a bug of this program: please report it',
  130: 'stopped before it was done, su serve by a second Ctrl-C (143: a second SIGTERM)',
  141: 'whoever read the output has gone',
} as const;

export type ExitStatus = keyof typeof EXIT_STATUS_MEANINGS;

/** The exit status for each foreseen failure; a new code does not compile until it is mapped. */
export const EXIT_STATUSES: Readonly<Record<ErrorCode, ExitStatus>> = {
  'invalid-request': 1,
  'invalid-data-item': 1,
  'invalid-signature': 1,
  'not-enough-confirmations': 1,
  'body-too-large': 1,
  'request-timeout': 1,
  'unknown-process': 1,
  'unknown-entry': 1,
  'unknown-transaction': 1,
  'unknown-route': 1,
  'method-not-allowed': 1,
  'duplicate-message': 1,
  'not-allowed': 1,
  'process-busy': 1,
  'owner-busy': 1,
  'scheduler-busy': 1,
  'store-unavailable': 2,
  'height-unavailable': 1,
  'not-ready': 1,
  'gateway-unavailable': 1,
  'gateway-timeout': 1,
  'scheduler-unavailable': 1,
  'scheduler-timeout': 1,
  'invalid-config': 2,
  'invalid-wallet': 2,
  'schema-damaged': 2,
  'folder-refused': 2,
  'folder-in-use': 2,
  'refused-by-store': 1,
  interrupted: 130,
  invariant: 70,
};

/** What oclif and Node throw when the fault is outside this program, as far as they can be told apart. */
const SYSTEM_CODES_OF_THE_MACHINE = new Set([
  'EADDRINUSE',
  'EADDRNOTAVAIL',
  'EACCES',
  'EPERM',
  'ENOSPC',
  'EROFS',
]);

/** A failure as the command line shows it. */
export interface Failure {
  readonly status: number;
  /** For the reader; several lines only where several things are wrong. Empty: nothing is to be said. */
  readonly sentence: string;
  readonly code: string;
}

/** How node-gyp-build begins when a package was installed without its binary. */
const NO_NATIVE_BUILD = 'No native build was found';
const NO_ROCKSDB =
  `RocksDB is not built for ${process.platform} on ${process.arch} here: with a C++ compiler, cmake and python3, ` +
  'npm rebuild rocksdb builds it (npm may want its install script allowed); a database in DATABASE_URL needs none';

/** Turns anything thrown into a sentence and an exit status; an error nobody foresaw is a bug of ours. */
export function describeFailure(error: unknown): Failure {
  if (isForeseen(error)) {
    return { status: EXIT_STATUSES[error.code], sentence: error.message, code: error.code };
  }
  if (!(error instanceof Error)) {
    return { status: 70, sentence: `a bug of this program: ${String(error)}`, code: 'unknown' };
  }
  if (error.message.startsWith(NO_NATIVE_BUILD)) {
    return { status: 2, sentence: NO_ROCKSDB, code: 'no-native-build' };
  }
  const { oclif, code } = error as { oclif?: { exit?: number }; code?: unknown };
  if (code === 'EEXIT') return { status: oclif?.exit ?? 0, sentence: '', code: 'exit' };
  // The command line's parser: usage.
  if (oclif?.exit !== undefined) {
    return { status: 2, sentence: usageSentence(error.message), code: 'usage' };
  }
  if (typeof code === 'string' && SYSTEM_CODES_OF_THE_MACHINE.has(code)) {
    return { status: 2, sentence: error.message, code };
  }
  return { status: 70, sentence: `a bug of this program: ${error.message}`, code: 'unknown' };
}

/** By name and code: where the sources run through a loader, a module and its classes may exist twice. */
function isForeseen(error: unknown): error is SuError {
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  return name === 'SuError' && typeof code === 'string' && code in EXIT_STATUSES;
}

/** The parser spreads a sentence over lines, and ends with one on `--help`. */
function usageSentence(message: string): string {
  const lines = message
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && line !== 'See more help with --help');
  return `${lines.join(' ')} (--help tells more)`;
}

/** What every command shares: one way to fail, and exit statuses in its help. */
export abstract class BaseCommand extends Command {
  /** With `--json` a failure is JSON on stdout too; the sentence goes to stderr as ever. */
  protected override toErrorJson(error: unknown): { error: string; code: string } {
    const { sentence, code } = describeFailure(error);
    return { error: sentence, code };
  }

  /** Failures are shown in one place, `runCli`, whether a command or the parser before it threw. */
  protected override catch(error: Error): Promise<never> {
    if (this.jsonEnabled()) this.logJson(this.toErrorJson(error));
    return Promise.reject(error);
  }
}

/** The lines on exit statuses at the end of a command's help. */
export function exitStatusHelp(...statuses: readonly ExitStatus[]): string {
  const lines = statuses.map(
    (status) => `  ${String(status).padEnd(3)}  ${EXIT_STATUS_MEANINGS[status]}`,
  );
  return ['Exit status:', ...lines].join('\n');
}
