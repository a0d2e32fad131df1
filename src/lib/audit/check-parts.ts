import { parseDecimal } from '../protocol/assignment.js';
import type { DataItem } from '../protocol/data-item.js';
import { isId, sha256Id, toBase64Url, type Id } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';
import { shown, type Remark } from './findings.js';
import type { SignatureVerifier } from './verify-signature.js';

/** A data item as its source has it. */
export interface Claim {
  readonly item: DataItem;
  /** What else the item may have been before its source turned it into JSON: one of all these is right at most. */
  readonly others?: () => readonly DataItem[];
  /** False: even when nothing verifies, the item may be right. */
  readonly isWhole: boolean;
}

/** What an entry consists of. */
export interface EntryClaims {
  readonly subject: 'process' | 'message';
  /** Whether there must be an assignment. */
  readonly isAssigned: boolean;
  readonly assignment: Claim | undefined;
  /** The message or process; undefined for an assigned transaction, whose bytes are elsewhere. */
  readonly item: Claim | undefined;
}

/** What an assignment states of its place. */
export interface Stated {
  readonly processId: string;
  readonly epoch: number;
  readonly nonce: number;
  readonly hashChain: Id;
  readonly timestamp: number;
  readonly messageId: string | undefined;
}

/** What the bytes of an entry say, and what is wrong with them. */
export interface CheckedClaims {
  readonly remarks: Remark[];
  readonly stated: Stated | undefined;
  readonly signatures: number;
  readonly unverified: number;
}

/**
 * Checks the bytes of an entry by themselves: signatures, and the tags that tie assignment, message and process to one
 * another.
 *
 * @param verifier undefined: signatures are not verified
 */
export async function checkClaims(
  processId: Id,
  claims: EntryClaims,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedClaims> {
  const { assignment, item } = claims;
  const remarks: Remark[] = [];
  const read = assignment && readStated(assignment.item);
  if (typeof read === 'string') remarks.push(unreadable(read));
  if (assignment === undefined && claims.isAssigned) remarks.push(unreadable('there is none'));
  const stated = typeof read === 'object' ? read : undefined;
  if (stated !== undefined) checkTags(processId, { claims, stated }, remarks);
  checkTarget(processId, claims, remarks);
  let signatures = 0;
  let unverified = 0;
  for (const [part, claim] of [
    ['assignment', assignment],
    ['item', item],
  ] as const) {
    if (claim === undefined || verifier === undefined) continue;
    const verdict = await verifyClaim(claim, verifier);
    if (verdict === 'unknown') unverified += 1;
    else signatures += 1;
    if (verdict === 'wrong') remarks.push(wrongSignature(part, claim.item));
  }
  return { remarks, stated, signatures, unverified };
}

function unreadable(found: string): Remark {
  return {
    code: 'assignment-unreadable',
    part: 'assignment',
    expected: 'an assignment with its place',
    found,
  };
}

/** What an assignment states, or what is wrong with it. Tags that say nothing of its place may be missing: the oldest lack some. */
function readStated({ tags }: DataItem): Stated | string {
  const text = (name: string): string => findTag(tags, name) ?? '';
  const numbers = { epoch: text('Epoch'), nonce: text('Nonce'), timestamp: text('Timestamp') };
  const [epoch, nonce, timestamp] = Object.values(numbers).map(parseDecimal);
  const hashChain = text('Hash-Chain');
  const processId = text('Process');
  if (epoch === undefined) return `the tag Epoch is ${shown(numbers.epoch)}`;
  if (nonce === undefined) return `the tag Nonce is ${shown(numbers.nonce)}`;
  if (timestamp === undefined) return `the tag Timestamp is ${shown(numbers.timestamp)}`;
  if (!isId(hashChain)) return `the tag Hash-Chain is ${shown(hashChain)}`;
  return { processId, epoch, nonce, hashChain, timestamp, messageId: findTag(tags, 'Message') };
}

function checkTags(
  processId: Id,
  { claims, stated }: { readonly claims: EntryClaims; readonly stated: Stated },
  remarks: Remark[],
): void {
  if (stated.processId !== processId) {
    remarks.push({
      code: 'process-tag',
      part: 'assignment',
      expected: processId,
      found: shown(stated.processId),
    });
  }
  const { messageId } = stated;
  const isFine =
    claims.subject === 'process'
      ? messageId === undefined || messageId === processId
      : claims.item === undefined
        ? messageId !== undefined && isId(messageId)
        : messageId === claims.item.item.id;
  if (isFine) return;
  const expected =
    claims.subject === 'process' ? 'no Message tag' : (claims.item?.item.id ?? 'an id');
  remarks.push({ code: 'message-tag', part: 'assignment', expected, found: shown(messageId) });
}

function checkTarget(processId: Id, { subject, item }: EntryClaims, remarks: Remark[]): void {
  if (subject === 'process' || item === undefined) return;
  const target = toBase64Url(item.item.target);
  if (target === processId) return;
  remarks.push({
    code: 'message-target',
    part: 'item',
    expected: processId,
    found: target === '' ? 'no target' : target,
  });
}

async function verifyClaim(
  { item, others, isWhole }: Claim,
  verifier: SignatureVerifier,
): Promise<'right' | 'wrong' | 'unknown'> {
  if (await verifies(item, verifier)) return 'right';
  for (const other of others?.() ?? []) {
    if (await verifies(other, verifier)) return 'right';
  }
  return isWhole ? 'wrong' : 'unknown';
}

async function verifies(item: DataItem, verifier: SignatureVerifier): Promise<boolean> {
  try {
    return await verifier.verify(item);
  } catch {
    // A key that no library takes, such as an even modulus: nothing verifies under it.
    return false;
  }
}

function wrongSignature(part: 'assignment' | 'item', { owner, signature }: DataItem): Remark {
  return {
    code: part === 'assignment' ? 'assignment-signature' : 'message-signature',
    part,
    expected: `a signature of ${sha256Id(owner)}`,
    found: `one that does not verify (id ${sha256Id(signature)})`,
  };
}
