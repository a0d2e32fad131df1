import { isUtf8 } from 'node:buffer';
import { z } from 'zod';
import { SuError } from '../errors.js';
import type { RowPosition } from '../migrator/ports.js';
import { encodeDataItem, parseDataItem, type DataItem } from '../protocol/data-item.js';
import { fromBase64Url, isId, sha256Id, type Id } from '../protocol/ids.js';
import { SIGNATURE_TYPES, type SignatureType } from '../protocol/signature-types.js';
import { encodeTags, type Tag } from '../protocol/tags.js';
import { checkClaims, type Claim } from './check-parts.js';
import type { CheckedEntry } from './checked-entry.js';
import { shown, type Remark } from './findings.js';
import type { SignatureVerifier } from './verify-signature.js';

/** An entry as a Scheduler Unit answers it. */
export interface WireEntry {
  readonly kind: 'wire';
  readonly subject: 'process' | 'message';
  readonly processId: Id;
  /** `{message, assignment}`, or the flat record of the oldest servers. */
  readonly node: unknown;
  readonly row: RowPosition;
}

const text = z.string().nullish();
const tags = z.array(z.object({ name: z.string(), value: z.string() }));
const owner = z.object({ address: text, key: z.string() });
const itemShape = z.object({
  id: z.string(),
  owner,
  data: text,
  tags,
  signature: z.string(),
  anchor: text,
  target: text,
});
const nodeShape = z.object({ message: itemShape.nullish(), assignment: itemShape.nullish() });
const number = z.coerce.number();
const flatShape = z.object({
  message: z.object({ id: z.string(), tags, signature: z.string(), anchor: text }),
  owner,
  data: text,
  process_id: z.string(),
  epoch: number,
  nonce: number,
  timestamp: number,
  hash_chain: z.string().optional(),
  assignment_id: text,
});

type WireItem = z.infer<typeof itemShape>;

/**
 * Checks an entry that came over HTTP. JSON does not carry all that was signed: data and anchors that are no UTF-8 are
 * lost, the signature type must be guessed, and tags may have been spelled otherwise. What cannot be rebuilt with
 * certainty is counted as not verified, never as wrong.
 */
export async function checkWire(
  entry: WireEntry,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedEntry> {
  try {
    const node = nodeShape.safeParse(entry.node);
    const isFlat = flatShape.safeParse(entry.node);
    if (isFlat.success) return await checkFlat(entry, isFlat.data, verifier);
    if (!node.success) throw new SuError('invalid-data-item', 'it has not the shape of a node');
    const { message, assignment } = node.data;
    return await checkNode(
      entry,
      { message: message ?? undefined, assignment: assignment ?? undefined },
      verifier,
    );
  } catch (error) {
    const found = shown(error instanceof Error ? error.message : String(error));
    return {
      ...emptyEntry(entry),
      remarks: [{ code: 'bundle-unreadable', part: 'entry', expected: 'an entry', found }],
    };
  }
}

interface WireNode {
  readonly message: WireItem | undefined;
  readonly assignment: WireItem | undefined;
}

async function checkNode(
  entry: WireEntry,
  { message, assignment }: WireNode,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedEntry> {
  const { subject, processId } = entry;
  const remarks: Remark[] = [];
  const claims = await checkClaims(
    processId,
    {
      subject,
      isAssigned: subject === 'message',
      assignment: assignment && claimOf(assignment, 'assignment', remarks),
      item: message && claimOf(message, 'item', remarks),
    },
    verifier,
  );
  remarks.push(...claims.remarks);
  if (subject === 'process') checkProcessId(processId, message, remarks);
  const { stated } = claims;
  return {
    ...emptyEntry(entry),
    ...(stated === undefined
      ? {}
      : { place: { epoch: stated.epoch, nonce: stated.nonce }, timestamp: stated.timestamp }),
    hashChain: stated?.hashChain,
    links:
      stated !== undefined && assignment !== undefined && isId(assignment.id)
        ? [{ assignmentId: assignment.id, hashChain: stated.hashChain }]
        : [],
    assignmentId: assignment?.id,
    owner:
      assignment === undefined || claims.remarks.some(({ code }) => code === 'assignment-signature')
        ? undefined
        : sha256Id(fromBase64Url(assignment.owner.key)),
    remarks,
    signatures: claims.signatures,
    unverified: claims.unverified,
  };
}

/** The oldest servers answered no assignment: what they say of the place is taken as it is. */
async function checkFlat(
  entry: WireEntry,
  flat: z.infer<typeof flatShape>,
  verifier: SignatureVerifier | undefined,
): Promise<CheckedEntry> {
  const remarks: Remark[] = [];
  const message = { ...flat.message, owner: flat.owner, data: flat.data, target: flat.process_id };
  const item = claimOf(message, 'item', remarks);
  const claims = await checkClaims(
    entry.processId,
    { subject: 'message', isAssigned: false, assignment: undefined, item },
    verifier,
  );
  const { hash_chain: hashChain, assignment_id: assignmentId } = flat;
  const isLink = isId(assignmentId ?? '') && isId(hashChain ?? '');
  return {
    ...emptyEntry(entry),
    place: { epoch: flat.epoch, nonce: flat.nonce },
    timestamp: flat.timestamp,
    hashChain,
    links: isLink ? [{ assignmentId: assignmentId ?? '', hashChain: hashChain ?? '' }] : [],
    assignmentId: assignmentId ?? undefined,
    remarks: [...remarks, ...claims.remarks],
    signatures: claims.signatures,
    // The assignment's.
    unverified: claims.unverified + (verifier === undefined ? 0 : 1),
  };
}

function emptyEntry({ subject, row }: WireEntry): CheckedEntry {
  return {
    subject,
    row,
    // A message without a place of its own keeps that of its cursor, so that it leaves no hole.
    place: subject === 'message' ? { epoch: row.epoch, nonce: row.nonce } : undefined,
    timestamp: undefined,
    hashChain: undefined,
    links: [],
    assignmentId: undefined,
    owner: undefined,
    remarks: [],
    signatures: 0,
    unverified: 0,
  };
}

function checkProcessId(processId: Id, message: WireItem | undefined, remarks: Remark[]): void {
  if (message === undefined || message.id === processId) return;
  remarks.push({
    code: 'announced-id',
    part: 'item',
    expected: processId,
    found: shown(message.id),
  });
}

/** All items that the JSON may stand for. */
function claimOf(wire: WireItem, part: 'assignment' | 'item', remarks: Remark[]): Claim {
  const signature = fromBase64Url(wire.signature);
  const key = fromBase64Url(wire.owner.key);
  const id = sha256Id(signature);
  if (id !== wire.id) {
    remarks.push({ code: 'announced-id', part, expected: id, found: shown(wire.id) });
  }
  const { address } = wire.owner;
  if (typeof address === 'string' && address !== sha256Id(key)) {
    remarks.push({ code: 'announced-id', part, expected: sha256Id(key), found: shown(address) });
  }
  const anchor = anchorOf(wire.anchor);
  const data = Buffer.from(wire.data ?? '', 'utf8');
  const isData =
    part === 'assignment' || (typeof wire.data === 'string' && !wire.data.includes('\uFFFD'));
  const target = targetOf(wire.target);
  const [type, ...types] = typesOf(signature, key);
  if (type === undefined) {
    throw new SuError(
      'invalid-data-item',
      `no signature type has ${signature.length} bytes of signature and ${key.length} of owner`,
    );
  }
  const make = (signatureType: SignatureType, rawTags?: Uint8Array): DataItem => {
    const fields = { signatureType, signature, owner: key, target, anchor: anchor.bytes };
    return parseDataItem(encodeDataItem({ ...fields, tags: wire.tags, rawTags }, data), 'stored');
  };
  return {
    item: make(type),
    others: () => [
      ...types.map((other) => make(other)),
      ...[type, ...types].map((other) => make(other, sizedBlock(wire.tags))),
    ],
    isWhole: isData && anchor.isWhole,
  };
}

/** The same tags in the one other spelling that libraries write: the block announces its size. */
function sizedBlock(list: readonly Tag[]): Uint8Array {
  const usual = encodeTags(list);
  if (list.length === 0) return Uint8Array.of(0);
  const countBytes = list.length < 64 ? 1 : 2;
  const records = usual.subarray(countBytes, usual.length - 1);
  return Buffer.concat([zigZag(-list.length), zigZag(records.length), records, Uint8Array.of(0)]);
}

/** An Avro long. */
function zigZag(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value < 0 ? -value * 2 - 1 : value * 2;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}

/** Signature types differ in the lengths they fix, all but three. */
function typesOf(signature: Uint8Array, key: Uint8Array): readonly SignatureType[] {
  return ([1, 2, 3, 4, 5, 6, 7] as const).filter((type) => {
    const { signatureBytes, ownerBytes } = SIGNATURE_TYPES[type];
    return signature.length === signatureBytes && key.length === ownerBytes;
  });
}

const REFERENCE_BYTES = 32;
const EMPTY = new Uint8Array(0);

/** 32 bytes as text, or as base64url when they are none; null may be none or one that is no text. */
function anchorOf(anchor: string | null | undefined): { bytes: Uint8Array; isWhole: boolean } {
  if (typeof anchor !== 'string') return { bytes: EMPTY, isWhole: false };
  if (anchor === '') return { bytes: EMPTY, isWhole: true };
  const asText = Buffer.from(anchor, 'utf8');
  if (asText.length === REFERENCE_BYTES && !anchor.includes('\uFFFD')) {
    return { bytes: asText, isWhole: true };
  }
  if (isId(anchor)) {
    const bytes = fromBase64Url(anchor);
    return { bytes, isWhole: !isUtf8(bytes) };
  }
  return { bytes: EMPTY, isWhole: false };
}

function targetOf(target: string | null | undefined): Uint8Array {
  return typeof target === 'string' && isId(target) ? fromBase64Url(target) : EMPTY;
}
