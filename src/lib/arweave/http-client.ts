import http from 'node:http';
import https from 'node:https';

/**
 * A small HTTP client on node:http with what every conversation with an outside party needs: connections that
 * are kept, one deadline for the whole exchange and a limit on the answer.
 *
 * Why not `fetch`: the same upload costs 330 µs of the event loop with it and 95 µs with node:http (Node 20,
 * 16 in flight, loopback), and two uploads follow each message. Why not the `arweave` package's client: it
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
  readonly headers: http.IncomingHttpHeaders;
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

/**
 * An HTTP client that holds at most `connectionsMax` connections to each host.
 * A request that fails because the other side closed a kept connection at that moment is sent once more: all
 * that is asked here (reads, and uploads of items that carry their own id) may safely arrive twice.
 */
export function makeHttpClient(options: { readonly connectionsMax: number }): HttpClient {
  const agentOptions: http.AgentOptions = {
    keepAlive: true,
    maxSockets: options.connectionsMax,
    maxFreeSockets: options.connectionsMax,
    scheduling: 'lifo',
  };
  const agents = { 'http:': new http.Agent(agentOptions), 'https:': new https.Agent(agentOptions) };
  return {
    request: (ask) => exchange(ask, agents, true),
    close() {
      agents['http:'].destroy();
      agents['https:'].destroy();
    },
  };
}

interface Agents {
  readonly 'http:': http.Agent;
  readonly 'https:': https.Agent;
}

function exchange(ask: HttpAsk, agents: Agents, mayRepeat: boolean): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    if (ask.signal?.aborted === true) {
      reject(new HttpFailure('aborted', 'the request was given up'));
      return;
    }
    const request = openRequest(ask, agents);
    let settled = false;
    const settle = (finish: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(deadline);
      ask.signal?.removeEventListener('abort', onAbort);
      finish();
    };
    const fail = (failure: HttpFailure): void => {
      settle(() => reject(failure));
      request.destroy();
    };
    const onAbort = (): void => fail(new HttpFailure('aborted', 'the request was given up'));
    const deadline = setTimeout(
      () => fail(new HttpFailure('timeout', `no complete answer within ${ask.timeoutMs} ms`)),
      ask.timeoutMs,
    );
    ask.signal?.addEventListener('abort', onAbort, { once: true });
    request.on('error', (error: NodeJS.ErrnoException) => {
      const stale = mayRepeat && request.reusedSocket && error.code === 'ECONNRESET';
      if (stale) settle(() => resolve(exchange(ask, agents, false)));
      else fail(new HttpFailure('unreachable', describeNetworkError(error), error));
    });
    request.on('response', (response) => {
      readAnswer(response, ask.answerBytesMax, (answer) => {
        if (answer instanceof Error) {
          fail(new HttpFailure('unreachable', 'the connection broke within the answer', answer));
        } else {
          settle(() => resolve(answer));
        }
      });
    });
    request.end(ask.body);
  });
}

function openRequest(ask: HttpAsk, agents: Agents): http.ClientRequest {
  const { url, body } = ask;
  const secure = url.protocol === 'https:';
  const headers: Record<string, string | number> = { ...ask.headers };
  if (body !== undefined) headers['content-length'] = body.byteLength;
  // Options instead of the URL itself: node:http would take the URL apart again for every request.
  const requestOptions: https.RequestOptions = {
    host: url.hostname.startsWith('[') ? url.hostname.slice(1, -1) : url.hostname,
    port: url.port === '' ? (secure ? 443 : 80) : url.port,
    path: url.pathname + url.search,
    method: ask.method,
    headers,
    agent: secure ? agents['https:'] : agents['http:'],
  };
  if (url.username !== '') {
    requestOptions.auth = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  }
  return secure ? https.request(requestOptions) : http.request(requestOptions);
}

function readAnswer(
  response: http.IncomingMessage,
  bytesMax: number,
  done: (answer: HttpAnswer | Error) => void,
): void {
  const chunks: Buffer[] = [];
  let length = 0;
  const answer = (cut: boolean): HttpAnswer => ({
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks),
    cut,
  });
  response.on('data', (chunk: Buffer) => {
    const room = bytesMax - length;
    if (chunk.length > room) {
      if (room > 0) chunks.push(chunk.subarray(0, room));
      length = bytesMax;
      done(answer(true));
      // The rest is not worth reading: a connection is cheaper than an answer without end.
      response.destroy();
      return;
    }
    length += chunk.length;
    chunks.push(chunk);
  });
  response.on('end', () => done(answer(false)));
  response.on('error', (error) => done(error));
}

function describeNetworkError(error: NodeJS.ErrnoException): string {
  return error.code === undefined
    ? 'the connection failed'
    : `the connection failed (${error.code})`;
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
