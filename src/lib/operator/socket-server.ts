import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { z } from 'zod';
import { SuError, isSuError } from '../errors.js';
import type { OperatorCall } from './outbox-calls.js';

/*
 * RocksDB admits one program. While a server holds a folder, the operator's commands reach it through a unix socket in
 * that folder: one JSON call a request.
 *
 * Promises: the socket exists only while its server holds the folder's lock, so a socket found at the start is left over
 * and removed; it can be used by the server's own user alone (mode 0600); close() waits a second for calls under way.
 */

export interface OperatorSocket {
  close(): Promise<void>;
}

export interface OperatorSocketOptions {
  readonly path: string;
  readonly calls: Readonly<Record<string, OperatorCall>>;
  readonly onError: (error: unknown) => void;
}

const BODY_BYTES_MAX = 1 << 20;
const CLOSE_GRACE_MS = 1_000;

const request = z.strictObject({ call: z.string().max(100), params: z.unknown() });

/**
 * Offers the calls on a socket; the caller holds the folder's lock.
 *
 * @throws SuError `folder-refused` when the socket cannot be made
 */
export async function openOperatorSocket(options: OperatorSocketOptions): Promise<OperatorSocket> {
  const { path, onError } = options;
  await rm(path, { force: true });
  const server = createServer((incoming, outgoing) => {
    answer(options, incoming, outgoing).catch(onError);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new SuError('folder-refused', `the socket ${path} cannot be made: ${cause.message}`, {
          cause,
        }),
      ),
    );
    server.listen(path, resolve);
  });
  server.on('error', onError);
  await chmod(path, 0o600);
  return {
    close: () =>
      new Promise<void>((resolve) => {
        // A connection that never asked anything is not idle to Node, and would be waited for without end.
        const late = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS);
        server.close(() => {
          clearTimeout(late);
          resolve();
        });
        server.closeIdleConnections();
      }),
  };
}

async function answer(
  { calls, onError }: OperatorSocketOptions,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  let status = 200;
  let body: unknown;
  try {
    const { call, params } = request.parse(JSON.parse(await readBody(incoming)));
    const run = Object.hasOwn(calls, call) ? calls[call] : undefined;
    if (run === undefined) {
      throw new SuError('unknown-route', `the running server does not know the call ${call}`);
    }
    body = { result: await run(params) };
  } catch (error) {
    if (!isSuError(error)) onError(error);
    status = 400;
    body = isSuError(error)
      ? { code: error.code, error: error.message }
      : { code: 'invalid-request', error: 'the call failed, and its log says why' };
  }
  outgoing.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  outgoing.end(JSON.stringify(body));
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming) {
    const piece = chunk as Buffer;
    bytes += piece.length;
    if (bytes > BODY_BYTES_MAX) throw new SuError('body-too-large', 'the call is too large');
    chunks.push(piece);
  }
  return Buffer.concat(chunks).toString('utf8');
}
