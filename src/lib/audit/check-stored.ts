import type { StoredMessage, StoredProcess } from '../migrator/ports.js';
import { ownerAddress, type DataItem } from '../protocol/data-item.js';
import { isId } from '../protocol/ids.js';
import { checkClaims, type CheckedClaims, type Claim } from './check-parts.js';
import type { CheckedEntry, Link } from './checked-entry.js';
import { shown, type Remark } from './findings.js';
import { differenceOfMessage, differenceOfProcess, type Difference } from './stored-json.js';
import { takeApart, type TakenApart } from './take-apart.js';
import type { SignatureVerifier } from './verify-signature.js';

/** A row of a store. */
export type StoredRow =
  | { readonly kind: 'process'; readonly row: StoredProcess }
  | { readonly kind: 'message'; readonly row: StoredMessage };

/** Where the process itself stands: before all of its messages, whatever nonce it has. */
export const PROCESS_POSITION = { epoch: 0, nonce: -1, rank: 0 } as const;

/** Checks a stored row by itself: bundle, ids, tags, columns, JSON, signatures. */
export async function checkStored(
  stored: StoredRow,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedEntry> {
  const { bundle } = stored.row;
  if (bundle.length === 0) {
    return withoutBytes(stored, {
      code: 'bundle-missing',
      expected: 'a bundle',
      found: 'no bytes',
    });
  }
  let apart: TakenApart;
  try {
    apart = takeApart(bundle, stored.kind);
  } catch (error) {
    const found = shown(error instanceof Error ? error.message : String(error));
    return withoutBytes(stored, { code: 'bundle-unreadable', expected: 'a bundle', found });
  }
  const claims = await checkClaims(
    stored.row.processId,
    {
      subject: stored.kind,
      isAssigned: apart.form !== 'process-alone',
      assignment: whole(apart.assignment),
      item: whole(apart.item),
    },
    verifier,
  );
  checkAnnounced(apart, claims.remarks);
  checkColumns(stored, { apart, claims });
  checkJson(stored, { apart, claims });
  return toChecked(stored, { apart, claims });
}

function whole(item: DataItem | undefined): Claim | undefined {
  return item && { item, isWhole: true };
}

interface Checked {
  readonly apart: TakenApart;
  readonly claims: CheckedClaims;
}

function checkAnnounced({ assignment, item, announced }: TakenApart, remarks: Remark[]): void {
  const parts = [
    ['assignment', assignment, announced.assignment],
    ['item', item, announced.item],
  ] as const;
  for (const [part, found, id] of parts) {
    if (found === undefined || id === undefined || found.id === id) continue;
    remarks.push({ code: 'announced-id', part, expected: found.id, found: `announced as ${id}` });
  }
}

function checkColumns(stored: StoredRow, { apart, claims }: Checked): void {
  const { stated, remarks } = claims;
  const compare = (
    part: Remark['part'],
    column: string,
    [expected, found]: readonly unknown[],
  ): void => {
    if (expected === undefined || found === undefined || expected === found) return;
    const text = `${column} ${shown(found)}`;
    remarks.push({
      code: 'stored-column',
      part,
      expected: `${column} ${shown(expected)}`,
      found: text,
    });
  };
  const { row } = stored;
  if (apart.assignment === undefined && stored.kind === 'process') {
    if (row.nonce !== undefined) {
      remarks.push({
        code: 'stored-column',
        part: 'place',
        expected: 'no nonce, since there is no assignment',
        found: `nonce ${row.nonce}`,
      });
    }
  }
  if (stored.kind === 'process') {
    compare('item', 'process_id', [apart.item?.id, row.processId]);
  } else {
    const messageId = apart.item === undefined ? stated?.messageId : apart.item.id;
    compare('item', 'message_id', [messageId, stored.row.messageId]);
    compare('assignment', 'assignment_id', [apart.assignment?.id, stored.row.assignmentId]);
  }
  compare('place', 'epoch', [stated?.epoch, row.epoch]);
  compare('place', 'nonce', [stated?.nonce, row.nonce]);
  compare('place', 'timestamp', [stated?.timestamp, row.timestamp]);
  compare('place', 'hash_chain', [stated?.hashChain, row.hashChain]);
}

function checkJson({ kind, row }: StoredRow, { apart, claims }: Checked): void {
  if (row.json === undefined) return;
  let difference: Difference | undefined;
  try {
    difference = (kind === 'process' ? differenceOfProcess : differenceOfMessage)(row.json, apart);
  } catch (error) {
    const found = shown(error instanceof Error ? error.message : String(error));
    difference = { path: '', expected: 'what the bytes render to', found };
  }
  if (difference === undefined) return;
  const { path, expected, found } = difference;
  const at = path === '' ? '' : `${path}: `;
  claims.remarks.push({
    code: 'stored-json',
    part: 'json',
    expected: `${at}${expected}`,
    found: `${at}${found}`,
  });
}

/** Whether the assignment's bytes say what its owner signed; without that its row is believed. */
function isTrusted(remarks: readonly Remark[]): boolean {
  return !remarks.some(
    ({ code, part }) =>
      part === 'assignment' &&
      (code === 'assignment-signature' ||
        code === 'announced-id' ||
        code === 'assignment-unreadable'),
  );
}

function toChecked(stored: StoredRow, { apart, claims }: Checked): CheckedEntry {
  const { stated, remarks, signatures, unverified } = claims;
  const { assignment } = apart;
  const trusted = isTrusted(remarks);
  const believed = trusted && stated !== undefined ? stated : rowPlace(stored);
  return {
    subject: stored.kind,
    row: positionOf(stored),
    place: believed && { epoch: believed.epoch, nonce: believed.nonce },
    timestamp: believed?.timestamp ?? stored.row.timestamp,
    hashChain: stated?.hashChain,
    links: linksOf(stored, { apart, claims }),
    assignmentId: assignment?.id,
    owner: trusted && assignment !== undefined ? ownerAddress(assignment) : undefined,
    remarks,
    signatures,
    unverified,
  };
}

/** An entry that has nothing but its row. */
function withoutBytes(stored: StoredRow, remark: Omit<Remark, 'part'>): CheckedEntry {
  const { row } = stored;
  const assignmentId = stored.kind === 'message' ? stored.row.assignmentId : undefined;
  const place = rowPlace(stored);
  return {
    subject: stored.kind,
    row: positionOf(stored),
    place: place && { epoch: place.epoch, nonce: place.nonce },
    timestamp: row.timestamp,
    hashChain: undefined,
    links: makeLinks([assignmentId], [row.hashChain]),
    assignmentId,
    owner: undefined,
    remarks: [{ ...remark, part: 'entry' }],
    signatures: 0,
    unverified: 0,
  };
}

/** Bytes that are right leave one link; where they are not, what the row and the bundle say besides is as likely. */
function linksOf(stored: StoredRow, { apart, claims }: Checked): readonly Link[] {
  const { stated, remarks } = claims;
  const { assignment, announced } = apart;
  const columnId = stored.kind === 'message' ? stored.row.assignmentId : undefined;
  const isFine = remarks.every(({ part }) => part !== 'assignment' && part !== 'place');
  return isFine
    ? makeLinks([assignment?.id], [stated?.hashChain])
    : makeLinks(
        [assignment?.id, announced.assignment, columnId],
        [stated?.hashChain, stored.row.hashChain],
      );
}

function makeLinks(
  ids: readonly (string | undefined)[],
  hashChains: readonly (string | undefined)[],
): readonly Link[] {
  const distinct = (texts: readonly (string | undefined)[]): readonly string[] => [
    ...new Set(texts.filter((text) => text !== undefined && isId(text))),
  ];
  return distinct(ids).flatMap((assignmentId) =>
    distinct(hashChains).map((hashChain) => ({ assignmentId, hashChain })),
  );
}

function positionOf(stored: StoredRow): CheckedEntry['row'] {
  if (stored.kind === 'process') return PROCESS_POSITION;
  const { epoch, nonce, rank } = stored.row;
  return { epoch, nonce, rank };
}

function rowPlace({
  row,
}: StoredRow): { epoch: number; nonce: number; timestamp: number | undefined } | undefined {
  const { epoch, nonce, timestamp } = row;
  return epoch === undefined || nonce === undefined ? undefined : { epoch, nonce, timestamp };
}
