import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { errorJson } from './answer.js';

/** What an application does with a request. */
export type Handle = (request: IncomingMessage, response: ServerResponse) => void;

/**
 * Requests of one connection that may wait for those before them. Real clients send far fewer ahead; who sends more, or
 * never reads, would have all of them in memory.
 */
const PIPELINED_MAX = 64;

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

interface Connection {
  readonly socket: Socket;
  readonly openedAt: number;
  hasAsked: boolean;
  current: Exchange | undefined;
  waiting: Exchange[];
}

/**
 * The connections of a server and what is asked on them. Requests that a client sends ahead are served one after the
 * other: the next begins when the answer before it was taken, so that a connection costs one answer at most.
 */
export class Connections {
  readonly #handle: Handle;
  readonly #lingerMs: number;
  readonly #open = new Map<Socket, Connection>();
  #isDraining = false;
  #events = 0;

  constructor(handle: Handle, options: { readonly lingerMs: number }) {
    this.#handle = handle;
    this.#lingerMs = options.lingerMs;
  }

  /** Connections that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Counts what came in, connections and requests: unchanged after a while, nothing came. */
  get events(): number {
    return this.#events;
  }

  /** Takes a new connection. */
  add(socket: Socket): void {
    this.#events += 1;
    const openedAt = performance.now();
    this.#open.set(socket, {
      socket,
      openedAt,
      hasAsked: false,
      current: undefined,
      waiting: [],
    });
    socket.once('close', () => this.#open.delete(socket));
  }

  /** Takes a request: it is handled now, or when those before it on its connection are answered. */
  take(request: IncomingMessage, response: ServerResponse): void {
    this.#events += 1;
    const { socket } = request;
    const connection = this.#open.get(socket);
    if (connection === undefined || socket.destroyed) return;
    connection.hasAsked = true;
    if (connection.current === undefined) {
      this.#begin(connection, { request, response });
      return;
    }
    if (connection.waiting.length >= PIPELINED_MAX) {
      connection.waiting = [];
      socket.destroy();
      return;
    }
    connection.waiting.push({ request, response });
    socket.pause();
  }

  /** True while a request of the connection is being answered. */
  isBusy(socket: Socket): boolean {
    return this.#open.get(socket)?.current !== undefined;
  }

  /** True when a connection comes from this port of its client. */
  hasPort(remotePort: number | undefined): boolean {
    return [...this.#open.keys()].some((socket) => socket.remotePort === remotePort);
  }

  /** True when a connection is younger than this and its first request has not come: it must be on its way. */
  awaitsRequest(ageMs: number): boolean {
    const since = performance.now() - ageMs;
    return [...this.#open.values()].some(({ hasAsked, openedAt }) => !hasAsked && openedAt > since);
  }

  /** From now on every connection ends with the last answer that it is waiting for. */
  drain(): void {
    this.#isDraining = true;
    for (const { current, waiting } of this.#open.values()) {
      if (current !== undefined && waiting.length === 0) sayClose(current.response);
    }
  }

  /** Ends the connections on which nothing is asked. */
  closeIdle(): void {
    for (const { socket, current } of this.#open.values()) {
      if (current === undefined) socket.destroySoon();
    }
  }

  /** Ends the connections whose client has not sent its body yet. */
  cutUnfinished(): void {
    for (const { socket, current } of this.#open.values()) {
      if (current === undefined || current.request.complete) continue;
      if (current.response.headersSent) socket.destroy();
      else endWith(socket, 503, 'the server is stopping, send it again');
    }
  }

  #begin(connection: Connection, exchange: Exchange): void {
    const { request, response } = exchange;
    connection.current = exchange;
    if (this.#isDraining && connection.waiting.length === 0) sayClose(response);
    response.once('close', () => this.#ended(connection, exchange));
    this.#handle(request, response);
  }

  #ended(connection: Connection, { request }: Exchange): void {
    const { socket } = connection;
    connection.current = undefined;
    const next = connection.waiting.shift();
    if (next !== undefined && !socket.destroyed) {
      if (connection.waiting.length === 0) socket.resume();
      this.#begin(connection, next);
    } else if (this.#isDraining) {
      socket.destroySoon();
    } else if (!request.complete) {
      linger(request, this.#lingerMs);
    }
  }
}

function sayClose(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('Connection', 'close');
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

/** Answers on a connection where no response of node's can, in the shape of every other error, and closes it. */
export function endWith(socket: Socket, status: number, message: string): void {
  const body = errorJson(message);
  const retry = status === 503 ? 'Retry-After: 1\r\n' : '';
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\nContent-Type: application/json\r\n${retry}` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
