import { parseDecimal } from '../protocol/assignment.js';
import type { Id } from '../protocol/ids.js';
import { findTag, type Tag } from '../protocol/tags.js';
import { checkStored, type StoredRow } from './check-stored.js';
import { checkWire } from './check-wire.js';
import type { CheckedEntry } from './checked-entry.js';
import type { EntryChecks, RawEntry } from './ports.js';
import { takeApart } from './take-apart.js';
import { SignatureVerifier } from './verify-signature.js';

/** Checks one entry by itself. @param verifier undefined: signatures are not verified */
export function checkEntry(
  entry: RawEntry,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedEntry> {
  return entry.kind === 'wire' ? checkWire(entry, verifier) : checkStored(entry, verifier);
}

/** Checks on the thread that asks: for a handful of entries. */
export function checksInPlace(): EntryChecks {
  const verifier = new SignatureVerifier();
  return {
    parallel: 1,
    async check(_processId: Id, entries, { signatures }) {
      const checked: CheckedEntry[] = [];
      for (const entry of entries) {
        checked.push(await checkEntry(entry, signatures ? verifier : undefined));
      }
      return checked;
    },
    close: () => Promise.resolve(),
  };
}

/** When an entry was scheduled, ms, as its source says without looking at its bytes. */
export function timestampOf(entry: RawEntry): number | undefined {
  if (entry.kind !== 'wire') return entry.row.timestamp ?? timestampOfBundle(entry);
  const { node } = entry;
  if (typeof node !== 'object' || node === null) return undefined;
  const { assignment, timestamp } = node as {
    assignment?: { tags?: readonly Tag[] } | null;
    timestamp?: unknown;
  };
  const tags = Array.isArray(assignment?.tags) ? assignment.tags : [];
  const text = findTag(tags, 'Timestamp') ?? timestamp;
  const value = Number(text);
  return text === undefined || !Number.isSafeInteger(value) ? undefined : value;
}

/** A process without an assignment has its time on the wrapper alone. */
function timestampOfBundle({ kind, row }: StoredRow): number | undefined {
  try {
    const { assignment, wrapper } = takeApart(row.bundle, kind);
    return parseDecimal(findTag((assignment ?? wrapper).tags, 'Timestamp') ?? '');
  } catch {
    // What cannot be read is for the check to name.
    return undefined;
  }
}
