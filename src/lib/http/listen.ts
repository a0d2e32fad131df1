import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, Socket } from 'node:net';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { invariant, SuError } from '../errors.js';
import type { Log } from '../observability/log.js';
import { Connections, endWith } from './connections.js';

export interface ListenOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly log: Log;
  readonly timeouts?: Partial<HttpTimeouts>;
}

export interface HttpTimeouts {
  /** A request's headers must be in by then. */
  readonly headersMs: number;
  /** A whole request must be in by then; the last resort behind the body's own time limit. */
  readonly requestMs: number;
  /** A connection without a request is kept this long; above the 60 s that load balancers usually take. */
  readonly keepAliveMs: number;
  /** A connection on which nothing moves is closed, also one whose client does not read. */
  readonly idleMs: number;
  /** What is left of a body that was answered unread is let through for this long. */
  readonly lingerMs: number;
  /** When the server stops, requests are still taken until none came for so long … */
  readonly quietMs: number;
  /** … and no longer than this. */
  readonly graceMs: number;
  /** A body that is still being sent so long after the server began to stop is not waited for. */
  readonly bodyGraceMs: number;
}

export const HTTP_TIMEOUTS: HttpTimeouts = {
  headersMs: 20_000,
  requestMs: 150_000,
  keepAliveMs: 65_000,
  idleMs: 180_000,
  lingerMs: 5_000,
  quietMs: 100,
  graceMs: 1_000,
  bodyGraceMs: 3_000,
};

/** A server that accepts connections. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /**
   * Answers what was sent already, then stops accepting, closes connections without a request, lets requests in flight
   * finish, and destroys what is left after `deadlineMs`. Called again, it answers with the first call's promise.
   */
  close(deadlineMs: number): Promise<void>;
}

/** What koa's application offers; the only thing asked of it. */
export interface HttpApp {
  callback(): (request: IncomingMessage, response: ServerResponse) => unknown;
}

/**
 * Serves the application over HTTP.
 *
 * @throws SuError `invalid-config` when the port cannot be had
 */
export async function listen(app: HttpApp, options: ListenOptions): Promise<Listening> {
  const timeouts = { ...HTTP_TIMEOUTS, ...options.timeouts };
  const server = createServer({
    connectionsCheckingInterval: Math.min(timeouts.headersMs, 5_000),
    headersTimeout: timeouts.headersMs,
    requestTimeout: timeouts.requestMs,
    keepAliveTimeout: timeouts.keepAliveMs,
    // The application does, and says so.
    requireHostHeader: false,
  });
  server.setTimeout(timeouts.idleMs);
  const handle = app.callback();
  // Koa answers its own failures; what it returns is only the end of that.
  const connections = new Connections((request, response) => void handle(request, response), {
    lingerMs: timeouts.lingerMs,
  });
  server.on('connection', (socket: Socket) => connections.add(socket));
  const serve = (request: IncomingMessage, response: ServerResponse): void =>
    connections.take(request, response);
  server.on('request', serve);
  // Without a listener node would invite every body; the reader of bodies does it for those it will take.
  server.on('checkContinue', serve);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (socket instanceof Socket) answerBrokenRequest(error, socket, connections);
    else socket.destroy();
  });
  await bind(server, options);
  server.on('error', (error) => options.log.error({ event: 'http-server', err: error }));
  const address = server.address();
  invariant(typeof address === 'object' && address !== null, 'a TCP server has an address');
  const { port } = address;
  let closed: Promise<void> | undefined;
  return {
    host: options.host,
    port,
    close: (deadlineMs) => (closed ??= closeServer({ server, connections, timeouts }, deadlineMs)),
  };
}

function bind(server: Server, { host, port }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause: NodeJS.ErrnoException): void => {
      const reason = BIND_REASONS[cause.code ?? ''] ?? 'it cannot be opened';
      reject(
        new SuError('invalid-config', `cannot listen on ${host}:${port}: ${reason}`, { cause }),
      );
    };
    server.once('error', fail);
    server.listen({ host, port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

const BIND_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program uses this port',
  EACCES: 'this user may not open this port',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'no such host name',
};

/**
 * Ends in an order that breaks no request: what a client sent before it could know is answered, with the word that the
 * connection closes, and only what is silent then is closed. (Node's own `close` would end silent connections first, and
 * reset those whose request is on its way.)
 */
async function closeServer(
  {
    server,
    connections,
    timeouts,
  }: {
    readonly server: Server;
    readonly connections: Connections;
    readonly timeouts: HttpTimeouts;
  },
  deadlineMs: number,
): Promise<void> {
  const startedAt = performance.now();
  const deadline = setTimeout(() => server.closeAllConnections(), deadlineMs);
  const cut = setTimeout(() => connections.cutUnfinished(), timeouts.bodyGraceMs);
  connections.drain();
  await acceptBacklog(server, connections);
  await untilQuiet(connections, timeouts, deadlineMs);
  const done = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  connections.closeIdle();
  // The deadline may have passed while it was waited for silence.
  if (performance.now() - startedAt >= deadlineMs) server.closeAllConnections();
  await done;
  clearTimeout(deadline);
  clearTimeout(cut);
}

/** One connection is accepted in each turn of a busy loop, so those that wait may take a while. */
const BACKLOG_MS = 5_000;

/**
 * Resolves when the connections are accepted that clients have made before: a connection of our own stands behind all of
 * them, and the system hands them out in order. Without this, closing the port would reset those with their requests.
 */
async function acceptBacklog(server: Server, connections: Connections): Promise<void> {
  const address = server.address();
  if (typeof address !== 'object' || address === null) return;
  const { port, family } = address;
  const any = family === 'IPv6' ? '::1' : '127.0.0.1';
  const host = address.address === '::' || address.address === '0.0.0.0' ? any : address.address;
  const own = connect({ host, port });
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, BACKLOG_MS);
    const look = (): void => {
      if (own.localPort === undefined || !connections.hasPort(own.localPort)) return;
      clearTimeout(timer);
      server.off('connection', look);
      resolve();
    };
    server.on('connection', look);
    own.once('connect', look);
    // What cannot be connected to has nobody waiting.
    own.once('error', () => {
      clearTimeout(timer);
      server.off('connection', look);
      resolve();
    });
  });
  own.destroy();
}

/** Resolves when nothing came in for a while and nothing must be on its way, by the clock and in two turns of a loop that may be far behind it. */
async function untilQuiet(
  connections: Connections,
  { quietMs, graceMs }: HttpTimeouts,
  deadlineMs: number,
): Promise<void> {
  const endsAt = performance.now() + Math.min(graceMs, deadlineMs);
  let seen: number;
  do {
    seen = connections.events;
    // The first turn accepts connections, the second reads what they sent.
    await nextTurn();
    await nextTurn();
    if (connections.size > 0) await pause(Math.min(quietMs, deadlineMs));
    await nextTurn();
    await nextTurn();
  } while (
    (connections.events !== seen || connections.awaitsRequest(graceMs)) &&
    performance.now() < endsAt
  );
}

const BROKEN_REQUEST: Readonly<Record<string, readonly [status: number, message: string]>> = {
  HPE_HEADER_OVERFLOW: [431, 'the request line and headers are too large'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request was not complete in time'],
};

/** Answers what is no HTTP request at all, so that it never reaches koa, in the shape of every other error. */
function answerBrokenRequest(
  error: NodeJS.ErrnoException,
  socket: Socket,
  connections: Connections,
): void {
  // Bytes written beside an answer in flight would be taken for a part of it.
  if (!socket.writable || error.code === 'ECONNRESET' || connections.isBusy(socket)) {
    socket.destroy();
    return;
  }
  const [status, message] = BROKEN_REQUEST[error.code ?? ''] ?? [
    400,
    'this is not an HTTP request',
  ];
  endWith(socket, status, message);
}
