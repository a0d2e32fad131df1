import { isSuError, type ErrorCode } from '../errors.js';

/** The HTTP status of every foreseen failure. Exhaustive: a new code does not compile until it is here. */
export const ERROR_STATUS: Readonly<Record<ErrorCode, number>> = {
  'invalid-request': 400,
  'invalid-data-item': 400,
  'invalid-signature': 400,
  'not-enough-confirmations': 400,
  // The store found the item's content impossible to keep: sending it again cannot help, so it is no 500.
  'refused-by-store': 400,
  'not-allowed': 403,
  'unknown-process': 404,
  'unknown-entry': 404,
  'unknown-transaction': 404,
  'unknown-route': 404,
  // Scheduler Units in the field answer 404 to a method they do not serve, so 405 is not used; `Allow` tells.
  'method-not-allowed': 404,
  'request-timeout': 408,
  'duplicate-message': 409,
  'body-too-large': 413,
  'process-busy': 429,
  'owner-busy': 429,
  'scheduler-busy': 503,
  'store-unavailable': 503,
  'height-unavailable': 503,
  'not-ready': 503,
  interrupted: 503,
  'gateway-unavailable': 502,
  'gateway-timeout': 504,
  'scheduler-unavailable': 502,
  'scheduler-timeout': 504,
  'invalid-config': 500,
  'invalid-wallet': 500,
  'schema-damaged': 500,
  'folder-refused': 500,
  'folder-in-use': 500,
  invariant: 500,
};

/** What a client is told when it should come back and the failure itself names no time. */
const RETRY_AFTER_SECONDS = 1;

/** A failure as a client sees it. */
export interface ErrorAnswer {
  readonly status: number;
  /** The sentence for `{"error": …}`. */
  readonly message: string;
  /** Undefined: no `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;
}

/**
 * Turns any failure into what a client may see of it. A 500 is our fault, so its text stays in the log: it would name
 * parts of the program that mean nothing to a client.
 */
export function answerForError(error: unknown): ErrorAnswer {
  const status = isSuError(error) ? ERROR_STATUS[error.code] : 500;
  if (!isSuError(error) || status === 500) {
    return { status: 500, message: 'internal error', retryAfterSeconds: undefined };
  }
  const retryable = status === 429 || status === 503;
  return {
    status,
    message: error.message,
    retryAfterSeconds: retryable
      ? Math.max(1, Math.ceil(error.retryAfterSeconds ?? RETRY_AFTER_SECONDS))
      : undefined,
  };
}
