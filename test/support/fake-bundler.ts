import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How the bundler answers one upload; `hang` never answers, `break` closes the connection. */
export type BundlerAnswer =
  | number
  | 'hang'
  | 'break'
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string };

export interface RecordedUpload {
  readonly path: string;
  readonly contentType: string | undefined;
  readonly bytes: Buffer;
  /** The data item's id; the empty text for bytes too short to have one. */
  readonly id: string;
  /** What it was answered. */
  readonly answer: BundlerAnswer;
}

/** A bundler over HTTP on loopback that records what it is sent and answers as it is told. */
export interface FakeBundler {
  readonly url: string;
  /** All uploads that arrived whole, in order. */
  readonly uploads: readonly RecordedUpload[];
  /** Ids of what was answered with 2xx. */
  readonly acceptedIds: ReadonlySet<string>;
  /** The most uploads that were open at once. */
  readonly mostAtOnce: number;
  /** Answers from now on; a function sees the upload. */
  answerWith(
    answer: BundlerAnswer | ((upload: { id: string; bytes: Buffer }) => BundlerAnswer),
  ): void;
  /** Milliseconds before each answer, from now on. */
  slowDown(delayMs: number): void;
  /** Stops listening and drops all connections: "connection refused" from now on. */
  goDown(): Promise<void>;
  /** Listens again, on the same port. */
  comeUp(): Promise<void>;
  close(): Promise<void>;
}

/** Opens a fake bundler on a free port. */
export async function openFakeBundler(): Promise<FakeBundler> {
  const uploads: RecordedUpload[] = [];
  const acceptedIds = new Set<string>();
  let answerOf: (upload: { id: string; bytes: Buffer }) => BundlerAnswer = () => 200;
  let delayMs = 0;
  let open = 0;
  let mostAtOnce = 0;
  const server = createServer((request, response) => {
    open += 1;
    mostAtOnce = Math.max(mostAtOnce, open);
    response.on('close', () => (open -= 1));
    void readAll(request).then((bytes) => {
      const id = itemId(bytes);
      const answer = answerOf({ id, bytes });
      const contentType = request.headers['content-type'];
      uploads.push({ path: request.url ?? '', contentType, bytes, id, answer });
      const status = typeof answer === 'object' ? answer.status : answer;
      if (typeof status === 'number' && status >= 200 && status < 300) acceptedIds.add(id);
      setTimeout(() => reply(response, answer, id), delayMs);
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
    url: `http://127.0.0.1:${port}`,
    uploads,
    acceptedIds,
    get mostAtOnce() {
      return mostAtOnce;
    },
    answerWith(answer) {
      answerOf = typeof answer === 'function' ? answer : () => answer;
    },
    slowDown(ms) {
      delayMs = ms;
    },
    goDown: stop,
    comeUp: listen,
    close: stop,
  };
}

function reply(response: ServerResponse, answer: BundlerAnswer, id: string): void {
  if (answer === 'hang' || response.destroyed) return;
  if (answer === 'break') {
    response.destroy();
    return;
  }
  const { status, headers = {}, body } = typeof answer === 'object' ? answer : { status: answer };
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(
    body ?? JSON.stringify(status < 300 ? { id, timestamp: Date.now() } : { error: 'no' }),
  );
}

/** Never settles for a request that breaks off: nothing was uploaded then. */
function readAll(request: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => resolve(Buffer.concat(chunks)));
    request.on('error', () => undefined);
  });
}

/** Of a type 1 item: SHA-256 of its 512 signature bytes. */
function itemId(bytes: Buffer): string {
  if (bytes.length < 514) return '';
  return createHash('sha256').update(bytes.subarray(2, 514)).digest('base64url');
}
