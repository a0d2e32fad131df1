import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Answers one request, or leaves it unanswered. */
export type Answer = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

/** What stands behind a router in tests: a server whose answers a test decides. */
export interface FakeScheduler {
  readonly url: string;
  /** All requests but those for its health. */
  readonly seen: readonly SeenRequest[];
  /** Connections that are open. */
  connections(): number;
  /** Processes that it says to know. */
  readonly processes: Set<string>;
  /** Status for a process that it does not say to know. */
  unknownStatus: number;
  /** Answers to everything else from now on. */
  answerWith(answer: Answer): void;
  /** Answers to `/health` from now on; undefined: none. */
  health: number | undefined;
  goDown(): Promise<void>;
  /** Listens again, on the same port. */
  comeUp(): Promise<void>;
  close(): Promise<void>;
}

/** Answers `{"id", "timestamp"}` to posts and its own address to the rest. */
const usual: Answer = (request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(
    request.method === 'POST'
      ? '{"id":"posted","timestamp":1}'
      : '{"address":"su","timestamp":"1"}',
  );
};

/** Opens one on a free port of loopback; it is healthy and knows no process. */
export async function openFakeScheduler(): Promise<FakeScheduler> {
  const seen: SeenRequest[] = [];
  const processes = new Set<string>();
  const state: { answer: Answer; health: number | undefined; unknownStatus: number } = {
    answer: usual,
    health: 200,
    unknownStatus: 404,
  };
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => void chunks.push(chunk));
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      if (path === '/health') {
        if (state.health !== undefined) response.writeHead(state.health).end();
        return;
      }
      const body = Buffer.concat(chunks);
      seen.push({ method, path, headers, body });
      const asked = /^\/processes\/([\w-]+)$/.exec(path)?.[1];
      if (asked === undefined) state.answer(request, response, body);
      else response.writeHead(processes.has(asked) ? 200 : state.unknownStatus).end('{}');
    });
  });
  let port = 0;
  const comeUp = (): Promise<void> =>
    new Promise((resolve) => {
      server.listen(port, '127.0.0.1', () => {
        ({ port } = server.address() as AddressInfo);
        resolve();
      });
    });
  const goDown = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  let open = 0;
  server.on('connection', (socket) => {
    open += 1;
    socket.once('close', () => (open -= 1));
  });
  await comeUp();
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    connections: () => open,
    processes,
    answerWith: (answer) => void (state.answer = answer),
    get health() {
      return state.health;
    },
    set health(status) {
      state.health = status;
    },
    get unknownStatus() {
      return state.unknownStatus;
    },
    set unknownStatus(status) {
      state.unknownStatus = status;
    },
    goDown,
    comeUp,
    close: goDown,
  };
}
