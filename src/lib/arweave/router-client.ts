import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { PlacedProcess, RouterPort } from '../scheduler/ports.js';
import { HttpFailure, joinUrl, makeHttpClient, type HttpAnswer } from './http-client.js';

const ANSWER_BYTES_MAX = 65_536;
const CONNECTIONS_MAX = 16;

/** Asks a router where it has placed a process, by a read of the process whose redirect is not followed. */
export function makeRouterClient(options: {
  readonly url: string;
  readonly timeoutMs: number;
}): RouterPort & { close(): void } {
  const client = makeHttpClient({ connectionsMax: CONNECTIONS_MAX });

  async function ask(url: URL): Promise<HttpAnswer> {
    try {
      const { timeoutMs } = options;
      return await client.request({
        url,
        method: 'GET',
        timeoutMs,
        answerBytesMax: ANSWER_BYTES_MAX,
      });
    } catch (cause) {
      if (!(cause instanceof HttpFailure)) throw cause;
      if (cause.kind === 'timeout') {
        throw new SuError('gateway-timeout', 'the router did not answer in time; try again later', {
          cause,
        });
      }
      throw unavailable(cause.message, cause);
    }
  }

  return {
    async fetchPlace(processId: Id): Promise<PlacedProcess> {
      const url = joinUrl(options.url, processId);
      url.searchParams.set('process-id', processId);
      const { status, headers } = await ask(url);
      const { location } = headers;
      if (status >= 301 && status <= 308 && location !== undefined) {
        if (!URL.canParse(location, url.href)) throw unavailable('its Location is no URL');
        return { status: 'placed', url: new URL(location, url).href };
      }
      // A router that forwards answers a read itself: with the process from wherever it is.
      if (status >= 200 && status < 300) return { status: 'elsewhere' };
      if (status >= 400 && status < 500 && status !== 408 && status !== 429) {
        return { status: 'unknown' };
      }
      throw unavailable(`it answered ${status}`);
    },
    close: () => client.close(),
  };
}

function unavailable(reason: string, cause?: unknown): SuError {
  return new SuError('gateway-unavailable', 'the router cannot be asked; try again later', {
    details: { reason },
    ...(cause === undefined ? {} : { cause }),
  });
}
