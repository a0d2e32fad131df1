import { request as httpRequest } from 'node:http';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SuError } from '../errors.js';

const ANSWER_BYTES_MAX = 64 << 20;
const TIMEOUT_MS = 60_000;

const answerShape = z.union([
  z.strictObject({ result: z.unknown() }),
  z.object({ code: z.string(), error: z.string() }),
]);

/** Nobody listens on the socket: no server runs on the folder. */
export const NO_SERVER = Symbol('no server');

/**
 * Sends one call to the server that holds a folder.
 *
 * @returns its result, or NO_SERVER when none listens there
 * @throws SuError `invalid-request` with the server's sentence when it refuses, `folder-refused` when it does not know such
 *   a call, `store-unavailable` when it does not answer
 */
export async function callOperatorSocket(
  path: string,
  call: string,
  params: unknown,
): Promise<unknown> {
  const text = await exchange(path, JSON.stringify({ call, params }));
  if (text === NO_SERVER) return NO_SERVER;
  const answer = answerShape.parse(JSON.parse(text));
  if ('result' in answer) return answer.result;
  if (answer.code === 'unknown-route') {
    const what = `what runs on it is a router, or an SU that keeps its store in PostgreSQL`;
    throw new SuError(
      'folder-refused',
      `${dirname(path)} holds no store of a server: ${what} (then set DATABASE_URL)`,
    );
  }
  throw new SuError('invalid-request', `the running server answers: ${answer.error}`);
}

function exchange(path: string, body: string): Promise<string | typeof NO_SERVER> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      { socketPath: path, method: 'POST', path: '/', agent: false, timeout: TIMEOUT_MS },
      (incoming) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        incoming.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > ANSWER_BYTES_MAX) outgoing.destroy(new Error('the answer is too large'));
          else chunks.push(chunk);
        });
        incoming.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
        incoming.on('error', fail);
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error('it does not answer')));
    outgoing.on('error', fail);
    outgoing.end(body);

    function fail(cause: Error & { code?: string }): void {
      if (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED') {
        resolve(NO_SERVER);
        return;
      }
      const sentence = `the server behind ${path} failed: ${cause.message}`;
      reject(new SuError('store-unavailable', sentence, { cause }));
    }
  });
}
