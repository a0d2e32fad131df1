import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { HttpFailure, joinUrl, makeHttpClient, type HttpAnswer } from './http-client.js';

/** Logs of a Scheduler Unit over HTTP, for an audit. */
export interface LogClient {
  fetchProcess(processId: Id): Promise<unknown>;
  fetchPage(processId: Id, afterNonce: number): Promise<unknown>;
  fetchFirstSince(processId: Id, since: number): Promise<unknown>;
  close(): void;
}

export interface LogClientOptions {
  /** Base URL of the Scheduler Unit or of a router. */
  readonly url: string;
  /** For each question, from connecting to the end of the answer. */
  readonly timeoutMs: number;
  readonly connectionsMax: number;
  /** Entries in a page. */
  readonly pageEntries: number;
  /** Waits this many milliseconds before a question is asked again. */
  readonly pause: (ms: number) => Promise<void>;
}

/** A page of the reference has 1 GiB at most; this holds any that is asked for here. */
const ANSWER_BYTES_MAX = 512 << 20;
const REDIRECTS_MAX = 3;
const TRIES_MAX = 4;
const PAUSE_MS = 500;

/**
 * Asks any Scheduler Unit for its logs; a router's redirects are followed. An answer that is missing or says "later" is
 * asked for again a few times.
 *
 * @returns methods that throw SuError `store-unavailable`
 */
export function makeLogClient(options: LogClientOptions): LogClient {
  const client = makeHttpClient(options);
  const { pageEntries } = options;

  async function ask(path: string, redirects = 0): Promise<HttpAnswer> {
    const start = /^https?:/.test(path) ? new URL(path) : joinUrl(options.url, path);
    const answer = await client.request({
      url: start,
      method: 'GET',
      timeoutMs: options.timeoutMs,
      answerBytesMax: ANSWER_BYTES_MAX,
    });
    const { location } = answer.headers;
    if (answer.status < 300 || answer.status > 399 || location === undefined) return answer;
    if (redirects === REDIRECTS_MAX) throw unavailable(options.url, 'it redirects without an end');
    const target = URL.canParse(location, start.href) ? new URL(location, start) : undefined;
    if (target === undefined || !/^https?:$/.test(target.protocol)) {
      throw unavailable(options.url, 'it redirects elsewhere');
    }
    return ask(target.href, redirects + 1);
  }

  async function askAgain(path: string): Promise<HttpAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const answer = await ask(path);
        if (attempt === TRIES_MAX || !isLater(answer.status)) return answer;
      } catch (error) {
        if (!(error instanceof HttpFailure)) throw error;
        if (attempt === TRIES_MAX) throw unavailable(options.url, error.message, error);
      }
      await options.pause(PAUSE_MS * 2 ** attempt);
    }
  }

  async function askPage(processId: Id, query: Readonly<Record<string, string>>): Promise<unknown> {
    const search = new URLSearchParams({ 'process-id': processId, ...query });
    const answer = await askAgain(`${processId}?${search.toString()}`);
    return readJson(options.url, answer);
  }

  return {
    async fetchProcess(processId) {
      const path = `processes/${processId}?process-id=${processId}`;
      const answer = await askAgain(path);
      // The reference answers 400 for a process that it does not know.
      if (answer.status === 404 || answer.status === 400) return undefined;
      return readJson(options.url, answer);
    },
    fetchPage: (processId, afterNonce) =>
      askPage(processId, {
        'from-nonce': String(afterNonce),
        limit: String(pageEntries),
        'show-anchor': 'true',
      }),
    fetchFirstSince: (processId, since) =>
      askPage(processId, { from: String(Math.max(0, since - 1)), limit: '1' }),
    close: () => client.close(),
  };
}

function isLater(status: number): boolean {
  return status === 429 || (status >= 500 && status <= 599);
}

function readJson(url: string, { status, body, cut }: HttpAnswer): unknown {
  if (status !== 200) throw unavailable(url, `it answered ${status}`);
  if (cut) throw unavailable(url, `its answer has more than ${ANSWER_BYTES_MAX} bytes`);
  try {
    return JSON.parse(body.toString('utf8')) as unknown;
  } catch (cause) {
    throw unavailable(url, 'its answer is no JSON', cause);
  }
}

/** The operator named the address, so the sentence may repeat it, without the password it may hold. */
function unavailable(url: string, reason: string, cause?: unknown): SuError {
  const { origin, pathname } = new URL(url);
  const where = origin + pathname.replace(/\/+$/, '');
  return new SuError('store-unavailable', `${where} cannot be audited: ${reason}`, { cause });
}
