import http, { type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import { SuError } from '../errors.js';
import type { SchedulerHealth } from '../router/ports.js';

/*
 * Requests to Scheduler Units on a client's behalf, over connections that are kept.
 *
 * Promises: at most so many requests to one SU at a time, so that a slow one cannot use up what the others need; when there
 * are that many, answers whose clients do not read are cut off; every wait has a limit; a request to an SU that is known to
 * be lost fails at once, and one that waits when it is lost fails then. The SU's health hears of every success and failure.
 */

export interface UpstreamLimits {
  /** Requests to one SU at one time. */
  readonly inFlightMax: number;
  /** Until the connection stands. */
  readonly connectMs: number;
  /** From there until the answer begins; it includes what the SU itself waits for. */
  readonly answerMs: number;
  /** Within an answer, while nothing comes. */
  readonly idleMs: number;
  /** The same while others are refused for it. */
  readonly stalledMs: number;
}

export const UPSTREAM_LIMITS: UpstreamLimits = {
  inFlightMax: 512,
  connectMs: 2_000,
  answerMs: 45_000,
  idleMs: 180_000,
  stalledMs: 5_000,
};

export interface UpstreamAsk {
  /** Base URL of the SU. */
  readonly url: string;
  readonly method: string;
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  readonly body: Buffer | undefined;
  /** The client went away. */
  readonly signal: AbortSignal;
}

/** No answer began. `wasSent`: the SU may have the request. */
export class UpstreamFailure extends SuError {
  readonly wasSent: boolean;

  constructor(error: SuError, wasSent: boolean) {
    super(error.code, error.message, { details: error.details, cause: error.cause });
    this.wasSent = wasSent;
  }
}

export interface Upstream {
  /**
   * Sends a request and resolves when its answer begins; the answer's body is the caller's to read or destroy.
   *
   * @throws UpstreamFailure `scheduler-unavailable`, `scheduler-timeout`, `scheduler-busy`
   */
  open(ask: UpstreamAsk): Promise<IncomingMessage>;
  close(): void;
}

export interface UpstreamOptions {
  readonly health: Pick<SchedulerHealth, 'isReachable' | 'succeeded' | 'failed'> & {
    onOpen(url: string, callback: () => void): () => void;
  };
  readonly limits: UpstreamLimits;
}

/** See the promises above. */
export function makeUpstream(options: UpstreamOptions): Upstream {
  return new PooledUpstream(options);
}

/** A request to an SU, from its beginning to the end of its answer. */
interface Place {
  answer: IncomingMessage | undefined;
  /** What of the answer had come when somebody last found no place. */
  bytesSeen: number;
  seenAt: number;
}

class PooledUpstream implements Upstream {
  readonly #health: UpstreamOptions['health'];
  readonly #limits: UpstreamLimits;
  readonly #agents: Agents;
  readonly #inFlight = new Map<string, Set<Place>>();

  constructor({ health, limits }: UpstreamOptions) {
    this.#health = health;
    this.#limits = limits;
    const agentOptions: http.AgentOptions = {
      keepAlive: true,
      maxSockets: limits.inFlightMax,
      maxFreeSockets: 64,
      scheduling: 'lifo',
    };
    this.#agents = {
      'http:': new http.Agent(agentOptions),
      'https:': new https.Agent(agentOptions),
    };
  }

  async open(ask: UpstreamAsk): Promise<IncomingMessage> {
    const { url, signal } = ask;
    // The address of a client that has gone is not known any more: the SU would take this router for it.
    if (signal.aborted) throw lost(url, 'the client went away', { wasSent: false });
    if (!this.#health.isReachable(url)) throw lost(url, 'it does not answer', { wasSent: false });
    const place = this.#enter(url);
    try {
      const answer = await this.#exchange(ask, true);
      this.#health.succeeded(url);
      place.answer = answer;
      answer.once('close', () => this.#leave(url, place));
      return answer;
    } catch (error) {
      this.#leave(url, place);
      if (error instanceof UpstreamFailure && !signal.aborted) {
        this.#health.failed(url, String(error.details['reason']));
      }
      throw error;
    }
  }

  close(): void {
    this.#agents['http:'].destroy();
    this.#agents['https:'].destroy();
  }

  #enter(url: string): Place {
    const places = this.#inFlight.get(url) ?? new Set();
    if (places.size >= this.#limits.inFlightMax) this.#cutStalled(places);
    if (places.size >= this.#limits.inFlightMax) throw busy(url, places.size);
    const place: Place = { answer: undefined, bytesSeen: 0, seenAt: 0 };
    places.add(place);
    this.#inFlight.set(url, places);
    return place;
  }

  #leave(url: string, place: Place): void {
    const places = this.#inFlight.get(url);
    places?.delete(place);
    if (places?.size === 0) this.#inFlight.delete(url);
  }

  /** Cuts off the answers of which nothing came since they were looked at `stalledMs` ago or earlier: nobody takes them. */
  #cutStalled(places: Set<Place>): void {
    const now = performance.now();
    for (const place of places) {
      const { answer } = place;
      if (answer === undefined) continue;
      const { bytesRead } = answer.socket;
      if (bytesRead !== place.bytesSeen) {
        place.bytesSeen = bytesRead;
        place.seenAt = now;
      } else if (now - place.seenAt >= this.#limits.stalledMs) {
        places.delete(place);
        answer.destroy(new Error('nobody takes the answer, and others want its place'));
      }
    }
  }

  #exchange(ask: UpstreamAsk, mayRepeat: boolean): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const request = openRequest(ask, this.#agents);
      let isSettled = false;
      const settle = (finish: () => void): void => {
        if (isSettled) return;
        isSettled = true;
        waiting.end();
        finish();
      };
      const fail = (failure: UpstreamFailure): void => {
        settle(() => reject(failure));
        request.destroy();
      };
      const waiting = this.#watchOver(request, ask, fail);
      request.on('response', (answer) => {
        limitIdle(answer, this.#limits.idleMs);
        settle(() => resolve(answer));
      });
      request.on('error', (error: NodeJS.ErrnoException) => {
        // The SU closed the kept connection at this moment. All that is sent may safely arrive twice.
        const isStale = mayRepeat && request.reusedSocket && error.code === 'ECONNRESET';
        const reason = error.code ?? error.message;
        if (isStale) settle(() => resolve(this.#repeat(ask)));
        else fail(lost(ask.url, reason, { wasSent: waiting.wasSent(), cause: error }));
      });
      request.end(ask.body);
    });
  }

  /** Whatever becomes of it, the SU may have the request from the first time: it may have died of it. */
  async #repeat(ask: UpstreamAsk): Promise<IncomingMessage> {
    try {
      return await this.#exchange(ask, false);
    } catch (error) {
      throw error instanceof UpstreamFailure ? new UpstreamFailure(error, true) : error;
    }
  }

  /** Sees to it that a request ends, one way or another, before its answer begins. */
  #watchOver(
    request: http.ClientRequest,
    { url, signal }: UpstreamAsk,
    fail: (failure: UpstreamFailure) => void,
  ): { end(): void; wasSent(): boolean } {
    const { connectMs, answerMs } = this.#limits;
    let isConnected = request.reusedSocket;
    let timer = setTimeout(
      () => fail(late(url, `no connection within ${connectMs} ms`, isConnected)),
      connectMs,
    );
    const connected = (): void => {
      isConnected = true;
      clearTimeout(timer);
      timer = setTimeout(() => fail(late(url, `no answer within ${answerMs} ms`, true)), answerMs);
    };
    request.once('socket', (socket) => {
      const event = url.startsWith('https:') ? 'secureConnect' : 'connect';
      if (socket.connecting) socket.once(event, connected);
      else connected();
    });
    const onAbort = (): void => fail(lost(url, 'the client went away', { wasSent: isConnected }));
    signal.addEventListener('abort', onAbort, { once: true });
    const stopped = (): void => fail(late(url, 'it stopped answering', isConnected));
    const forget = this.#health.onOpen(url, stopped);
    return {
      wasSent: () => isConnected,
      end() {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        forget();
      },
    };
  }
}

interface Agents {
  readonly 'http:': http.Agent;
  readonly 'https:': https.Agent;
}

/** Breaks off an answer of which nothing more comes; the connection leaves with its own limits. */
function limitIdle(answer: IncomingMessage, idleMs: number): void {
  const { socket } = answer;
  const onIdle = (): void => void answer.destroy(new Error('nothing more came of the answer'));
  const stop = (): void => {
    socket.off('timeout', onIdle);
    socket.setTimeout(0);
  };
  socket.setTimeout(idleMs);
  socket.on('timeout', onIdle);
  answer.once('end', stop);
  answer.once('error', stop);
}

function openRequest(
  { url, method, path, headers }: UpstreamAsk,
  agents: Agents,
): http.ClientRequest {
  const base = new URL(url);
  const secure = base.protocol === 'https:';
  const options: https.RequestOptions = {
    host: base.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: base.port === '' ? (secure ? 443 : 80) : base.port,
    path: base.pathname.replace(/\/+$/, '') + path,
    method,
    headers,
    agent: secure ? agents['https:'] : agents['http:'],
  };
  return secure ? https.request(options) : http.request(options);
}

/** The sentences are the client's, who must not learn the addresses of a private network; the log gets them. */
function lost(
  url: string,
  reason: string,
  { wasSent, cause }: { readonly wasSent: boolean; readonly cause?: unknown },
): UpstreamFailure {
  const error = new SuError(
    'scheduler-unavailable',
    'the Scheduler Unit of this process cannot be reached; try again later',
    { details: { scheduler: url, reason }, cause },
  );
  return new UpstreamFailure(error, wasSent);
}

function late(url: string, reason: string, wasSent: boolean): UpstreamFailure {
  const error = new SuError(
    'scheduler-timeout',
    'the Scheduler Unit of this process did not answer in time; try again later',
    { details: { scheduler: url, reason } },
  );
  return new UpstreamFailure(error, wasSent);
}

function busy(url: string, count: number): SuError {
  return new SuError(
    'scheduler-busy',
    'too many requests to the Scheduler Unit of this process are under way; try again later',
    { details: { scheduler: url, inFlight: count }, retryAfterSeconds: 1 },
  );
}
