import { firstLink, nextLink } from '../protocol/hash-chain.js';
import type { Id } from '../protocol/ids.js';
import type { CheckedEntry, Link } from './checked-entry.js';
import { FINDINGS, foldRemarks, type Finding, type Remark } from './findings.js';

/** How far a log was followed: all that the next entry is compared with. JSON, so that a checkpoint can hold it. */
export interface WalkState {
  /** The place of the last entry; undefined before the first. */
  readonly last: { readonly epoch: number; readonly nonce: number } | undefined;
  /** Where the last entry was kept, which is its place but for wrong columns. */
  readonly lastRow: { readonly epoch: number; readonly nonce: number } | undefined;
  /** The Hash-Chains that the next entry may have; null: it cannot be told. */
  readonly accepts: readonly string[] | null;
  /** Assignments at the last place. */
  readonly lastAssignments: readonly string[];
  /** Milliseconds. */
  readonly timestamp: number | undefined;
  /** Address of the wallet that signed the last assignment. */
  readonly owner: string | undefined;
  /** The process itself could not be read: its messages begin at 0 or 1. */
  readonly isBeginUnknown: boolean;
}

/** Before the first entry of a process. */
export function beginWalk(processId: Id): WalkState {
  return {
    last: undefined,
    lastRow: undefined,
    accepts: [firstLink(processId)],
    lastAssignments: [],
    timestamp: undefined,
    owner: undefined,
    isBeginUnknown: false,
  };
}

interface Step {
  readonly state: WalkState;
  readonly findings: readonly Finding[];
}

/** Follows a log by one entry: its place, its link and its time against those before it. */
export function step(processId: Id, state: WalkState, entry: CheckedEntry): Step {
  const remarks = [...entry.remarks];
  const next = entry.place === undefined ? standStill(state, entry) : move(state, entry, remarks);
  if (entry.owner !== undefined) {
    if (state.owner !== undefined && state.owner !== entry.owner) {
      remarks.push({
        code: 'owner-change',
        part: 'assignment',
        expected: state.owner,
        found: entry.owner,
      });
    }
  }
  return {
    state: { ...next, owner: entry.owner ?? state.owner },
    findings: toFindings(processId, entry, remarks),
  };
}

/** Goes on behind an entry that is not checked, because the audit begins later. */
export function skipTo(state: WalkState, entry: CheckedEntry): WalkState {
  const { place, timestamp } = entry;
  if (place === undefined) return state;
  return {
    ...state,
    last: place,
    lastRow: entry.row,
    accepts: continuations(entry.links),
    lastAssignments: entry.assignmentId === undefined ? [] : [entry.assignmentId],
    timestamp,
    owner: entry.owner,
  };
}

/** A process without an assignment takes no nonce. */
function standStill(state: WalkState, entry: CheckedEntry): WalkState {
  const isUnread = entry.remarks.some(({ part }) => part === 'entry');
  return { ...state, isBeginUnknown: entry.subject === 'process' && isUnread };
}

function move(state: WalkState, entry: CheckedEntry, remarks: Remark[]): WalkState {
  const place = entry.place ?? { epoch: 0, nonce: 0 };
  const order = compareToNext(state, place);
  const isSameRow =
    entry.subject === 'message' &&
    state.lastRow?.epoch === entry.row.epoch &&
    state.lastRow.nonce === entry.row.nonce;
  if (order === 'same' || isSameRow) remarks.push(duplicateOf(state, entry));
  if (order === 'same') return joinLast(state, entry);
  if (order === 'before') {
    // A wrong column that has already been named explains that the entry stands elsewhere.
    if (!remarks.some(({ code, part }) => code === 'stored-column' && part === 'place')) {
      remarks.push({
        code: 'nonce-order',
        part: 'entry',
        expected: `a nonce above ${state.last?.nonce ?? 0}`,
        found: `nonce ${place.nonce}`,
      });
    }
    return state;
  }
  if (order === 'beyond') remarks.push(holeBefore(state, place));
  else checkLink(state, entry, remarks);
  checkTime(state, entry, remarks);
  return {
    last: place,
    lastRow: entry.row,
    accepts: continuations(entry.links),
    lastAssignments: entry.assignmentId === undefined ? [] : [entry.assignmentId],
    timestamp: entry.timestamp ?? state.timestamp,
    owner: state.owner,
    isBeginUnknown: false,
  };
}

type Order = 'next' | 'same' | 'before' | 'beyond';

function compareToNext(
  { last, isBeginUnknown }: WalkState,
  { epoch, nonce }: { readonly epoch: number; readonly nonce: number },
): Order {
  if (last === undefined) {
    return nonce === 0 || (isBeginUnknown && nonce === 1) ? 'next' : 'beyond';
  }
  if (epoch === last.epoch) {
    if (nonce === last.nonce) return 'same';
    if (nonce < last.nonce) return 'before';
    return nonce === last.nonce + 1 ? 'next' : 'beyond';
  }
  if (epoch < last.epoch) return 'before';
  // No epoch but the first was ever seen: whether nonces begin anew in another is not known.
  return epoch === last.epoch + 1 && (nonce === 0 || nonce === last.nonce + 1) ? 'next' : 'beyond';
}

function duplicateOf({ last, lastAssignments }: WalkState, entry: CheckedEntry): Remark {
  const { assignmentId = 'one that cannot be read', row } = entry;
  const first = lastAssignments[0] ?? 'one that cannot be read';
  const nonce = entry.subject === 'process' ? (last?.nonce ?? 0) : row.nonce;
  return {
    code: 'nonce-duplicate',
    part: 'entry',
    nonce,
    expected: `one entry with nonce ${nonce}`,
    found:
      assignmentId === first
        ? `assignment ${first} twice`
        : `assignments ${first} and ${assignmentId}`,
  };
}

/** What comes behind a duplicate may continue either. */
function joinLast(state: WalkState, entry: CheckedEntry): WalkState {
  const more = continuations(entry.links);
  return {
    ...state,
    accepts:
      state.accepts === null || more === null ? null : [...new Set([...state.accepts, ...more])],
    lastAssignments:
      entry.assignmentId === undefined
        ? state.lastAssignments
        : [...new Set([...state.lastAssignments, entry.assignmentId])].slice(0, 16),
    timestamp: Math.min(
      state.timestamp ?? Number.MAX_SAFE_INTEGER,
      entry.timestamp ?? Number.MAX_SAFE_INTEGER,
    ),
  };
}

function holeBefore({ last }: WalkState, place: { readonly nonce: number }): Remark {
  const missing = (last?.nonce ?? -1) + 1;
  const count = place.nonce - missing;
  return {
    code: 'nonce-hole',
    part: 'entry',
    nonce: missing,
    expected: `nonce ${missing}`,
    found: `nonce ${place.nonce}${count > 1 ? ` (${count} are missing)` : ''}`,
  };
}

function checkLink({ accepts }: WalkState, { hashChain }: CheckedEntry, remarks: Remark[]): void {
  if (accepts === null || hashChain === undefined || accepts.includes(hashChain)) return;
  const expected = accepts[0] ?? 'none';
  remarks.push({ code: 'hash-chain', part: 'place', expected, found: hashChain });
}

function checkTime({ timestamp }: WalkState, entry: CheckedEntry, remarks: Remark[]): void {
  if (timestamp === undefined || entry.timestamp === undefined || entry.timestamp > timestamp)
    return;
  remarks.push({
    code: 'timestamp-order',
    part: 'place',
    expected: `later than ${timestamp}`,
    found: String(entry.timestamp),
  });
}

/** The Hash-Chains of entries that continue one of these; null when none is known. */
function continuations(links: readonly Link[]): readonly string[] | null {
  if (links.length === 0) return null;
  return links.map(({ assignmentId, hashChain }) => nextLink(assignmentId as Id, hashChain));
}

function toFindings(
  processId: Id,
  entry: CheckedEntry,
  remarks: readonly Remark[],
): readonly Finding[] {
  const place = entry.place ?? (entry.subject === 'message' ? entry.row : undefined);
  const id = entry.assignmentId ?? (entry.subject === 'process' ? processId : undefined);
  return foldRemarks(remarks).map((remark) => {
    const nonce = remark.nonce ?? place?.nonce;
    return {
      code: remark.code,
      severity: FINDINGS[remark.code].severity,
      process: processId,
      ...(place === undefined ? {} : { epoch: place.epoch }),
      ...(nonce === undefined ? {} : { nonce }),
      ...(id === undefined ? {} : { entry: id }),
      expected: remark.expected,
      found: remark.found,
      also: remark.also,
    };
  });
}
