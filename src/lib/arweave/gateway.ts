import { SuError } from '../errors.js';
import { HASHED_APART_BYTES_MIN } from '../protocol/deep-hash.js';
import type { Id } from '../protocol/ids.js';
import { fromBase64Url } from '../protocol/ids.js';
import type { Gateway, TransactionContent } from '../scheduler/ports.js';
import { ExchangeLine } from './exchange-line.js';
import { HttpFailure, joinUrl, makeHttpClient } from './http-client.js';
import type { HttpAnswer, HttpAsk, HttpClient } from './http-client.js';

/** A gateway's answers have a few hundred bytes; GraphQL with an item's tags a few thousand. */
const ANSWER_BYTES_MAX = 1_048_576;
/** A transaction's data, when it has to be read: as much as the body of a posted item may have. */
const DATA_BYTES_MAX = 10_485_760;
/** Data up to this size are hashed in the moment in which they are there, so that they never add up. */
const SMALL_DATA_BYTES_MAX = HASHED_APART_BYTES_MIN - 1;
/** Larger data are read and used by so many at a time: each takes its size twice, while it is put together and while it is hashed. */
const LARGE_AT_ONCE = 3;
const LARGE_WAITING_MAX = 64;
const REDIRECTS_MAX = 5;
const CONNECTIONS_MAX = 16;

/** The id is a variable and never part of the query's text, so that no input can change what is asked. */
const TRANSACTION_QUERY =
  'query Transaction($ids: [ID!]!) { transactions(ids: $ids, first: 1) { edges { node { id } } } }';
const CONTENT_QUERY =
  'query Transaction($ids: [ID!]!) { transactions(ids: $ids, first: 1) ' +
  '{ edges { node { id recipient anchor tags { name value } } } } }';

export interface GatewayOptions {
  /** GRAPHQL_URL: `/graphql` is appended unless it ends in it. */
  readonly graphqlUrl: string;
  /** ARWEAVE_URL: `/info`, `/tx/{id}/status` and `/raw/{id}` are below it. */
  readonly arweaveUrl: string;
  /** ARWEAVE_URL_LIST */
  readonly arweaveUrls: readonly string[];
  /** For each question, redirects included. */
  readonly timeoutMs: number;
}

/**
 * What the SU asks of Arweave, over HTTP. Answers are bounded in time and size; a gateway that is away, answers
 * 5xx or answers nonsense is `gateway-unavailable`, one that is too slow `gateway-timeout`.
 */
export function makeGateway(options: GatewayOptions): Gateway & { close(): void } {
  const client = makeHttpClient({ connectionsMax: CONNECTIONS_MAX });
  // Without it nothing is written, so it does not stand in line with what anybody may ask for.
  const heightClient = makeHttpClient({ connectionsMax: 1 });
  const context: Context = { client, timeoutMs: options.timeoutMs };
  const largeLine = new ExchangeLine({
    atOnceMax: LARGE_AT_ONCE,
    waitingMax: LARGE_WAITING_MAX,
  });
  const graphqlUrl = joinUrl(options.graphqlUrl.replace(/\/graphql\/*$/, ''), 'graphql');
  return {
    fetchBlockHeight: (signal) =>
      fetchHeight(
        { ...context, client: heightClient, signal },
        joinUrl(options.arweaveUrl, 'info'),
      ),
    fetchConfirmations: (id) =>
      fetchConfirmations(context, joinUrl(options.arweaveUrl, `tx/${id}/status`), id),
    fetchTransactionExists: (id) => fetchTransactionExists(context, graphqlUrl, id),
    async fetchTransaction(id, use) {
      const content = await fetchSigned(context, graphqlUrl, id);
      if (content === undefined) return undefined;
      const url = joinUrl(options.arweaveUrl, `raw/${id}`);
      return fetchData({ context, id, url, largeLine }, (data) => use({ ...content, data }));
    },
    fetchIdAnswers: (id) =>
      fetchIdAnswers(
        context,
        options.arweaveUrls.map((url) => joinUrl(url, id)),
      ),
    close() {
      client.close();
      heightClient.close();
    },
  };
}

interface Context {
  readonly client: HttpClient;
  readonly timeoutMs: number;
  /** ANSWER_BYTES_MAX when left out. */
  readonly answerBytesMax?: number;
  readonly signal?: AbortSignal | undefined;
}

async function fetchHeight(context: Context, url: URL): Promise<number> {
  const answer = await ask(context, { url, method: 'GET' });
  const height = (readJson(answer, url) as { height?: unknown } | null)?.height;
  if (typeof height !== 'number' || !Number.isSafeInteger(height) || height < 0) {
    throw nonsense(url, 'no block height');
  }
  return height;
}

async function fetchConfirmations(context: Context, url: URL, id: Id): Promise<number> {
  const answer = await ask(context, { url, method: 'GET' });
  if (answer.status === 404)
    throw new SuError('unknown-transaction', `the transaction ${id} is not known`);
  refuseFailure(answer, url);
  const status = parseJson(answer.body) as { number_of_confirmations?: unknown } | null | undefined;
  const confirmations = status?.number_of_confirmations;
  if (
    typeof confirmations === 'number' &&
    Number.isSafeInteger(confirmations) &&
    confirmations >= 0
  ) {
    return confirmations;
  }
  // A node answers the word "Pending", with 202, for what is not in a block yet.
  throw new SuError('not-enough-confirmations', `the transaction ${id} is not settled yet`);
}

async function fetchTransactionExists(context: Context, url: URL, id: Id): Promise<boolean> {
  return (await fetchNode(context, url, { query: TRANSACTION_QUERY, id })) !== undefined;
}

/** What GraphQL answers of a transaction; nothing of it is checked but the id. */
interface TransactionNode {
  readonly id: Id;
  readonly recipient?: unknown;
  readonly anchor?: unknown;
  readonly tags?: unknown;
}

async function fetchNode(
  context: Context,
  url: URL,
  { query, id }: { readonly query: string; readonly id: Id },
): Promise<TransactionNode | undefined> {
  const answer = await ask(context, {
    url,
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: Buffer.from(JSON.stringify({ query, variables: { ids: [id] } })),
  });
  const value = readJson(answer, url) as {
    data?: { transactions?: { edges?: unknown } | null } | null;
  } | null;
  const edges: unknown = value?.data?.transactions?.edges;
  if (!Array.isArray(edges)) throw nonsense(url, 'no transactions');
  const nodes = edges.map((edge: { node?: TransactionNode | null } | null) => edge?.node);
  return nodes.find((node) => node?.id === id) ?? undefined;
}

/** What is signed of a transaction besides its data. */
async function fetchSigned(
  context: Context,
  url: URL,
  id: Id,
): Promise<Omit<TransactionContent, 'data'> | undefined> {
  const node = await fetchNode(context, url, { query: CONTENT_QUERY, id });
  return (
    node && {
      target: readBytes(node.recipient, url),
      anchor: readBytes(node.anchor, url),
      tags: readTags(node.tags, url),
    }
  );
}

/**
 * Most data are small, and only who reads them can tell: what turns out to be large is asked for once more, in a place of which
 * there are few. Undefined when the node does not have them.
 */
async function fetchData<Result>(
  from: {
    readonly context: Context;
    readonly id: Id;
    readonly url: URL;
    readonly largeLine: ExchangeLine;
  },
  use: (data: Uint8Array) => Promise<Result>,
): Promise<Result | undefined> {
  const { context, id, url, largeLine } = from;
  const read = (answerBytesMax: number): Promise<HttpAnswer> =>
    ask({ ...context, answerBytesMax }, { url, method: 'GET' });
  const small = await read(SMALL_DATA_BYTES_MAX);
  if (small.status === 404) return undefined;
  if (!small.cut || !isSuccess(small)) {
    refuseFailure(small, url);
    return use(small.body);
  }
  const leave = await placeInLine(largeLine, context.timeoutMs);
  try {
    const answer = await read(DATA_BYTES_MAX);
    if (answer.cut) {
      throw new SuError(
        'body-too-large',
        `the data of transaction ${id} have more than ${DATA_BYTES_MAX} bytes`,
      );
    }
    refuseFailure(answer, url);
    return await use(answer.body);
  } finally {
    leave();
  }
}

/**
 * Waits for a place.
 *
 * @returns gives it back
 * @throws SuError `scheduler-busy` when there is none in time, or too many wait
 */
function placeInLine(line: ExchangeLine, waitMaxMs: number): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const refuse = (): void => {
      leave?.();
      reject(
        new SuError('scheduler-busy', 'too many large transactions are being read: try again', {
          retryAfterSeconds: 2,
        }),
      );
    };
    const timer = setTimeout(refuse, waitMaxMs);
    const leave = line.enter('', () => {
      clearTimeout(timer);
      resolve(() => leave?.());
    });
    if (leave !== undefined) return;
    clearTimeout(timer);
    refuse();
  });
}

/** Base64url text, or nothing: absent. */
function readBytes(text: unknown, url: URL): Uint8Array {
  if (text === undefined || text === null || text === '') return new Uint8Array(0);
  try {
    if (typeof text === 'string') return fromBase64Url(text);
  } catch {
    // answered below, together with what is no text
  }
  throw nonsense(url, 'a recipient or anchor that is not base64url');
}

function readTags(tags: unknown, url: URL): TransactionContent['tags'] {
  const read = Array.isArray(tags) ? tags : [];
  return read.map((tag: { name?: unknown; value?: unknown } | null) => {
    const { name, value } = tag ?? {};
    if (typeof name === 'string' && typeof value === 'string') return { name, value };
    throw nonsense(url, 'a tag without name and value');
  });
}

/** All at once: with one after the other a gateway that is away would cost its whole timeout before the next is asked. */
async function fetchIdAnswers(context: Context, urls: readonly URL[]): Promise<boolean> {
  const abort = new AbortController();
  let failures: readonly unknown[];
  try {
    const asked = urls.map(async (url) => {
      const { status } = await ask({ ...context, signal: abort.signal }, { url, method: 'HEAD' });
      if (status >= 200 && status < 300) return true;
      if (isVerdict(status)) throw new IdUnknown();
      throw unavailable(url, `it answered ${status}`);
    });
    return await Promise.any(asked);
  } catch (error) {
    failures = error instanceof AggregateError ? (error.errors as unknown[]) : [error];
  } finally {
    abort.abort();
  }
  if (failures.some((failure) => failure instanceof IdUnknown)) return false;
  const timedOut = failures.length > 0 && failures.every((failure) => isTimeout(failure));
  throw new SuError(
    timedOut ? 'gateway-timeout' : 'gateway-unavailable',
    'no gateway could be asked whether the id exists; try again later',
    { cause: failures[0] },
  );
}

/** Busy, too slow, or a redirect to nowhere: nothing is said of the id. */
function isVerdict(status: number): boolean {
  return status >= 400 && status < 500 && status !== 408 && status !== 429;
}

/** The gateway was reached and does not have the id. */
class IdUnknown extends Error {}

function isTimeout(failure: unknown): boolean {
  return failure instanceof SuError && failure.code === 'gateway-timeout';
}

type Question = Pick<HttpAsk, 'url' | 'method' | 'headers' | 'body'>;

/** One question, with redirects followed: many gateways answer ids and paths with one. */
async function ask(context: Context, question: Question): Promise<HttpAnswer> {
  const endsAt = performance.now() + context.timeoutMs;
  let current = question;
  for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
    const timeoutMs = Math.max(1, Math.round(endsAt - performance.now()));
    const answer = await askOnce({ ...context, timeoutMs }, current);
    const target = redirectTarget(answer, current);
    if (target === undefined) return answer;
    current = { ...current, url: target };
  }
  throw unavailable(question.url, `it redirected more than ${REDIRECTS_MAX} times`);
}

/** Where to ask again; a POST only when the answer says that it stays one (307, 308). */
function redirectTarget(answer: HttpAnswer, question: Question): URL | undefined {
  if (![301, 302, 303, 307, 308].includes(answer.status)) return undefined;
  if (question.method === 'POST' && answer.status < 307) return undefined;
  const { location } = answer.headers;
  if (location === undefined || !URL.canParse(location, question.url.href)) return undefined;
  const target = new URL(location, question.url);
  return target.protocol === 'http:' || target.protocol === 'https:' ? target : undefined;
}

async function askOnce(context: Context, question: Question): Promise<HttpAnswer> {
  try {
    return await context.client.request({
      ...question,
      timeoutMs: context.timeoutMs,
      answerBytesMax: context.answerBytesMax ?? ANSWER_BYTES_MAX,
      ...(context.signal === undefined ? {} : { signal: context.signal }),
    });
  } catch (cause) {
    if (!(cause instanceof HttpFailure)) throw cause;
    if (cause.kind === 'timeout') {
      const host = question.url.host;
      throw new SuError('gateway-timeout', 'the gateway did not answer in time; try again later', {
        cause,
        details: { host, timeoutMs: context.timeoutMs },
      });
    }
    throw unavailable(question.url, cause.message, cause);
  }
}

function readJson(answer: HttpAnswer, url: URL): unknown {
  refuseFailure(answer, url);
  const value = parseJson(answer.body);
  if (value === undefined) throw nonsense(url, 'no JSON');
  return value;
}

function refuseFailure(answer: HttpAnswer, url: URL): void {
  if (answer.cut) throw unavailable(url, `its answer has more than ${ANSWER_BYTES_MAX} bytes`);
  if (!isSuccess(answer)) throw unavailable(url, `it answered ${answer.status}`);
}

function isSuccess({ status }: HttpAnswer): boolean {
  return status >= 200 && status <= 299;
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

function nonsense(url: URL, what: string): SuError {
  return unavailable(url, `its answer holds ${what}`);
}

/** The sentence is the client's, so it names no inner host; the log gets host and reason. */
function unavailable(url: URL, reason: string, cause?: unknown): SuError {
  return new SuError('gateway-unavailable', 'the gateway cannot be asked; try again later', {
    details: { host: url.host, path: url.pathname, reason },
    ...(cause === undefined ? {} : { cause }),
  });
}
