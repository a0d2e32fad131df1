import type { RowPosition } from '../migrator/ports.js';
import type { Id } from '../protocol/ids.js';
import { timestampOf } from './check-entry.js';
import type { CheckedEntry } from './checked-entry.js';
import type { Finding } from './findings.js';
import { skipTo, step, type WalkState } from './log-walk.js';
import type { AuditedLog, EntryChecks, RawEntry } from './ports.js';
import type { Slots } from './slots.js';

/** How far one log is audited. */
export interface LogState {
  /** The last entry that was checked; undefined before the first. */
  readonly position: RowPosition | undefined;
  readonly walk: WalkState;
  /** Signatures that could not be verified. */
  readonly unverified: number;
}

/** What a piece of a log has told. */
export interface LogStep {
  readonly state: LogState;
  readonly findings: readonly Finding[];
  readonly entries: number;
  readonly signatures: number;
}

export interface VerifyLogOptions {
  readonly checks: EntryChecks;
  /** Pieces of all logs that are in memory. */
  readonly slots: Slots;
  /** Entries before then (ms) are not checked. */
  readonly since: number | undefined;
  readonly signatures: boolean;
  readonly signal: AbortSignal;
}

/** A piece that is being checked. */
interface Piece {
  readonly checked: Promise<readonly CheckedEntry[]>;
  /** The entry before the first that counts. */
  readonly skipped: Promise<readonly CheckedEntry[]> | undefined;
}

/**
 * Audits one log from `start`: its entries are checked by themselves on all threads, several pieces at a time, and then
 * followed one after the other. Yields after each piece; ends early, without an error, when the signal is given.
 */
export async function* verifyLog(
  log: AuditedLog,
  start: LogState,
  options: VerifyLogOptions,
): AsyncGenerator<LogStep> {
  const { slots, since, signal } = options;
  const reader = log.readEntries({ after: start.position, since })[Symbol.asyncIterator]();
  const ahead: Piece[] = [];
  let state = start;
  let hasBegun = since === undefined || start.position !== undefined;
  let hasEnded = false;
  try {
    while (!signal.aborted) {
      // The piece that is next has its slot in any case, those behind it only while there are free ones.
      while (!hasEnded && (ahead.length === 0 || slots.tryTake())) {
        if (ahead.length === 0) await slots.take();
        const piece = await readPiece(log.processId, { reader, options, hasBegun }).catch(
          (error: unknown) => {
            slots.release();
            throw error;
          },
        );
        if (piece === undefined) {
          slots.release();
          hasEnded = true;
        } else {
          hasBegun ||= piece.hasBegun;
          ahead.push(piece);
        }
      }
      const piece = ahead.shift();
      if (piece === undefined) return;
      try {
        const result = await walk(log.processId, state, piece);
        state = result.state;
        yield result;
      } finally {
        slots.release();
      }
    }
  } finally {
    for (const _ of ahead) slots.release();
    await reader.return?.();
  }
}

async function readPiece(
  processId: Id,
  {
    reader,
    options,
    hasBegun,
  }: {
    readonly reader: AsyncIterator<readonly RawEntry[]>;
    readonly options: VerifyLogOptions;
    readonly hasBegun: boolean;
  },
): Promise<(Piece & { readonly hasBegun: boolean }) | undefined> {
  const { checks, signatures, since = 0 } = options;
  const next = await reader.next();
  if (next.done === true) return undefined;
  const entries = next.value;
  const first = hasBegun ? 0 : entries.findIndex((entry) => (timestampOf(entry) ?? since) >= since);
  const from = first === -1 ? entries.length : first;
  const before = entries[from - 1];
  const check = (some: readonly RawEntry[], verify: boolean): Promise<readonly CheckedEntry[]> => {
    const checked = checks.check(processId, some, { signatures: verify });
    // Awaited in its turn, which may come after it has failed.
    checked.catch(() => undefined);
    return checked;
  };
  return {
    skipped: before === undefined ? undefined : check([before], false),
    checked: check(entries.slice(from), signatures),
    hasBegun: from < entries.length,
  };
}

async function walk(processId: Id, before: LogState, piece: Piece): Promise<LogStep> {
  const [skipped] = (await piece.skipped) ?? [];
  let state = skipped === undefined ? before.walk : skipTo(before.walk, skipped);
  const checked = await piece.checked;
  const findings: Finding[] = [];
  let { unverified } = before;
  let signatures = 0;
  for (const entry of checked) {
    const next = step(processId, state, entry);
    ({ state } = next);
    findings.push(...next.findings);
    unverified += entry.unverified;
    signatures += entry.signatures;
  }
  return {
    state: { position: checked.at(-1)?.row ?? before.position, walk: state, unverified },
    findings,
    entries: checked.length,
    signatures,
  };
}
