import type { Id } from '../protocol/ids.js';

/** `fault`: the log is wrong. `warning`: it is right and an operator should know. `information`: what is still to be done, or was not checked. */
export type Severity = 'fault' | 'warning' | 'information';

/** Everything an audit can find. Codes are stable: programs may rely on them. */
export const FINDINGS = {
  'process-unknown': { severity: 'fault', meaning: 'a process that was asked for is not there' },
  'nonce-hole': {
    severity: 'fault',
    meaning: 'nonces are missing; the hash chain behind them cannot be recomputed',
  },
  'nonce-duplicate': { severity: 'fault', meaning: 'several entries have one nonce' },
  'nonce-order': { severity: 'fault', meaning: 'an entry stands behind one with a higher nonce' },
  'hash-chain': {
    severity: 'fault',
    meaning: 'the Hash-Chain is not the one that the entry before it makes',
  },
  'timestamp-order': {
    severity: 'fault',
    meaning: 'the timestamp is not later than that of the entry before it',
  },
  'assignment-signature': {
    severity: 'fault',
    meaning: 'the owner of the assignment did not sign these bytes',
  },
  'message-signature': {
    severity: 'fault',
    meaning: 'the owner of the message (or of the process) did not sign these bytes',
  },
  'announced-id': {
    severity: 'fault',
    meaning: 'an id (or address) beside the bytes is not the one that the bytes have',
  },
  'process-tag': {
    severity: 'fault',
    meaning: 'the Process tag of the assignment names another process',
  },
  'message-tag': {
    severity: 'fault',
    meaning: 'the Message tag of the assignment names another message',
  },
  'message-target': { severity: 'fault', meaning: 'the target of the message is another process' },
  'assignment-unreadable': {
    severity: 'fault',
    meaning: 'the assignment is missing, or a tag of it has no sensible value',
  },
  'stored-column': { severity: 'fault', meaning: 'a column does not say what the bytes say' },
  'stored-json': { severity: 'fault', meaning: 'the stored JSON does not say what the bytes say' },
  'bundle-missing': { severity: 'fault', meaning: 'the entry has no bytes' },
  'bundle-unreadable': { severity: 'fault', meaning: 'the bytes of the entry cannot be read' },
  'owner-change': {
    severity: 'warning',
    meaning: 'from here on another wallet signs the assignments',
  },
  'not-verifiable': {
    severity: 'information',
    meaning: 'signatures over bytes that JSON does not carry whole were not verified',
  },
  'upload-pending': { severity: 'information', meaning: 'not everything is published yet' },
} as const satisfies Readonly<Record<string, { severity: Severity; meaning: string }>>;

export type FindingCode = keyof typeof FINDINGS;

/** Which part of an entry a finding is about: what is wrong with its bytes explains what follows from them. */
export type Part = 'assignment' | 'item' | 'place' | 'json' | 'entry';

/** What is wrong with one entry, before it is known what caused what. */
export interface Remark {
  readonly code: FindingCode;
  readonly part: Part;
  /** Bounded text. */
  readonly expected: string;
  readonly found: string;
  /** Where it is when that is not the entry's own nonce. */
  readonly nonce?: number;
}

/** One thing that is wrong, or worth knowing, and what follows from it. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: Severity;
  readonly process: Id;
  readonly epoch?: number;
  readonly nonce?: number;
  /** The assignment's id, or the process's. */
  readonly entry?: string;
  readonly expected: string;
  readonly found: string;
  /** Codes of what is wrong with the same entry in consequence. */
  readonly also: readonly FindingCode[];
}

/** Causes first: each takes what follows from it. */
const CONSEQUENCES: readonly {
  readonly cause: FindingCode;
  readonly causePart?: Part;
  readonly takes: (remark: Remark) => boolean;
}[] = [
  {
    cause: 'assignment-signature',
    takes: ({ part, code }) => part !== 'item' || code === 'message-tag',
  },
  {
    cause: 'message-signature',
    takes: ({ part, code }) => part === 'item' || part === 'json' || code === 'message-tag',
  },
  {
    cause: 'announced-id',
    causePart: 'assignment',
    takes: ({ part, code }) => part === 'assignment' || part === 'json' || code === 'hash-chain',
  },
  {
    cause: 'announced-id',
    causePart: 'item',
    takes: ({ part, code }) => part === 'item' || part === 'json' || code === 'message-tag',
  },
  {
    cause: 'assignment-unreadable',
    takes: ({ part, code }) => part === 'place' || code === 'message-tag',
  },
  {
    cause: 'nonce-duplicate',
    takes: ({ part }) => part === 'place',
  },
  {
    cause: 'nonce-hole',
    takes: ({ code }) => code === 'hash-chain' || code === 'stored-column',
  },
  { cause: 'nonce-order', takes: ({ part }) => part === 'place' },
];

/** A finding for each cause: whatever follows from another remark on the same entry is named there. */
export function foldRemarks(
  remarks: readonly Remark[],
): readonly (Remark & Pick<Finding, 'also'>)[] {
  let left = [...remarks];
  const folded: (Remark & { also: FindingCode[] })[] = [];
  for (const { cause, causePart, takes } of CONSEQUENCES) {
    const root = left.find(
      ({ code, part }) => code === cause && (causePart === undefined || part === causePart),
    );
    if (root === undefined) continue;
    const taken = left.filter(
      (remark) => remark !== root && remark.code !== 'message-signature' && takes(remark),
    );
    left = left.filter((remark) => remark !== root && !taken.includes(remark));
    folded.push({ ...root, also: [...new Set(taken.map(({ code }) => code))] });
  }
  return [...folded, ...left.map((remark) => ({ ...remark, also: [] }))];
}

const SHOWN_CHARACTERS_MAX = 200;

/** A value as a finding shows it: on one line and never a whole body. */
export function shown(value: string | number | object | boolean | null | undefined): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const line = text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, '\uFFFD');
  return line.length > SHOWN_CHARACTERS_MAX ? `${line.slice(0, SHOWN_CHARACTERS_MAX)}…` : line;
}
