import { isId, quoteBounded } from '../protocol/ids.js';
import { baseUrl, splitWallets, type ListedScheduler } from './ports.js';
import { atLine, parsePositionedJson, type PositionedValue } from './positioned-json.js';

type Field = 'url' | 'no_route' | 'wallets_to_route' | 'wallets_only';

const FIELDS: readonly Field[] = ['url', 'no_route', 'wallets_to_route', 'wallets_only'];

/**
 * Reads the list of Scheduler Units: `[{url, no_route?, wallets_to_route?, wallets_only?}]`, where
 * `wallets_to_route` holds addresses between commas. A name that is none of these is refused: a flag that is
 * misspelled would send processes where they must not go, for ever.
 *
 * @throws SuError `invalid-config` that names the line and the reason
 */
export function parseSchedulerList(text: string): readonly ListedScheduler[] {
  // Editors on Windows put a byte order mark there.
  const list = parsePositionedJson(text.replace(/^\uFEFF/, ''));
  if (list.kind !== 'array') throw atLine(list.line, 'expected a list in square brackets');
  if (list.items.length === 0) throw atLine(list.line, 'the list names no Scheduler Unit');
  const schedulers: ListedScheduler[] = [];
  for (const item of list.items) {
    const scheduler = readEntry(item);
    if (schedulers.some(({ url }) => url === scheduler.url)) {
      throw atLine(item.line, `${quoteBounded(scheduler.url)} is in the list twice`);
    }
    schedulers.push(scheduler);
  }
  return schedulers;
}

/** The list when the operator names nothing but URLs. */
export function listOfUrls(urls: readonly string[]): readonly ListedScheduler[] {
  return [...new Set(urls.map(baseUrl))].map((url) => ({
    url,
    noRoute: false,
    walletsToRoute: [],
    walletsOnly: false,
  }));
}

function readEntry(item: PositionedValue): ListedScheduler {
  if (item.kind !== 'object') {
    throw atLine(item.line, 'expected an object such as {"url": "https://su1.example"}');
  }
  const values = new Map<Field, PositionedValue>();
  for (const { name, line, value } of item.fields) {
    const field = FIELDS.find((known) => known === name);
    if (field === undefined) {
      throw atLine(line, `${quoteBounded(name)} is not known: expected ${FIELDS.join(', ')}`);
    }
    values.set(field, value);
  }
  const url = values.get('url');
  if (url === undefined) throw atLine(item.line, 'the entry has no url');
  return {
    url: readUrl(url),
    noRoute: readFlag('no_route', values.get('no_route')),
    walletsToRoute: readWallets(values.get('wallets_to_route')),
    walletsOnly: readFlag('wallets_only', values.get('wallets_only')),
  };
}

function readUrl(node: PositionedValue): string {
  const text = node.kind === 'scalar' ? node.value : undefined;
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined;
  if (typeof text !== 'string' || url === undefined || !/^https?:$/.test(url.protocol)) {
    const shown = typeof text === 'string' ? quoteBounded(text) : 'url';
    throw atLine(node.line, `${shown} is not an http:// or https:// URL`);
  }
  if (url.username !== '' || url.password !== '') {
    throw atLine(
      node.line,
      'the url holds a user or password (not shown): clients would be sent there with it',
    );
  }
  if (/[?#\s]/.test(text.trim())) {
    throw atLine(node.line, `${quoteBounded(text)} has a query, a fragment or blanks in it`);
  }
  return baseUrl(text);
}

function readFlag(name: Field, node: PositionedValue | undefined): boolean {
  if (node === undefined) return false;
  const value = node.kind === 'scalar' ? node.value : undefined;
  if (value === null) return false;
  if (typeof value !== 'boolean') throw atLine(node.line, `${name} is not true or false`);
  return value;
}

function readWallets(node: PositionedValue | undefined): readonly string[] {
  if (node === undefined) return [];
  const value = node.kind === 'scalar' ? node.value : undefined;
  if (value === null) return [];
  if (typeof value !== 'string') {
    throw atLine(node.line, 'wallets_to_route is not a text of addresses between commas');
  }
  const wallets = splitWallets(value);
  const odd = wallets.find((wallet) => !isId(wallet));
  if (odd !== undefined) {
    throw atLine(
      node.line,
      `wallets_to_route: ${quoteBounded(odd)} is not an address of 43 characters`,
    );
  }
  return wallets;
}
