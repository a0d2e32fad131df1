import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir } from 'node:fs/promises';
import { SuError } from '../errors.js';
import type { ErrorCode } from '../errors.js';
import { ownerAddress } from '../protocol/data-item.js';
import { answerQuery, contentTypeTag } from './graphql-answer.js';
import { lockFolder, type FolderLock } from './folder-lock.js';
import { openLocalChain } from './local-chain.js';
import type { LocalChain } from './local-chain.js';
import { NetworkStore } from './network-store.js';

/** A body of 10 MiB that the SU accepts, wrapped as a bundle, and room for a transaction's base64url. */
const BODY_BYTES_MAX = 15 * 1_048_576;
const CONNECTIONS_MAX = 512;
const REQUEST_TIMEOUT_MS = 60_000;

export interface LocalNetworkOptions {
  /** Made when it is not there. */
  readonly folder: string;
  readonly host: string;
  /** 0: a free one. */
  readonly port: number;
  /** Wall-clock milliseconds. */
  readonly clock: () => number;
  readonly log: {
    warn(fields: LogFields, sentence: string): void;
    error(fields: LogFields, sentence: string): void;
  };
}

type LogFields = Readonly<Record<string, unknown>> & { readonly event: string };

export interface LocalNetwork {
  /** Without a slash at its end. */
  readonly url: string;
  close(): Promise<void>;
}

/**
 * A gateway and a bundler in one small HTTP server, for `--local`: it keeps what is uploaded on disk, verified, and
 * serves it back. It stands for Arweave on a developer's machine: blocks come with the clock, everything
 * counts as settled at once, nothing costs anything.
 *
 * @throws SuError `folder-in-use`; `folder-refused` for a folder whose files are damaged; the system's errors for a port in use
 */
export async function openLocalNetwork(options: LocalNetworkOptions): Promise<LocalNetwork> {
  await mkdir(options.folder, { recursive: true });
  const lock = await lockFolder(options.folder);
  try {
    return await openLocked(options, lock);
  } catch (error) {
    await lock.close();
    throw error;
  }
}

async function openLocked(options: LocalNetworkOptions, lock: FolderLock): Promise<LocalNetwork> {
  const chain = await openLocalChain(options.folder, options.clock);
  const { store, removedBytes } = await NetworkStore.open(options.folder, chain);
  if (removedBytes > 0) {
    options.log.warn(
      { event: 'local-network-tail-removed', removedBytes },
      'the last item was written half, and is removed',
    );
  }
  const context: Context = { store, chain, clock: options.clock };
  const server = createServer((request, response) => {
    answerRequest(context, request, response).catch((error: unknown) => {
      options.log.error(
        { event: 'local-network-failed', err: error, path: request.url },
        'the local network could not answer',
      );
      sendError(response, 500, 'the local network failed');
    });
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  try {
    await listen(server, options);
  } catch (error) {
    await store.close();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { url: `http://${host}:${port}`, close: () => closeAll(server, store, lock) };
}

interface Context {
  readonly store: NetworkStore;
  readonly chain: LocalChain;
  readonly clock: () => number;
}

function listen(server: Server, { host, port }: LocalNetworkOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function closeAll(server: Server, store: NetworkStore, lock: FolderLock): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
  await store.close();
  await lock.close();
}

/** Statuses of the refusals that the routes below throw; what is not here is a fault of ours. */
const STATUSES: Partial<Record<ErrorCode, number>> = {
  'invalid-request': 400,
  'invalid-data-item': 400,
  'invalid-signature': 400,
  'body-too-large': 413,
  'scheduler-busy': 503,
  'store-unavailable': 503,
};

async function answerRequest(
  context: Context,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.setHeader('access-control-allow-origin', '*');
  try {
    const path = decodePath(request.url ?? '/');
    if (request.method === 'OPTIONS') sendPreflight(request, response);
    else if (request.method === 'POST') await answerPost(context, path, { request, response });
    else if (request.method === 'GET' || request.method === 'HEAD')
      await answerGet(context, path, response);
    else sendError(response, 405, 'only GET, HEAD, POST and OPTIONS are answered');
  } catch (error) {
    const status = error instanceof SuError ? STATUSES[error.code] : undefined;
    if (status === undefined || !(error instanceof SuError)) throw error;
    sendError(response, status, error.message);
  }
}

interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

async function answerPost(
  context: Context,
  path: string,
  { request, response }: Exchange,
): Promise<void> {
  if (path !== '/graphql' && path !== '/tx/arweave' && path !== '/tx') {
    sendError(response, 404, 'there is nothing to post to at this address');
    return;
  }
  const body = await readBody(request);
  if (path === '/graphql') {
    await answerGraphql(context, body, response);
  } else if (path === '/tx' && looksLikeJson(body)) {
    const { id } = await context.store.acceptTransaction(body);
    sendJson(response, 200, { id, timestamp: context.clock() });
  } else {
    const { entry, item } = await context.store.acceptItem(body);
    sendJson(response, 200, {
      id: entry.id,
      timestamp: context.clock(),
      owner: ownerAddress(item),
      winc: '0',
      deadlineHeight: context.chain.height(),
      dataCaches: [],
      fastFinalityIndexes: [],
    });
  }
}

async function answerGraphql(
  context: Context,
  body: Buffer,
  response: ServerResponse,
): Promise<void> {
  let asked: { query?: unknown; variables?: unknown } | null;
  try {
    asked = JSON.parse(body.toString('utf8')) as typeof asked;
  } catch {
    asked = null;
  }
  const variables = asked?.variables ?? {};
  try {
    if (typeof asked?.query !== 'string' || typeof variables !== 'object') {
      throw new SuError('invalid-request', 'the body is not JSON with a query');
    }
    const request = { query: asked.query, variables: variables as Record<string, unknown> };
    sendJson(response, 200, { data: await answerQuery(context, request) });
  } catch (error) {
    if (!(error instanceof SuError) || error.code !== 'invalid-request') throw error;
    sendJson(response, 400, { errors: [{ message: error.message }], data: null });
  }
}

async function answerGet(context: Context, path: string, response: ServerResponse): Promise<void> {
  const { chain } = context;
  const [, first = '', second = '', third] = path.split('/');
  if (path === '/' || path === '/info') sendJson(response, 200, infoOf(context));
  else if (path === '/height') sendJson(response, 200, chain.height());
  else if (path === '/tx_anchor') sendText(response, 200, chain.hashOf(chain.height()));
  else if (first === 'price') sendText(response, 200, '0');
  else if (first === 'tx' && third === 'status') await answerStatus(context, second, response);
  else if (first === 'raw' && third === undefined) await answerData(context, second, response);
  else if (second === '') await answerData(context, first, response);
  else sendError(response, 404, 'there is nothing at this address');
}

function infoOf({ store, chain }: Context): object {
  const height = chain.height();
  return {
    network: 'ao-su.local',
    version: 5,
    release: 1,
    height,
    current: chain.hashOf(height),
    blocks: height + 1,
    peers: 0,
    queue_length: 0,
    node_state_latency: 0,
    items: store.index.size,
  };
}

async function answerStatus(context: Context, id: string, response: ServerResponse): Promise<void> {
  const { chain } = context;
  const entry = context.store.index.find(id);
  if (entry === undefined) {
    sendText(response, 404, 'Not Found.');
    return;
  }
  sendJson(response, 200, {
    block_height: entry.height,
    block_indep_hash: chain.hashOf(entry.height),
    number_of_confirmations: chain.height() - entry.height,
  });
}

async function answerData(context: Context, id: string, response: ServerResponse): Promise<void> {
  const item = await context.store.findItem(id);
  if (item === undefined) {
    sendText(response, 404, 'Not Found.');
    return;
  }
  const tag = contentTypeTag(item) ?? '';
  // What an item says of itself goes into a header only when it has a header's form.
  const type = /^[\w.+-]+\/[\w.+-]+(?:;[ -~]*)?$/.test(tag) ? tag : 'application/octet-stream';
  response.writeHead(200, {
    'content-type': type,
    'content-length': item.dataBytes,
    'x-content-type-options': 'nosniff',
  });
  if (response.req.method === 'HEAD') response.end();
  else response.end(await context.store.readData(item));
}

function decodePath(url: string): string {
  const [path = '/'] = url.split('?', 1);
  return path.replace(/\/+$/, '') || '/';
}

function looksLikeJson(body: Buffer): boolean {
  return /^\s*\{/.test(body.toString('latin1', 0, 64));
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const tooLarge = (): SuError =>
    new SuError('body-too-large', `the body has more than ${BODY_BYTES_MAX} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw tooLarge();
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > BODY_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
}

function sendPreflight(request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(204, {
    'access-control-allow-methods': 'GET, HEAD, POST, OPTIONS',
    'access-control-allow-headers': request.headers['access-control-request-headers'] ?? '*',
    'access-control-max-age': '86400',
  });
  response.end();
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  send(response, status, { type: 'application/json; charset=utf-8', text: JSON.stringify(body) });
}

function sendText(response: ServerResponse, status: number, text: string): void {
  send(response, status, { type: 'text/plain; charset=utf-8', text });
}

function sendError(response: ServerResponse, status: number, error: string): void {
  // The rest of a body that was not read would be taken for the next request.
  if (!response.req.complete) response.setHeader('connection', 'close');
  sendJson(response, status, { error });
}

function send(
  response: ServerResponse,
  status: number,
  { type, text }: { readonly type: string; readonly text: string },
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = Buffer.from(text);
  response.writeHead(status, { 'content-type': type, 'content-length': body.length });
  response.end(body);
}
