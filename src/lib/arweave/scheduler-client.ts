import { SuError } from '../errors.js';
import type { SchedulerClient } from '../router/ports.js';
import { HttpFailure, joinUrl, makeHttpClient } from './http-client.js';
import type { HttpAnswer, HttpClient } from './http-client.js';

/** The record of a process holds its data, which may be large; whether it is there is told by the status. */
const ANSWER_BYTES_MAX = 16_384;

export interface SchedulerClientOptions {
  /** For each question, from connecting to the end of the answer. */
  readonly timeoutMs: number;
  /** To each SU. */
  readonly connectionsMax: number;
}

/**
 * What a router asks of its Scheduler Units. Answers are bounded in time and size; an SU that is away, answers 5xx or
 * answers nonsense is `scheduler-unavailable`, one that is too slow `scheduler-timeout`. Redirects are not followed: an SU
 * answers for itself.
 */
export function makeSchedulerClient(
  options: SchedulerClientOptions,
): SchedulerClient & { close(): void } {
  const client = makeHttpClient(options);
  const { timeoutMs } = options;
  const ask = (base: string, path: string, signal: AbortSignal | undefined): Promise<HttpAnswer> =>
    fetchAnswer(client, { base, path, timeoutMs, signal });
  return {
    async fetchKnowsProcess(base, processId, signal) {
      const { status } = await ask(base, `processes/${processId}`, signal);
      if (status === 200) return true;
      // Other implementations answer 400 where ours says 404. Whoever may not be told (401, 403) knows nothing: a placement
      // would be taken back, and the process be placed a second time.
      if (status === 404 || status === 400) return false;
      throw unavailable(base, `it answered ${status}`);
    },
    async fetchBlockHeight(base, signal) {
      const { block_height } = readJson(base, await ask(base, 'timestamp', signal));
      if (typeof block_height !== 'string' || !/^\d{1,12}$/.test(block_height)) {
        throw unavailable(base, 'its answer holds no block height');
      }
      return Number(block_height);
    },
    async fetchInfo(base, signal) {
      const { address, timestamp } = readJson(base, await ask(base, '', signal));
      if (typeof address !== 'string' || !/^\d{1,15}$/.test(String(timestamp))) {
        throw unavailable(base, 'its answer holds no address and timestamp');
      }
      return { address, timestamp: Number(timestamp) };
    },
    async fetchHealth(base, signal) {
      const { status } = await ask(base, 'health', signal);
      if (status === 503) return 'waiting';
      if (status >= 500) throw unavailable(base, `it answered ${status}`);
      return 'ready';
    },
    close: () => client.close(),
  };
}

async function fetchAnswer(
  client: HttpClient,
  question: {
    readonly base: string;
    readonly path: string;
    readonly timeoutMs: number;
    readonly signal: AbortSignal | undefined;
  },
): Promise<HttpAnswer> {
  const { base, path, timeoutMs, signal } = question;
  try {
    return await client.request({
      url: joinUrl(base, path),
      method: 'GET',
      timeoutMs,
      answerBytesMax: ANSWER_BYTES_MAX,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (cause) {
    if (!(cause instanceof HttpFailure)) throw cause;
    if (cause.kind !== 'timeout') throw unavailable(base, cause.message, cause);
    throw new SuError('scheduler-timeout', 'the Scheduler Unit did not answer in time', {
      cause,
      details: { scheduler: base, timeoutMs },
    });
  }
}

function readJson(base: string, { status, body, cut }: HttpAnswer): Record<string, unknown> {
  if (status !== 200) throw unavailable(base, `it answered ${status}`);
  if (cut) throw unavailable(base, `its answer has more than ${ANSWER_BYTES_MAX} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    // The same as an answer of another shape.
  }
  if (typeof value !== 'object' || value === null) throw unavailable(base, 'its answer is no JSON');
  return value as Record<string, unknown>;
}

/** The sentence may reach a client, who must not learn the addresses of a private network; the log gets them. */
function unavailable(base: string, reason: string, cause?: unknown): SuError {
  return new SuError('scheduler-unavailable', 'a Scheduler Unit cannot be asked; try again later', {
    details: { scheduler: base, reason },
    ...(cause === undefined ? {} : { cause }),
  });
}
