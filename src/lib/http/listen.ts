import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Socket } from 'node:net';
import { invariant, SuError } from '../errors.js';
import type { Log } from '../observability/log.js';
import { errorJson } from './answer.js';

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
}

export const HTTP_TIMEOUTS: HttpTimeouts = {
  headersMs: 20_000,
  requestMs: 150_000,
  keepAliveMs: 65_000,
  idleMs: 180_000,
  lingerMs: 5_000,
};

/** A server that accepts connections. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /**
   * Stops accepting, closes connections without a request, lets requests in flight finish, and destroys what is left
   * after `deadlineMs`. Called again, it answers with the first call's promise.
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
  });
  server.setTimeout(timeouts.idleMs);
  const connections = trackConnections(server, timeouts.lingerMs);
  const handle = app.callback();
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    connections.begin(request, response);
    // Koa answers its own failures; what it returns is only the end of that.
    void handle(request, response);
  };
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
    close: (deadlineMs) => (closed ??= closeServer(server, connections, deadlineMs)),
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

interface Connections {
  begin(request: IncomingMessage, response: ServerResponse): void;
  isBusy(socket: Socket): boolean;
  /** From now on every connection ends with the answer it is waiting for; those without a request end now. */
  drain(): void;
}

/**
 * Knows which connections have a request in flight. Node's own `closeIdleConnections` spares a connection on which
 * nothing was ever sent, and would let it hold up the close until the deadline.
 */
function trackConnections(server: Server, lingerMs: number): Connections {
  const open = new Set<Socket>();
  const inFlight = new Map<ServerResponse, Socket>();
  let draining = false;
  const isBusy = (socket: Socket): boolean => [...inFlight.values()].includes(socket);
  server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  return {
    isBusy,
    begin: (request, response) => {
      const { socket } = request;
      inFlight.set(response, socket);
      if (draining) response.setHeader('Connection', 'close');
      response.once('close', () => {
        inFlight.delete(response);
        if (draining && !isBusy(socket)) socket.destroySoon();
        else if (!request.complete) linger(request, lingerMs);
      });
    },
    drain: () => {
      draining = true;
      for (const response of inFlight.keys()) {
        if (!response.headersSent) response.setHeader('Connection', 'close');
      }
      for (const socket of open) if (!isBusy(socket)) socket.destroySoon();
    },
  };
}

/**
 * The answer is out, but the client still sends its body. Closing now would reset the connection and with it the
 * answer, so the rest is read and thrown away, for a while.
 */
function linger(request: IncomingMessage, lingerMs: number): void {
  const { socket } = request;
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  const stop = (): void => clearTimeout(timer);
  request.once('end', stop);
  socket.once('close', stop);
  request.resume();
}

async function closeServer(
  server: Server,
  connections: Connections,
  deadlineMs: number,
): Promise<void> {
  const done = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  connections.drain();
  const timer = setTimeout(() => server.closeAllConnections(), deadlineMs);
  await done;
  clearTimeout(timer);
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
  const body = errorJson(message);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
