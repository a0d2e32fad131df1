import type { BundleForm } from '../protocol/bundle.js';
import { formatBlockHeight } from '../protocol/assignment.js';
import type { DataItem } from '../protocol/data-item.js';
import { findTag } from '../protocol/tags.js';
import { renderNode, renderProcessNode, renderProcessRecord } from '../protocol/wire.js';
import { shown } from './findings.js';

/** Where stored JSON and bytes part. */
export interface Difference {
  /** `message.tags[2].value` */
  readonly path: string;
  readonly expected: string;
  readonly found: string;
}

/** What the bytes of an entry are rendered from. */
export interface RenderedParts {
  readonly form: BundleForm;
  readonly wrapper: DataItem;
  readonly assignment: DataItem | undefined;
  readonly item: DataItem | undefined;
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

/**
 * The first place where the JSON stored for a message is not what its bytes render to; undefined when there is none. Two
 * forms were stored: the node, and before it a flat record without an assignment. In a column of type jsonb U+0000 stands
 * as U+FFFD.
 */
export function differenceOfMessage(json: string, parts: RenderedParts): Difference | undefined {
  const rendered = renderNode(parts);
  // What the embedded store keeps is the same text.
  if (rendered === json) return undefined;
  const stored = parse(json);
  if (stored === undefined) return notJson(json);
  const expected = JSON.parse(rendered) as JsonObject;
  if (!isFlat(stored)) return findDifference(expected, stored, '');
  return findDifference(flatRecord(expected, parts), stored, '');
}

/** The same for a process: `{process, assignment}`, or in the oldest rows the bare record. */
export function differenceOfProcess(json: string, parts: RenderedParts): Difference | undefined {
  const { item, assignment } = parts;
  if (item === undefined) return undefined;
  const stored = parse(json);
  if (stored === undefined) return notJson(json);
  const record = recordOf(item, parts);
  if (!('process' in stored)) {
    // The oldest rows show the data of every process.
    const { data: _data, ...rest } = record;
    return findDifference(stored['data'] === null ? rest : withData(rest, item), stored, '');
  }
  const own =
    assignment === undefined
      ? null
      : ((JSON.parse(renderProcessNode({ item, assignment })) as JsonObject)['assignment'] ?? null);
  return findDifference({ process: record, assignment: own }, stored, '');
}

/** What the wrapper or the assignment says of height and time; rows older than those tags keep them in the JSON alone. */
function recordOf(item: DataItem, { assignment, wrapper }: RenderedParts): JsonObject {
  const { tags } = assignment ?? wrapper;
  const text = renderProcessRecord({ item, assignment, blockHeight: 0, timestamp: 0 });
  const { block: _block, timestamp: _timestamp, ...record } = JSON.parse(text) as JsonObject;
  const height = findTag(tags, 'Block-Height');
  const timestamp = findTag(tags, 'Timestamp');
  return {
    ...record,
    ...(height === undefined ? {} : { block: formatBlockHeight(Number(height)) }),
    ...(timestamp === undefined ? {} : { timestamp: Number(timestamp) }),
  };
}

function withData(record: JsonObject, item: DataItem): JsonObject {
  return { ...record, data: Buffer.from(item.data).toString('utf8') };
}

function isFlat(stored: JsonObject): boolean {
  return !('assignment' in stored) && ('owner' in stored || 'process_id' in stored);
}

/** The flat record of a message, as far as the bytes say what was in it. */
function flatRecord(node: JsonObject, { assignment, item }: RenderedParts): JsonObject {
  const message = node['message'] as JsonObject | null;
  const tag = (name: string): string | undefined => findTag(assignment?.tags ?? [], name);
  const record: Record<string, Json> = {};
  if (message !== null && item !== undefined) {
    const { id = null, tags = null, signature = null, anchor = null } = message;
    record['message'] = { id, tags, signature, anchor };
    record['owner'] = message['owner'] ?? null;
    record['data'] = message['data'] ?? null;
  }
  const process = tag('Process');
  if (process !== undefined) record['process_id'] = process;
  for (const [key, name] of [
    ['epoch', 'Epoch'],
    ['nonce', 'Nonce'],
    ['timestamp', 'Timestamp'],
  ] as const) {
    const text = tag(name);
    if (text !== undefined) record[key] = Number(text);
  }
  return record;
}

function parse(json: string): JsonObject | undefined {
  try {
    const value = JSON.parse(json) as Json;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function notJson(json: string): Difference {
  return { path: '', expected: 'a JSON object', found: shown(json) };
}

/** `expected` decides which keys count: older programs stored other keys beside them. */
function findDifference(
  expected: Json,
  stored: Json | undefined,
  path: string,
): Difference | undefined {
  if (isObject(expected)) {
    if (!isObject(stored)) return differ(expected, stored, path);
    for (const [key, value] of Object.entries(expected)) {
      // What has no value was not always written.
      if (!(key in stored) && (value === null || value === '')) continue;
      const at = path === '' ? key : `${path}.${key}`;
      const found = findDifference(value, stored[key], at);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  if (Array.isArray(expected)) {
    if (!Array.isArray(stored)) return differ(expected, stored, path);
    const length = Math.max(expected.length, stored.length);
    for (let index = 0; index < length; index += 1) {
      const found = findDifference(
        (expected as readonly Json[])[index] ?? null,
        (stored as readonly Json[])[index],
        `${path}[${index}]`,
      );
      if (found !== undefined) return found;
    }
    return undefined;
  }
  return isSameValue(expected, stored) ? undefined : differ(expected, stored, path);
}

function isSameValue(expected: Json, stored: Json | undefined): boolean {
  if (expected === stored) return true;
  if (typeof expected === 'string' && typeof stored === 'string') {
    return expected.includes('\0') && expected.replaceAll('\0', '\uFFFD') === stored;
  }
  // Flat records hold some numbers as text.
  return typeof expected === 'number' && typeof stored === 'string' && String(expected) === stored;
}

function differ(expected: Json, stored: Json | undefined, path: string): Difference {
  const [from, to] =
    typeof expected === 'string' && typeof stored === 'string'
      ? aroundDifference(expected, stored)
      : [expected, stored];
  return { path, expected: shown(from), found: shown(to) };
}

/** Long texts are shown from a little before the first character that differs. */
function aroundDifference(one: string, other: string): readonly [string, string] {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at += 1;
  if (at < 100) return [one, other];
  const from = at - 20;
  return [`…${one.slice(from)}`, `…${other.slice(from)}`];
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
