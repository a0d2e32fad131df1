import { toBase64Url } from '../protocol/ids.js';
import { parseQuery } from './graphql-reader.js';
import type { Query, QueryField, QueryValue } from './graphql-reader.js';
import { checkFields, refusal } from './graphql-shape.js';
import { markOf } from './item-index.js';
import type { IndexEntry, Marked } from './item-index.js';
import type { LocalChain } from './local-chain.js';
import type { NetworkStore, StoredItem } from './network-store.js';

const FIRST_DEFAULT = 10;
const FIRST_MAX = 1_000;
const LIST_MAX = 1_000;
const ARGUMENTS = [
  'ids',
  'owners',
  'recipients',
  'tags',
  'first',
  'after',
  'sort',
  'block',
  'bundledIn',
];
const SORTS = ['HEIGHT_DESC', 'HEIGHT_ASC', 'INGESTED_AT_DESC', 'INGESTED_AT_ASC'];

type Plain =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly Plain[]
  | { readonly [name: string]: Plain };
type PlainObject = { readonly [name: string]: Plain };

/** What the answers are made from. */
export interface Network {
  readonly store: NetworkStore;
  readonly chain: LocalChain;
}

/**
 * Answers a GraphQL request as an Arweave gateway does: `transactions` by ids, owners, recipients, tags, block and
 * bundle, in pages, and `transaction` by id. Only the fields that were asked for are in the answer.
 *
 * @throws SuError `invalid-request` for a query, argument or field that is not supported
 */
export async function answerQuery(
  network: Network,
  request: { readonly query: string; readonly variables: Readonly<Record<string, unknown>> },
): Promise<Record<string, unknown>> {
  const query = parseQuery(request.query);
  checkFields(query.fields);
  const scope: Scope = { query, variables: request.variables };
  const answer: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const field of query.fields) {
    if (!isWanted(field, scope)) continue;
    const args = resolveArguments(field, scope);
    answer[field.alias] = project(field, await readRoot(network, field.name, args), scope);
  }
  return answer;
}

interface Scope {
  readonly query: Query;
  readonly variables: Readonly<Record<string, unknown>>;
}

async function readRoot(
  network: Network,
  name: string,
  args: PlainObject,
): Promise<PlainObject | null> {
  if (name === 'transaction') {
    const item = await network.store.findItem(typeof args['id'] === 'string' ? args['id'] : '');
    return item === undefined ? null : nodeOf(network, item);
  }
  const filter = readFilter(args);
  const found: StoredItem[] = [];
  for (const entry of candidates(network.store, filter)) {
    const item = await network.store.readItem(entry);
    if (matches(item, filter)) found.push(item);
    if (found.length > filter.first) break;
  }
  const page = found.slice(0, filter.first);
  return {
    __typename: 'TransactionConnection',
    pageInfo: { __typename: 'PageInfo', hasNextPage: found.length > filter.first },
    edges: page.map((item) => ({
      __typename: 'TransactionEdge',
      cursor: String(item.entry.ordinal),
      node: nodeOf(network, item),
    })),
  };
}

interface TagFilter {
  readonly name: string;
  readonly values: readonly string[];
  readonly equal: boolean;
}

interface Filter {
  readonly ids: readonly string[] | undefined;
  readonly owners: readonly string[] | undefined;
  readonly recipients: readonly string[] | undefined;
  readonly bundledIn: readonly string[] | undefined;
  readonly tags: readonly TagFilter[];
  readonly first: number;
  readonly after: number | undefined;
  readonly ascending: boolean;
  readonly heights: { readonly min: number; readonly max: number };
}

function readFilter(args: PlainObject): Filter {
  const unknown = Object.keys(args).find((name) => !ARGUMENTS.includes(name));
  if (unknown !== undefined) throw refusal(`the argument "${unknown}" is not supported`);
  const sort = args['sort'] ?? 'HEIGHT_DESC';
  if (typeof sort !== 'string' || !SORTS.includes(sort))
    throw refusal(`"sort" is one of ${SORTS.join(', ')}`);
  const after = args['after'] ?? '';
  if (typeof after !== 'string' || !/^\d{0,15}$/.test(after))
    throw refusal('"after" is not a cursor');
  const block = objectOf(args['block'], 'block');
  return {
    ids: textsOf(args['ids'], 'ids'),
    owners: textsOf(args['owners'], 'owners'),
    recipients: textsOf(args['recipients'], 'recipients'),
    bundledIn: textsOf(args['bundledIn'], 'bundledIn'),
    tags: tagFiltersOf(args['tags']),
    first: Math.min(FIRST_MAX, countOf(args['first'], 'first') ?? FIRST_DEFAULT),
    after: after === '' ? undefined : Number(after),
    ascending: sort.endsWith('_ASC'),
    heights: {
      min: countOf(block['min'], 'block.min') ?? 0,
      max: countOf(block['max'], 'block.max') ?? Number.POSITIVE_INFINITY,
    },
  };
}

function tagFiltersOf(value: Plain): readonly TagFilter[] {
  if (value === undefined || value === null) return [];
  const list: readonly Plain[] = Array.isArray(value) ? (value as readonly Plain[]) : [value];
  return list.map((each) => {
    const { name, values, op = 'EQ' } = objectOf(each, 'tags');
    const texts = textsOf(values, 'tags.values');
    if (typeof name !== 'string' || texts === undefined || (op !== 'EQ' && op !== 'NEQ')) {
      throw refusal('a tag filter has a name, values and perhaps the op EQ or NEQ');
    }
    return { name, values: texts, equal: op === 'EQ' };
  });
}

/** What may match, in the order asked for, without a read: by id, by place and by the marks. */
function* candidates({ index }: NetworkStore, filter: Filter): Generator<IndexEntry> {
  const { ids, after, ascending, heights } = filter;
  const wanted = markSets(filter);
  const fits = (entry: IndexEntry): boolean =>
    entry.height >= heights.min &&
    entry.height <= heights.max &&
    wanted.every((marks) => entry.marks.some((mark) => marks.has(mark))) &&
    (filter.bundledIn === undefined || isIn(index.at(entry.bundledIn ?? -1)?.id, filter.bundledIn));
  const isBehind = (ordinal: number): boolean =>
    after === undefined || (ascending ? ordinal > after : ordinal < after);
  if (ids !== undefined) {
    const found = [...new Set(ids)].flatMap((id) => index.find(id) ?? []);
    found.sort((one, other) => (ascending ? 1 : -1) * (one.ordinal - other.ordinal));
    yield* found.filter((entry) => isBehind(entry.ordinal) && fits(entry));
    return;
  }
  const last = index.size - 1;
  const step = ascending ? 1 : -1;
  const begin = ascending ? (after ?? -1) + 1 : Math.min(last, (after ?? last + 1) - 1);
  for (let ordinal = begin; ordinal >= 0 && ordinal <= last; ordinal += step) {
    const entry = index.at(ordinal);
    if (entry !== undefined && fits(entry)) yield entry;
  }
}

/** Of each set an entry must have one. */
function markSets({ owners, recipients, tags }: Filter): readonly ReadonlySet<number>[] {
  const setOf = (marked: readonly Marked[]): ReadonlySet<number> => new Set(marked.map(markOf));
  const sets = tags
    .filter((tag) => tag.equal)
    .map(({ name, values }) => setOf(values.map((value) => ({ kind: 'tag', name, value }))));
  for (const [kind, values] of [
    ['owner', owners],
    ['recipient', recipients],
  ] as const) {
    if (values !== undefined) sets.push(setOf(values.map((value) => ({ kind, value }))));
  }
  return sets;
}

/** The comparison that counts, with the bytes: marks may collide. */
function matches(item: StoredItem, filter: Filter): boolean {
  const { owners, recipients } = filter;
  if (owners !== undefined && !owners.includes(item.address)) return false;
  if (recipients !== undefined && !recipients.includes(item.recipient)) return false;
  return filter.tags.every(
    ({ name, values, equal }) =>
      item.tags.some((tag) => tag.name === name && values.includes(tag.value)) === equal,
  );
}

function nodeOf({ store, chain }: Network, item: StoredItem): PlainObject {
  const { entry } = item;
  const parent = entry.bundledIn === undefined ? undefined : store.index.at(entry.bundledIn);
  const bundle = parent === undefined ? null : { __typename: 'Bundle', id: parent.id };
  const none = { __typename: 'Amount', winston: '0', ar: '0.000000000000' };
  return {
    __typename: 'Transaction',
    id: item.id,
    anchor: item.anchor,
    signature: toBase64Url(item.signature),
    recipient: item.recipient,
    owner: { __typename: 'Owner', address: item.address, key: toBase64Url(item.owner) },
    fee: none,
    quantity: none,
    data: {
      __typename: 'MetaData',
      size: String(item.dataBytes),
      type: contentTypeTag(item) ?? null,
    },
    tags: item.tags.map(({ name, value }) => ({ __typename: 'Tag', name, value })),
    block: {
      __typename: 'Block',
      id: chain.hashOf(entry.height),
      timestamp: chain.timestampOf(entry.height),
      height: entry.height,
      previous: chain.hashOf(entry.height - 1),
    },
    bundledIn: bundle,
    parent: bundle,
  };
}

/** The value of the first `Content-Type` tag, whatever the case of its letters. */
export function contentTypeTag(item: Pick<StoredItem, 'tags'>): string | undefined {
  return item.tags.find(({ name }) => name.toLowerCase() === 'content-type')?.value;
}

/** Only what was asked for; that it exists is checked before. */
function project(field: QueryField, value: Plain, scope: Scope): Plain {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) {
    return (value as readonly Plain[]).map((each) => project(field, each, scope));
  }
  if (typeof value !== 'object' || field.fields === undefined) return value;
  const answer: Record<string, Plain> = Object.create(null) as Record<string, Plain>;
  for (const inner of field.fields) {
    if (!isWanted(inner, scope)) continue;
    answer[inner.alias] = project(inner, (value as PlainObject)[inner.name], scope);
  }
  return answer;
}

function isWanted(field: QueryField, scope: Scope): boolean {
  return field.conditions.every(({ wanted, when }) => {
    const value = resolve(when, scope);
    if (typeof value !== 'boolean')
      throw refusal('the condition of a directive is not true or false');
    return value === wanted;
  });
}

function resolveArguments(field: QueryField, scope: Scope): PlainObject {
  return Object.fromEntries(
    Object.entries(field.args).map(([name, value]) => [name, resolve(value, scope)]),
  );
}

function resolve(value: QueryValue, scope: Scope): Plain {
  if ('value' in value) return value.value;
  if ('list' in value) return value.list.map((each) => resolve(each, scope));
  if ('object' in value) {
    return Object.fromEntries(
      Object.entries(value.object).map(([name, each]) => [name, resolve(each, scope)]),
    );
  }
  const { variables, query } = scope;
  if (Object.hasOwn(variables, value.variable)) return variables[value.variable] as Plain;
  const fallback = query.defaults[value.variable];
  // A variable without a value counts as absent (GraphQL §6.4.1); defaults hold no variables of their own.
  return fallback === undefined
    ? undefined
    : resolve(fallback, { ...scope, query: { ...query, defaults: {} } });
}

function isIn(value: string | undefined, list: readonly string[]): boolean {
  return value !== undefined && list.includes(value);
}

function textsOf(value: Plain, name: string): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined;
  const list: readonly Plain[] = Array.isArray(value) ? (value as readonly Plain[]) : [value];
  if (list.length > LIST_MAX) throw refusal(`"${name}" has more than ${LIST_MAX} members`);
  if (!list.every((each) => typeof each === 'string'))
    throw refusal(`"${name}" is not a list of texts`);
  return list;
}

function countOf(value: Plain, name: string): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw refusal(`"${name}" is not a whole number`);
  }
  return value;
}

function objectOf(value: Plain, name: string): PlainObject {
  if (value === undefined || value === null) return {};
  if (typeof value !== 'object' || Array.isArray(value))
    throw refusal(`"${name}" is not an object`);
  return value as PlainObject;
}
