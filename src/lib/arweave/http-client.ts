import { Agent, type Dispatcher } from 'undici';
import { ExchangeLine } from './exchange-line.js';

/**
 * A small HTTP client on undici with what every conversation with an outside party needs: connections that
 * are kept, one deadline for the whole exchange and a limit on the answer.
 *
 * Why not `fetch`: the same upload costs 330 µs of the event loop with it, 70 to 80 with node:http and 30 with what both
 * are made of (8 in flight, loopback), and two uploads follow each message. Why not the `arweave` package's client: it
 * has no deadline, reads answers of any size and drops the base path of a URL.
 */
export interface HttpClient {
  /** @throws HttpFailure when there is no complete answer */
  request(ask: HttpAsk): Promise<HttpAnswer>;
  /** Closes the kept connections; requests in flight fail. */
  close(): void;
}

export interface HttpAsk {
  readonly url: URL;
  readonly method: 'GET' | 'HEAD' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** For the whole exchange, from connecting to the last byte of the answer. */
  readonly timeoutMs: number;
  /** What follows is not read. */
  readonly answerBytesMax: number;
  readonly signal?: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** By lower-case names; of a header that comes twice the first. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** At most `answerBytesMax` bytes. */
  readonly body: Buffer;
  /** The answer was longer than `answerBytesMax`. */
  readonly cut: boolean;
}

/** There is no complete answer. `timeout`: the deadline passed; `unreachable`: the connection failed or broke; `aborted`: by the caller. */
export class HttpFailure extends Error {
  readonly kind: 'timeout' | 'unreachable' | 'aborted';

  constructor(kind: HttpFailure['kind'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'HttpFailure';
    this.kind = kind;
  }
}

/** How long an idle connection is kept when the other side does not say, ms. */
const IDLE_MS = 30_000;

/** Requests that may wait for a connection to one host. */
const WAITING_MAX = 1_024;

/** How undici names a connection that breaks before the answer. */
const BROKEN = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/**
 * An HTTP client that holds at most `connectionsMax` connections to each host.
 * A request whose connection breaks before any of its answer came is sent once more, because the other side may have closed
 * a kept connection at that moment: all that is asked here (reads, and uploads of items that carry their own id) may
 * safely arrive twice.
 */
export function makeHttpClient(options: { readonly connectionsMax: number }): HttpClient {
  const agent = new Agent({
    connections: options.connectionsMax,
    pipelining: 1,
    keepAliveTimeout: IDLE_MS,
    // An exchange has one deadline, of its own.
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const line = new ExchangeLine({ atOnceMax: options.connectionsMax, waitingMax: WAITING_MAX });
  return {
    request: (ask) =>
      exchange(ask, { agent, line, endsAt: performance.now() + ask.timeoutMs, mayRepeat: true }),
    close() {
      agent.destroy().catch(() => undefined);
    },
  };
}

interface Exchanges {
  readonly agent: Agent;
  readonly line: ExchangeLine;
  /** The repeated one has no deadline of its own. */
  readonly endsAt: number;
  readonly mayRepeat: boolean;
}

function exchange(ask: HttpAsk, exchanges: Exchanges): Promise<HttpAnswer> {
  const { agent, line, endsAt, mayRepeat } = exchanges;
  return new Promise((resolve, reject) => {
    if (ask.signal?.aborted === true) {
      reject(givenUp());
      return;
    }
    const dispatch = dispatchOf(ask);
    let controller: Dispatcher.DispatchController | undefined;
    let settled = false;
    let leave: (() => void) | undefined;
    const settle = (finish: () => void): void => {
      if (settled) return;
      settled = true;
      leave?.();
      clearTimeout(deadline);
      ask.signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const fail = (failure: HttpFailure): void => {
      settle(() => reject(failure));
      controller?.abort(failure);
    };
    const onAbort = (): void => fail(givenUp());
    const deadline = setTimeout(
      () => fail(new HttpFailure('timeout', `no complete answer within ${ask.timeoutMs} ms`)),
      endsAt - performance.now(),
    );
    ask.signal?.addEventListener('abort', onAbort, { once: true });
    const answer = new AnswerReader(ask.answerBytesMax);
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(given) {
        controller = given;
        // Given up while it waited for a connection.
        if (settled) given.abort(givenUp());
      },
      onResponseStart: (_, status, headers) => answer.begin(status, headers),
      onResponseData(given, chunk) {
        if (answer.add(chunk)) return;
        settle(() => resolve(answer.end()));
        // The rest is not worth reading: a connection is cheaper than an answer without end.
        given.abort(givenUp());
      },
      onResponseEnd: () => settle(() => resolve(answer.end())),
      onResponseError(_, error: NodeJS.ErrnoException) {
        if (settled) return;
        if (answer.hasBegun) {
          fail(new HttpFailure('unreachable', 'the connection broke within the answer', error));
        } else if (mayRepeat && BROKEN.has(error.code ?? '')) {
          settle(() => resolve(exchange(ask, { ...exchanges, mayRepeat: false })));
        } else {
          fail(new HttpFailure('unreachable', describeNetworkError(error), error));
        }
      },
    };
    leave = line.enter(dispatch.origin, () => agent.dispatch(dispatch, handler));
    if (leave === undefined) fail(new HttpFailure('unreachable', 'too many wait for a connection'));
    // It failed before there was a place to leave.
    else if (settled) leave();
  });
}

function givenUp(): HttpFailure {
  return new HttpFailure('aborted', 'the request was given up');
}

function dispatchOf({
  url,
  method,
  headers,
  body,
}: HttpAsk): Dispatcher.DispatchOptions & { readonly origin: string } {
  return {
    origin: url.origin,
    path: url.pathname + url.search,
    method,
    headers: { ...authorizationOf(url), ...headers },
    body: body ?? null,
  };
}

/** @throws HttpFailure for what is no text: whoever redirects may have made it up */
function authorizationOf({ username, password }: URL): { readonly authorization?: string } {
  if (username === '') return {};
  let credentials: string;
  try {
    credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  } catch (cause) {
    const reason = 'the user or password in its URL is not percent-encoded text';
    throw new HttpFailure('unreachable', reason, cause);
  }
  return { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
}

type ReceivedHeaders = Readonly<Record<string, string | string[] | undefined>>;

function firstOfEach(headers: ReceivedHeaders): HttpAnswer['headers'] {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value[0] : value]),
  );
}

/** An answer that is coming in, up to a limit. */
class AnswerReader {
  readonly #bytesMax: number;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #status = 0;
  #headers: ReceivedHeaders = {};
  #cut = false;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get hasBegun(): boolean {
    return this.#status !== 0;
  }

  begin(status: number, headers: ReceivedHeaders): void {
    this.#status = status;
    this.#headers = headers;
  }

  /** False: there was more than the limit. */
  add(chunk: Buffer): boolean {
    const room = this.#bytesMax - this.#length;
    const taken = chunk.length > room ? chunk.subarray(0, room) : chunk;
    this.#cut ||= taken !== chunk;
    if (taken.length > 0) this.#chunks.push(taken);
    this.#length += taken.length;
    return !this.#cut;
  }

  end(): HttpAnswer {
    const [first = Buffer.alloc(0)] = this.#chunks;
    const headers = this.#headers;
    return {
      status: this.#status,
      // Most answers are told by their status alone.
      get headers() {
        return firstOfEach(headers);
      },
      body: this.#chunks.length > 1 ? Buffer.concat(this.#chunks) : first,
      cut: this.#cut,
    };
  }
}

function describeNetworkError({ code, message }: NodeJS.ErrnoException): string {
  // Other messages of undici name addresses, which are for nobody but the operator.
  const reason = code === 'UND_ERR_SOCKET' ? message : code;
  return reason === undefined ? 'the connection failed' : `the connection failed (${reason})`;
}

/**
 * `base` with `path` appended, whether or not the base has a path of its own or ends in a slash.
 *
 * @param path without a slash at its start; may hold a query
 */
export function joinUrl(base: string, path: string): URL {
  const [withoutQuery = base] = base.split(/[?#]/, 1);
  return new URL(`${withoutQuery.replace(/\/+$/, '')}/${path}`);
}
