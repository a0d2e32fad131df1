import { isUtf8 } from 'node:buffer';
import { formatBlockHeight } from './assignment.js';
import type { BundleForm } from './bundle.js';
import type { DataItem } from './data-item.js';
import { asBuffer } from './ids.js';
import { JsonWriter } from './json-writer.js';
import { OwnerTexts } from './owner-texts.js';
import { TagCursor } from './tags.js';

/*
 * The JSON that clients read, made byte by byte of the items' own bytes: a page holds a thousand of these, and every text or
 * object on the way would have to be made, joined and encoded. Keys stand in the order of the reference. Only what a user
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

// No state that anybody could notice: a buffer that is empty between two calls, and texts that follow from their owners.
const json = new JsonWriter();
const owners = new OwnerTexts();

const [NULL, MESSAGE, ASSIGNMENT, NODE_END] = fragments(
  'null',
  '{"message":',
  ',"assignment":',
  '}',
);
const [ID, OWNER, DATA, TAGS, SIGNATURE, ANCHOR, TARGET] = fragments(
  '{"id":"',
  '","owner":',
  ',"data":',
  ',"tags":',
  ',"signature":"',
  '","anchor":',
  ',"target":',
);
const [TAG_FIRST, TAG_NEXT, TAG_VALUE, TAG_END, TAGS_NONE, TAGS_END] = fragments(
  '[{"name":"',
  ',{"name":"',
  '","value":"',
  '"}',
  '[',
  ']',
);
const [QUOTE] = fragments('"');

function fragments<const Texts extends readonly string[]>(
  ...texts: Texts
): { readonly [Index in keyof Texts]: Uint8Array } {
  return texts.map((text) => Buffer.from(text, 'latin1')) as {
    readonly [Index in keyof Texts]: Uint8Array;
  };
}

/** A text in quotes. A byte order mark stays, each broken sequence becomes one U+FFFD. */
function writeText(bytes: Uint8Array): void {
  const utf8 = isUtf8(bytes) ? bytes : Buffer.from(asBuffer(bytes).toString('utf8'), 'utf8');
  json.fragment(QUOTE).escaped(utf8, 0, utf8.length).fragment(QUOTE);
}

function writeBase64Url(bytes: Uint8Array): void {
  json.fragment(QUOTE).base64Url(bytes).fragment(QUOTE);
}

/** Straight from the tag bytes: they were found to be UTF-8 when the item was parsed. */
function writeTags(item: DataItem): void {
  const { rawTags } = item;
  const cursor = new TagCursor(rawTags, item.tagCount, 'stored');
  let start = TAG_FIRST;
  while (cursor.next()) {
    json
      .fragment(start)
      .escaped(rawTags, cursor.nameStart, cursor.nameEnd)
      .fragment(TAG_VALUE)
      .escaped(rawTags, cursor.valueStart, cursor.valueEnd)
      .fragment(TAG_END);
    start = TAG_NEXT;
  }
  if (start === TAG_FIRST) json.fragment(TAGS_NONE);
  json.fragment(TAGS_END);
}

/** Clients expect the text that an anchor is, and null for one that is none: never a lossy text. */
function writeAnchor(anchor: Uint8Array): void {
  if (anchor.length > 0 && isUtf8(anchor)) writeText(anchor);
  else json.fragment(NULL);
}

function writeAssignmentAnchor(anchor: Uint8Array, { showAnchor }: AnchorOptions): void {
  if (showAnchor && !isUtf8(anchor)) writeBase64Url(anchor);
  else writeAnchor(anchor);
}

/** What an absent target is depends on what the item is. */
function writeTarget(target: Uint8Array, absent: 'null' | 'empty'): void {
  if (absent === 'null' && target.length === 0) json.fragment(NULL);
  else writeBase64Url(target);
}

/** @param data undefined: null */
function writeMessage(
  item: DataItem,
  data: Uint8Array | undefined,
  absent: 'null' | 'empty',
): void {
  json.fragment(ID).ascii(item.id).fragment(OWNER).fragment(owners.find(item.owner)).fragment(DATA);
  if (data === undefined) json.fragment(NULL);
  else writeText(data);
  json.fragment(TAGS);
  writeTags(item);
  json.fragment(SIGNATURE).base64Url(item.signature).fragment(ANCHOR);
  writeAnchor(item.anchor);
  json.fragment(TARGET);
  writeTarget(item.target, absent);
  json.fragment(NODE_END);
}

/** The reference has no target for the oldest form, where the wrapper is the assignment. */
function writeAssignment(item: DataItem, form: BundleForm, options: AnchorOptions): void {
  json.fragment(ID).ascii(item.id).fragment(OWNER).fragment(owners.find(item.owner)).fragment(TAGS);
  writeTags(item);
  json.fragment(SIGNATURE).base64Url(item.signature).fragment(ANCHOR);
  writeAssignmentAnchor(item.anchor, options);
  json.fragment(TARGET);
  writeTarget(item.target, form === 'outer-assignment' ? 'null' : 'empty');
  json.fragment(NODE_END);
}

function writeNode({ form, item, assignment }: NodeParts, options: AnchorOptions): JsonWriter {
  json.begin().fragment(MESSAGE);
  if (item === undefined) json.fragment(NULL);
  else writeMessage(item, item.data, 'empty');
  json.fragment(ASSIGNMENT);
  if (assignment === undefined) json.fragment(NULL);
  else writeAssignment(assignment, form, options);
  return json.fragment(NODE_END);
}

/**
 * The node of a message or an assigned transaction: `{"message":…,"assignment":…}`. Broken UTF-8 in the
 * message's data becomes U+FFFD.
 */
export function renderNode(parts: NodeParts, options: AnchorOptions = HIDDEN_ANCHOR): string {
  return writeNode(parts, options).takeText();
}

/** The same as UTF-8: what pages serve is made without a text in between. */
export function renderNodeBytes(parts: NodeParts, options: AnchorOptions = HIDDEN_ANCHOR): Buffer {
  return writeNode(parts, options).takeBytes();
}

/** A process's data is shown whole or not at all; a process without an assignment never showed any. */
function shownData({ item, assignment }: ProcessParts): Uint8Array | undefined {
  return assignment !== undefined && isUtf8(item.data) ? item.data : undefined;
}

function writeOwnAssignment(assignment: DataItem | undefined, options: AnchorOptions): void {
  if (assignment === undefined) json.fragment(NULL);
  else writeAssignment(assignment, 'inner-assignment', options);
}

/** The node of a process itself, as the first edge of its pages has it: `{"message":…,"assignment":…}`. */
export function renderProcessNode(
  parts: ProcessParts,
  options: AnchorOptions = HIDDEN_ANCHOR,
): string {
  json.begin().fragment(MESSAGE);
  writeMessage(parts.item, shownData(parts), 'null');
  json.fragment(ASSIGNMENT);
  writeOwnAssignment(parts.assignment, options);
  return json.fragment(NODE_END).takeText();
}

function writeProcessRecord(parts: ProcessRecordParts): void {
  const { item, blockHeight, timestamp } = parts;
  const block = formatBlockHeight(blockHeight);
  json.ascii(`{"process_id":"${item.id}","block":"${block}","owner":`);
  json.fragment(owners.find(item.owner)).fragment(TAGS);
  writeTags(item);
  json.ascii(`,"timestamp":${timestamp},"data":`);
  const data = shownData(parts);
  if (data === undefined) json.fragment(NULL);
  else writeText(data);
  json.ascii(',"anchor":');
  writeAnchor(item.anchor);
  json.fragment(SIGNATURE).base64Url(item.signature).ascii('","target":');
  writeTarget(item.target, 'null');
  json.fragment(NODE_END);
}

/** The process record, `GET /processes/{id}`. */
export function renderProcessRecord(parts: ProcessRecordParts): string {
  json.begin();
  writeProcessRecord(parts);
  return json.takeText();
}

/** What the column `process_data` holds: the process record and its assignment, `{"process":…,"assignment":…}`. */
export function renderProcessData(parts: ProcessRecordParts): string {
  json.begin().ascii('{"process":');
  writeProcessRecord(parts);
  json.fragment(ASSIGNMENT);
  writeOwnAssignment(parts.assignment, HIDDEN_ANCHOR);
  return json.fragment(NODE_END).takeText();
}

/**
 * The same JSON for a column of type jsonb, which cannot hold U+0000: there it becomes U+FFFD. Pairs of
 * backslashes are stepped over, since behind one "u0000" is plain text.
 */
export function toJsonb(text: string): string {
  if (!text.includes('\\u0000')) return text;
  return text.replace(/\\(?:u0000|[^])/g, (escape) => (escape === '\\u0000' ? '\uFFFD' : escape));
}
