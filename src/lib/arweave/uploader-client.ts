import type { UploaderClient, UploadResult } from '../uploader/ports.js';
import { HttpFailure, joinUrl, makeHttpClient } from './http-client.js';
import type { HttpAnswer } from './http-client.js';

/** Enough of an answer to say why; the receipt of an accepted item is not kept. */
const ANSWER_BYTES_MAX = 16_384;
const REASON_LENGTH_MAX = 200;
const OCTETS = { 'content-type': 'application/octet-stream' } as const;

export interface UploaderClientOptions {
  /** UPLOAD_NODE_URL */
  readonly url: string;
  /** For each upload, from connecting to the end of the answer. */
  readonly timeoutMs: number;
  readonly connectionsMax: number;
}

/**
 * The bundler: `POST {url}/tx/arweave` with the item's bytes. Never throws for what the bundler or the network
 * does; the answer says what became of the upload.
 */
export function makeUploaderClient(
  options: UploaderClientOptions,
): UploaderClient & { close(): void } {
  const client = makeHttpClient(options);
  const url = joinUrl(options.url, 'tx/arweave');
  const { timeoutMs } = options;
  return {
    async upload(bytes, signal) {
      try {
        const answer = await client.request({
          url,
          method: 'POST',
          headers: OCTETS,
          body: bytes,
          timeoutMs,
          answerBytesMax: ANSWER_BYTES_MAX,
          ...(signal === undefined ? {} : { signal }),
        });
        return classifyAnswer(answer);
      } catch (error) {
        if (!(error instanceof HttpFailure)) throw error;
        return { status: 'failed', reason: error.message, retryAfterMs: undefined };
      }
    },
    close: () => client.close(),
  };
}

/** What the status of an answer says about the item, the account or the moment. */
export function classifyAnswer(
  answer: Pick<HttpAnswer, 'status' | 'headers' | 'body'>,
): UploadResult {
  const { status } = answer;
  if (status >= 200 && status <= 299) return { status: 'accepted' };
  const reason = reasonOf(answer);
  if ([400, 409, 413, 415, 422].includes(status)) return { status: 'refused', reason };
  if ([408, 425, 429].includes(status) || (status >= 500 && status <= 599)) {
    return { status: 'failed', reason, retryAfterMs: retryAfterMs(answer.headers['retry-after']) };
  }
  return { status: 'misconfigured', reason };
}

/** Delay in seconds only: the form with a date depends on two clocks, and without one our own backoff applies. */
function retryAfterMs(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}

function reasonOf(answer: Pick<HttpAnswer, 'status' | 'body'>): string {
  const text = answer.body
    .toString('utf8', 0, REASON_LENGTH_MAX * 4)
    .replace(/[\p{C}\s]+/gu, ' ')
    .trim()
    .slice(0, REASON_LENGTH_MAX);
  return text === '' ? `${answer.status}` : `${answer.status}: ${text}`;
}

/** A second place that is told of what is uploaded. */
export interface CacheClient {
  /** True when it took the item. Never throws. */
  send(bytes: Uint8Array): Promise<boolean>;
  close(): void;
}

/** HyperBEAM's cache at CACHE_URL: `POST {url}/id?codec-device=ans104@1.0` with the item's bytes. */
export function makeCacheClient(options: UploaderClientOptions): CacheClient {
  const client = makeHttpClient(options);
  const url = joinUrl(options.url, 'id?codec-device=ans104@1.0');
  return {
    async send(bytes) {
      try {
        const { status } = await client.request({
          url,
          method: 'POST',
          headers: OCTETS,
          body: bytes,
          timeoutMs: options.timeoutMs,
          answerBytesMax: ANSWER_BYTES_MAX,
        });
        return status >= 200 && status <= 299;
      } catch (error) {
        if (error instanceof HttpFailure) return false;
        throw error;
      }
    },
    close: () => client.close(),
  };
}
