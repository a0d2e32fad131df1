import pg from 'pg';
import { SuError, isSuError } from '../../errors.js';

/** What a failed statement means for the caller. */
export type FailureKind =
  /** The database is away, overloaded or being restarted: nothing is wrong with what was asked. */
  | 'away'
  /** The whole transaction may be run again at once. */
  | 'again'
  /** The values themselves cannot be stored. */
  | 'content'
  /** A unique key is taken. */
  | 'taken'
  /** Tables or columns are not what they should be. */
  | 'schema'
  | 'other';

/** SQLSTATEs whose class alone would mislead. 2200H is a sequence that has run out, which no message is to blame for. */
const KIND_BY_STATE: Readonly<Record<string, FailureKind>> = {
  // Said by a standby that is asked to write.
  '0A000': 'away',
  '2200H': 'away',
  '23502': 'content',
  '23503': 'taken',
  '23505': 'taken',
  '23514': 'content',
  '25006': 'away',
  '25P03': 'away',
  '25P04': 'away',
  '26000': 'again',
  '40001': 'again',
  '40P01': 'again',
  '42P05': 'again',
  '42501': 'away',
  '42703': 'schema',
  '42804': 'schema',
  '42846': 'schema',
  '42P01': 'schema',
  '42P10': 'schema',
  '55P03': 'away',
  '57014': 'away',
};

const KIND_BY_CLASS: Readonly<Record<string, FailureKind>> = {
  '08': 'away',
  '22': 'content',
  '28': 'away',
  '3D': 'away',
  '53': 'away',
  '54': 'content',
  '57': 'away',
  '58': 'away',
};

/**
 * Sorts an error of the driver or the server by what it means. An error without an SQLSTATE that is not a
 * programming error comes from the connection: refused, reset, timed out, not resolved.
 */
export function classifyFailure(error: unknown): FailureKind {
  if (isSuError(error, 'store-unavailable')) return 'away';
  if (error instanceof SuError) return 'other';
  const state = sqlState(error);
  if (state !== undefined)
    return KIND_BY_STATE[state] ?? KIND_BY_CLASS[state.slice(0, 2)] ?? 'other';
  if (
    error instanceof TypeError ||
    error instanceof RangeError ||
    error instanceof ReferenceError
  ) {
    return 'other';
  }
  return 'away';
}

/** The five characters of a server error, undefined for anything else. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** Whether a statement failed only because one before it in its transaction had. */
export function isConsequence(error: unknown): boolean {
  return sqlState(error) === '25P02';
}

/** Whether a statement that was prepared in this session belongs to another one, or another's to this one. */
export function isLostStatement(error: unknown): boolean {
  const state = sqlState(error);
  return state === '26000' || state === '42P05';
}

/** Whether a kept plan gives other columns than it did, because a table was changed; the connection is given up with it. */
export function isOutdatedPlan(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.routine === 'RevalidateCachedQuery';
}

/** The name of the violated constraint or unique index, when the server says it. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.constraint : undefined;
}

/**
 * The SuError to throw for `error`: `store-unavailable` when the database is away or busy, `schema-damaged` when its
 * tables are not ours, and the error itself when it is neither (a bug, or a SuError already).
 */
export function toStoreError(error: unknown): unknown {
  if (error instanceof SuError) return error;
  const details = { reason: describe(error), sqlState: sqlState(error) };
  switch (classifyFailure(error)) {
    case 'away':
    case 'again':
      return new SuError(
        'store-unavailable',
        'the database cannot be reached or is too busy: try again',
        {
          cause: error,
          details,
          retryAfterSeconds: 2,
        },
      );
    case 'schema':
      return new SuError(
        'schema-damaged',
        `the database's tables are not as expected: ${describe(error)}`,
        {
          cause: error,
          details,
        },
      );
    case 'content':
    case 'taken':
    case 'other':
      return error;
  }
}

/** One line about a driver error for the log. `connect` errors of several addresses come as an empty AggregateError. */
export function describe(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') {
    return error.errors.map((inner: unknown) => describe(inner)).join('; ');
  }
  return error instanceof Error ? error.message : String(error);
}
