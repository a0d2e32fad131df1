/**
 * Every failure the program foresees carries one of these codes. `http/error-status.ts` maps each to a
 * status and `cli/base-command.ts` to an exit code; both tables are exhaustive, so a new code does not
 * compile until it is mapped. The README lists them.
 */
export type ErrorCode =
  // input: the request or the item is wrong, sending it again cannot help
  | 'invalid-request'
  | 'invalid-data-item'
  | 'invalid-signature'
  | 'not-enough-confirmations'
  | 'body-too-large'
  | 'request-timeout'
  // not found
  | 'unknown-process'
  | 'unknown-entry'
  | 'unknown-transaction'
  | 'unknown-route'
  | 'method-not-allowed'
  // conflict and permission
  | 'duplicate-message'
  | 'not-allowed'
  // busy and unavailable: sending it again later is right
  | 'process-busy'
  | 'owner-busy'
  | 'scheduler-busy'
  | 'store-unavailable'
  | 'height-unavailable'
  | 'not-ready'
  | 'gateway-unavailable'
  | 'gateway-timeout'
  | 'scheduler-unavailable'
  | 'scheduler-timeout'
  // the operator's: configuration, wallet, schema, folder
  | 'invalid-config'
  | 'invalid-wallet'
  | 'schema-damaged'
  | 'folder-refused'
  | 'folder-in-use'
  | 'refused-by-store'
  | 'interrupted'
  // ours: a promise of the program does not hold
  | 'invariant';

export interface SuErrorOptions {
  /** For the log, never for a client: ids, sizes, names. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
  /** Seconds a client should wait before it sends the request again. */
  readonly retryAfterSeconds?: number;
}

/** A foreseen failure: a code from the closed list and a sentence for its reader. */
export class SuError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: SuErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SuError';
    this.code = code;
    this.details = options.details ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/**
 * An entry of the log that is stored and cannot be read: its bytes are damaged, or belong to another entry. Told apart from
 * other broken promises because it is never left out in silence: whoever meets it names it in the log and counts it.
 */
export class DamagedEntryError extends SuError {
  /** @param details names the entry: `processId` and, for a message, `nonce` */
  constructor(message: string, details: Readonly<Record<string, unknown>>, cause?: unknown) {
    super('invariant', message, { details, cause });
  }
}

/**
 * Guards what must hold by construction.
 *
 * @throws SuError `invariant` when it does not: a bug of ours or a damaged store, never a user's mistake.
 */
export function invariant(
  holds: boolean,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): asserts holds {
  if (!holds) throw new SuError('invariant', message, details === undefined ? {} : { details });
}

/** True when `error` is a SuError, with one of `codes` when any are given. */
export function isSuError(error: unknown, ...codes: readonly ErrorCode[]): error is SuError {
  return error instanceof SuError && (codes.length === 0 || codes.includes(error.code));
}
