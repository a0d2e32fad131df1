import { SuError } from '../../errors.js';

/** An error of a read as the ports promise it; a SuError stays what it is. */
export function toReadError(cause: unknown): SuError {
  if (cause instanceof SuError) return cause;
  return new SuError('store-unavailable', 'the store could not be read', {
    cause,
    details: { reason: describeCause(cause) },
    retryAfterSeconds: 1,
  });
}

/** The innermost message of an error: abstract-level wraps what RocksDB says. */
export function describeCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : describeCause(error.cause);
}

/** The innermost `code` of an error. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const inner = codeOf(error.cause);
  if (inner !== undefined) return inner;
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

/** An error of opening a folder. */
export function toOpenError(folder: string, cause: unknown): SuError {
  const details = { folder, reason: describeCause(cause) };
  if (codeOf(cause) === 'LEVEL_LOCKED') {
    return new SuError(
      'folder-in-use',
      `another program has the store ${folder} open: stop it first, or give this one a folder of its own`,
      { cause, details },
    );
  }
  return new SuError(
    'folder-refused',
    `RocksDB cannot open the store ${folder}: ${details.reason}`,
    {
      cause,
      details,
    },
  );
}
