import { SuError } from '../errors.js';
import { HttpFailure, makeHttpClient, type HttpAnswer } from './http-client.js';

const REDIRECTS_MAX = 5;

export interface ListClient {
  /**
   * The bytes of a list that an operator keeps at a URL.
   * @throws SuError `gateway-unavailable`, `gateway-timeout` with the reason in words
   */
  fetch(signal: AbortSignal): Promise<Uint8Array>;
  close(): void;
}

/** Fetches one list over HTTP, bounded in time and size; redirects are followed. */
export function makeListClient(options: {
  readonly url: string;
  readonly timeoutMs: number;
  readonly bytesMax: number;
}): ListClient {
  const client = makeHttpClient({ connectionsMax: 1 });
  const { timeoutMs, bytesMax } = options;
  const first = new URL(options.url);

  async function get(url: URL, signal: AbortSignal): Promise<HttpAnswer> {
    try {
      return await client.request({
        url,
        method: 'GET',
        headers: { accept: 'application/json' },
        timeoutMs,
        answerBytesMax: bytesMax,
        signal,
      });
    } catch (cause) {
      if (!(cause instanceof HttpFailure)) throw cause;
      const code = cause.kind === 'timeout' ? 'gateway-timeout' : 'gateway-unavailable';
      throw new SuError(code, cause.message, { cause });
    }
  }

  return {
    async fetch(signal) {
      let url = first;
      for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
        const answer = await get(url, signal);
        const target = redirectTarget(answer, url);
        if (target === undefined) return bodyOf(answer, bytesMax);
        url = target;
      }
      throw new SuError('gateway-unavailable', `it redirected more than ${REDIRECTS_MAX} times`);
    },
    close: () => client.close(),
  };
}

function bodyOf({ status, body, cut }: HttpAnswer, bytesMax: number): Uint8Array {
  if (status !== 200) throw new SuError('gateway-unavailable', `it answered ${status}`);
  if (cut) throw new SuError('gateway-unavailable', `it has more than ${bytesMax} bytes`);
  return body;
}

function redirectTarget({ status, headers }: HttpAnswer, from: URL): URL | undefined {
  const { location } = headers;
  if (status < 301 || status > 308 || location === undefined) return undefined;
  if (!URL.canParse(location, from.href)) return undefined;
  const target = new URL(location, from);
  return target.protocol === 'http:' || target.protocol === 'https:' ? target : undefined;
}
