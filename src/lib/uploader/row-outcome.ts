import { isSuError } from '../errors.js';
import type { OutboxRow, Settlement, Upload, UploadResult } from './ports.js';
import { retryDelayMs } from './retry-delay.js';

/** The uploads of a row and, in the same order, what became of them. */
export interface RowTries {
  readonly uploads: readonly Upload[];
  readonly results: readonly UploadResult[];
}

export interface OutcomeOptions {
  readonly limits: { readonly retryFirstMs: number; readonly retryLongestMs: number };
  /** From 0 up to, not including, 1. */
  readonly random: number;
}

/** What tells a row apart in the log. */
export function idsOf(row: OutboxRow): Readonly<Record<string, unknown>> {
  const { key, processId, messageId, assignmentId, attempts } = row;
  return { key, processId, messageId, assignmentId, attempts };
}

/** How many uploads the UPLOAD_* bits of a row stand for. */
export function countParts(parts: number): number {
  return [1, 2, 4].filter((bit) => (parts & bit) !== 0).length;
}

/** The UPLOAD_* bits of a row that the bundler has not accepted. */
export function partsLeft(
  row: OutboxRow,
  uploads: readonly Upload[],
  results: readonly UploadResult[],
): number {
  return uploads.reduce(
    (parts, upload, index) =>
      results[index]?.status === 'accepted' ? parts & ~upload.part : parts,
    row.parts,
  );
}

/**
 * What the tries of a row come to. While any of its parts may still go through it is tried again, and only with the
 * parts that are left; it is parked when all that is left was refused or is not in the store.
 */
export function settlementOf(row: OutboxRow, tries: RowTries, options: OutcomeOptions): Settlement {
  const { uploads, results } = tries;
  const parts = partsLeft(row, uploads, results);
  if (parts === 0) return { key: row.key, status: 'done' };
  const reason = reasonOf(results);
  if (!results.some(isPassing)) return { key: row.key, status: 'parked', parts, reason };
  return { key: row.key, status: 'retry', parts, delayMs: delayOf(row, results, options), reason };
}

/**
 * What a row comes to whose uploads could not be made. Only bytes that are damaged or missing stay as they are; anything else (a store
 * that is away or refuses, memory that is short, a bug) may pass, and is tried again as what the bundler fails.
 */
export function settlementOfFailure(
  row: OutboxRow,
  error: unknown,
  options: OutcomeOptions,
): Settlement & { readonly status: 'retry' | 'parked' } {
  const { key, parts } = row;
  if (isSuError(error, 'invariant', 'invalid-data-item')) {
    const reason = 'its bytes cannot be read from the store';
    return { key, status: 'parked', parts, reason };
  }
  const reason = error instanceof Error ? error.message : String(error);
  return { key, status: 'retry', parts, delayMs: delayOf(row, [], options), reason };
}

/** Gives a row back as due at once: the server stops before it was through. */
export function released(row: OutboxRow, parts: number): Settlement {
  const reason = 'the server stopped before it was uploaded';
  return { key: row.key, status: 'retry', parts, delayMs: 0, reason };
}

function delayOf(
  row: OutboxRow,
  results: readonly UploadResult[],
  options: OutcomeOptions,
): number {
  const { retryFirstMs: firstMs, retryLongestMs: longestMs } = options.limits;
  if (results.some((result) => result.status === 'misconfigured')) return longestMs;
  const askedMs = results.map((result) =>
    result.status === 'failed' ? (result.retryAfterMs ?? 0) : 0,
  );
  const backoffMs = retryDelayMs(row.attempts, { firstMs, longestMs }, options.random);
  // A Retry-After of a day, by mistake or not, must not stop publication for a day.
  return Math.min(longestMs, Math.max(backoffMs, ...askedMs));
}

function isPassing(result: UploadResult): boolean {
  return result.status === 'failed' || result.status === 'misconfigured';
}

/** The reason that decides: a passing one before a refusal. */
function reasonOf(results: readonly UploadResult[]): string {
  const failed = results.find(isPassing) ?? results.find((result) => result.status === 'refused');
  return failed === undefined || failed.status === 'accepted'
    ? 'its bytes are not in the store'
    : failed.reason;
}
