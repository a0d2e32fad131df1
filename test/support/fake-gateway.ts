import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A transaction that the gateway knows. */
export interface KnownTransaction {
  readonly id: string;
  readonly data?: Uint8Array;
  /** Of `/tx/{id}/status`; `pending` answers the word. Absent: 404 there. */
  readonly confirmations?: number | 'pending';
  /** False: GraphQL does not know it. */
  readonly indexed?: boolean;
  /** Further fields of the GraphQL node. */
  readonly node?: Readonly<Record<string, unknown>>;
}

export interface RecordedQuestion {
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

/** A gateway over HTTP on loopback: `/info`, `/graphql`, `/raw/{id}`, `/{id}`, `/tx/{id}/status`. */
export interface FakeGateway {
  readonly url: string;
  readonly questions: readonly RecordedQuestion[];
  know(transaction: KnownTransaction): void;
  setHeight(height: number): void;
  /** Every answer from now on: a status, never any answer, or a raw body with status 200; undefined: as usual. */
  answerWith(answer: number | 'hang' | { readonly body: string } | undefined): void;
  /** Each answer redirects to `target` plus the path, with this status; undefined: as usual. */
  redirectTo(target: string | undefined, status?: number): void;
  slowDown(delayMs: number): void;
  goDown(): Promise<void>;
  /** Listens again, on the same port. */
  comeUp(): Promise<void>;
  close(): Promise<void>;
}

export interface FakeGatewayOptions {
  readonly height?: number;
  /** All paths are below it, e.g. `/base`. */
  readonly basePath?: string;
  readonly transactions?: readonly KnownTransaction[];
}

/** Opens a fake gateway on a free port; its height is 1,500,000 unless told. */
export async function openFakeGateway(options: FakeGatewayOptions = {}): Promise<FakeGateway> {
  const state: State = {
    known: new Map((options.transactions ?? []).map((each) => [each.id, each])),
    height: options.height ?? 1_500_000,
    basePath: options.basePath ?? '',
    override: undefined,
    redirect: undefined,
  };
  const questions: RecordedQuestion[] = [];
  let delayMs = 0;
  const server = createServer((request, response) => {
    void readText(request).then((body) => {
      questions.push({ method: request.method ?? '', path: request.url ?? '', body });
      setTimeout(() => answer(state, request, { response, body }), delayMs);
    });
  });
  let port = 0;
  const listen = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        port = (server.address() as AddressInfo).port;
        resolve();
      });
    });
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await listen();
  return {
    url: `http://127.0.0.1:${port}${state.basePath}`,
    questions,
    know: (transaction) => void state.known.set(transaction.id, transaction),
    setHeight: (height) => void (state.height = height),
    answerWith: (override) => void (state.override = override),
    redirectTo: (target, status = 302) =>
      void (state.redirect = target === undefined ? undefined : { target, status }),
    slowDown: (ms) => void (delayMs = ms),
    goDown: stop,
    comeUp: listen,
    close: stop,
  };
}

interface State {
  readonly known: Map<string, KnownTransaction>;
  height: number;
  readonly basePath: string;
  override: number | 'hang' | { readonly body: string } | undefined;
  redirect: { readonly target: string; readonly status: number } | undefined;
}

interface Turn {
  readonly response: ServerResponse;
  readonly body: string;
}

function answer(state: State, request: IncomingMessage, turn: Turn): void {
  const { override, redirect } = state;
  const url = request.url ?? '/';
  if (override === 'hang') return;
  if (redirect !== undefined) {
    turn.response.writeHead(redirect.status, { location: `${redirect.target}${url}` }).end();
  } else if (typeof override === 'number') {
    send(turn, override, { error: 'as told' });
  } else if (override !== undefined) {
    turn.response.writeHead(200, { 'content-type': 'application/json' }).end(override.body);
  } else if (!url.startsWith(`${state.basePath}/`)) {
    send(turn, 404, { error: `nothing outside ${state.basePath}` });
  } else {
    route(state, url.slice(state.basePath.length), { ...turn, method: request.method });
  }
}

function route(state: State, path: string, turn: Turn & { method: string | undefined }): void {
  if (path === '/info') {
    send(turn, 200, { network: 'fake', height: state.height, blocks: state.height + 1 });
  } else if (path === '/graphql' && turn.method === 'POST') {
    send(turn, 200, { data: { transactions: { edges: edgesOf(state, turn.body) } } });
  } else if (/^\/tx\/[\w-]+\/status$/.test(path)) {
    const confirmations = state.known.get(path.split('/')[2] ?? '')?.confirmations;
    if (confirmations === undefined) send(turn, 404, 'Not Found.');
    else if (confirmations === 'pending') turn.response.writeHead(202).end('Pending');
    else {
      const block_height = state.height - confirmations;
      send(turn, 200, {
        block_height,
        block_indep_hash: 'b'.repeat(64),
        number_of_confirmations: confirmations,
      });
    }
  } else {
    const known = state.known.get(path.replace(/^\/(raw\/)?/, ''));
    if (known === undefined) send(turn, 404, 'Not Found.');
    else turn.response.writeHead(200).end(known.data ?? '');
  }
}

/** Knows transactions by the list variable of the query, whatever its name. */
function edgesOf(state: State, body: string): unknown[] {
  const { variables } = JSON.parse(body) as { variables?: Record<string, unknown> };
  const ids = Object.values(variables ?? {}).find((value): value is string[] =>
    Array.isArray(value),
  );
  return (ids ?? []).flatMap((id) => {
    const known = state.known.get(id);
    if (known === undefined || known.indexed === false) return [];
    const node = { recipient: '', anchor: '', tags: [], ...known.node, id };
    return [{ cursor: id, node }];
  });
}

function send({ response }: Turn, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}
