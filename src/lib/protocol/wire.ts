import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { formatBlockHeight } from './assignment.js';
import type { BundleForm } from './bundle.js';
import type { DataItem } from './data-item.js';
import { toBase64Url } from './ids.js';
import type { Tag } from './tags.js';

/*
 * The JSON that clients read, as text joined by hand: a page holds a thousand of these, and building objects
 * for JSON.stringify costs several times the joining. Keys stand in the order of the reference. Only what a user
 * wrote can need escaping; ids, keys, signatures and numbers cannot.
 */

/** A message or an assigned transaction, taken apart. */
export interface NodeParts {
  readonly form: BundleForm;
  /** Undefined: the transaction is stored elsewhere and `message` is null. */
  readonly item: DataItem | undefined;
  readonly assignment: DataItem | undefined;
}

/** A process, taken apart; `assignment` is undefined when it takes no nonce. */
export interface ProcessParts {
  readonly item: DataItem;
  readonly assignment: DataItem | undefined;
}

/** A process and when it was spawned. */
export interface ProcessRecordParts extends ProcessParts {
  readonly blockHeight: number;
  /** Milliseconds. */
  readonly timestamp: number;
}

export interface AnchorOptions {
  /** An assignment's anchor that is not UTF-8 is base64url instead of null. */
  readonly showAnchor: boolean;
}

const HIDDEN_ANCHOR: AnchorOptions = { showAnchor: false };

/** The bytes as text. A byte order mark stays, each broken sequence becomes one U+FFFD. */
function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

function renderTags(tags: readonly Tag[]): string {
  let text = '[';
  let separator = '{"name":';
  for (const { name, value } of tags) {
    text += `${separator}${JSON.stringify(name)},"value":${JSON.stringify(value)}}`;
    separator = ',{"name":';
  }
  return `${text}]`;
}

function renderOwner(item: DataItem): string {
  // The address, hashed straight to text: half the time of hashing to bytes first.
  return `{"address":"${hash('sha256', item.owner, 'base64url')}","key":"${toBase64Url(item.owner)}"}`;
}

/** Clients expect the text that an anchor is, and null for one that is none: never a lossy text. */
function renderAnchor(anchor: Uint8Array): string {
  return anchor.length > 0 && isUtf8(anchor) ? JSON.stringify(toText(anchor)) : 'null';
}

function renderAssignmentAnchor(anchor: Uint8Array, { showAnchor }: AnchorOptions): string {
  return showAnchor && !isUtf8(anchor) ? `"${toBase64Url(anchor)}"` : renderAnchor(anchor);
}

/** `target` is the rendered value: it differs by what the item is. */
function renderMessage(item: DataItem, data: string, target: string): string {
  return `{"id":"${item.id}","owner":${renderOwner(item)},"data":${data},"tags":${renderTags(item.tags)},"signature":"${toBase64Url(item.signature)}","anchor":${renderAnchor(item.anchor)},"target":${target}}`;
}

/** The reference has no target for the oldest form, where the wrapper is the assignment. */
function renderAssignment(item: DataItem, form: BundleForm, options: AnchorOptions): string {
  const target =
    form === 'outer-assignment' && item.target.length === 0
      ? 'null'
      : `"${toBase64Url(item.target)}"`;
  return `{"id":"${item.id}","owner":${renderOwner(item)},"tags":${renderTags(item.tags)},"signature":"${toBase64Url(item.signature)}","anchor":${renderAssignmentAnchor(item.anchor, options)},"target":${target}}`;
}

/**
 * The node of a message or an assigned transaction: `{"message":…,"assignment":…}`. Broken UTF-8 in the
 * message's data becomes U+FFFD.
 */
export function renderNode(parts: NodeParts, options: AnchorOptions = HIDDEN_ANCHOR): string {
  const { form, item, assignment } = parts;
  const message =
    item === undefined
      ? 'null'
      : renderMessage(item, JSON.stringify(toText(item.data)), `"${toBase64Url(item.target)}"`);
  const assigned = assignment === undefined ? 'null' : renderAssignment(assignment, form, options);
  return `{"message":${message},"assignment":${assigned}}`;
}

/** A process's data is shown whole or not at all; a process without an assignment never showed any. */
function renderProcessText({ item, assignment }: ProcessParts): string {
  const shown = assignment !== undefined && isUtf8(item.data);
  return shown ? JSON.stringify(toText(item.data)) : 'null';
}

function renderProcessTarget(item: DataItem): string {
  return item.target.length === 0 ? 'null' : `"${toBase64Url(item.target)}"`;
}

function renderOwnAssignment(
  assignment: DataItem | undefined,
  options: AnchorOptions = HIDDEN_ANCHOR,
): string {
  return assignment === undefined
    ? 'null'
    : renderAssignment(assignment, 'inner-assignment', options);
}

/** The node of a process itself, as the first edge of its pages has it: `{"message":…,"assignment":…}`. */
export function renderProcessNode(
  parts: ProcessParts,
  options: AnchorOptions = HIDDEN_ANCHOR,
): string {
  const { item, assignment } = parts;
  const message = renderMessage(item, renderProcessText(parts), renderProcessTarget(item));
  return `{"message":${message},"assignment":${renderOwnAssignment(assignment, options)}}`;
}

/** The process record, `GET /processes/{id}`. */
export function renderProcessRecord(parts: ProcessRecordParts): string {
  const { item, blockHeight, timestamp } = parts;
  return `{"process_id":"${item.id}","block":"${formatBlockHeight(blockHeight)}","owner":${renderOwner(item)},"tags":${renderTags(item.tags)},"timestamp":${timestamp},"data":${renderProcessText(parts)},"anchor":${renderAnchor(item.anchor)},"signature":"${toBase64Url(item.signature)}","target":${renderProcessTarget(item)}}`;
}

/** What the column `process_data` holds: the process record and its assignment, `{"process":…,"assignment":…}`. */
export function renderProcessData(parts: ProcessRecordParts): string {
  return `{"process":${renderProcessRecord(parts)},"assignment":${renderOwnAssignment(parts.assignment)}}`;
}

/**
 * The same JSON for a column of type jsonb, which cannot hold U+0000: there it becomes U+FFFD. Pairs of
 * backslashes are stepped over, since behind one "u0000" is plain text.
 */
export function toJsonb(text: string): string {
  if (!text.includes('\\u0000')) return text;
  return text.replace(/\\(?:u0000|[^])/g, (escape) => (escape === '\\u0000' ? '\uFFFD' : escape));
}
