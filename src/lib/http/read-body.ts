import type { IncomingMessage, ServerResponse } from 'node:http';
import { SuError } from '../errors.js';

/** Bounds on what is read of the clients' bodies. */
export interface BodyLimits {
  /** The largest body. */
  readonly bodyBytesMax: number;
  /** A body that is not whole after this time is given up. */
  readonly bodyTimeoutMs: number;
  /** Bytes of all bodies that are being read or worked on at one time. */
  readonly bodiesBytesMax: number;
}

/** Reads one request's body whole. */
export type ReadBody = (request: IncomingMessage, response: ServerResponse) => Promise<Buffer>;

/**
 * Makes the reader of bodies. A body is refused while it comes in: at once when its declared length is too large, else
 * at the byte that passes the limit. What is left of a refused body is let through unread, so that a client that is
 * still writing gets to see the answer. The bytes of a body count until its answer is sent. (Only bytes that came in are
 * counted: counting declared lengths would let a handful of silent clients block everyone.)
 *
 * @throws SuError from the reader it makes: `body-too-large`, `request-timeout`, `scheduler-busy`, `invalid-request`
 * (the client went away)
 */
export function makeReadBody(limits: BodyLimits): ReadBody {
  let heldBytes = 0;
  return (request, response) => {
    const declared = Number(request.headers['content-length'] ?? 0);
    if (declared > limits.bodyBytesMax) {
      request.resume();
      return Promise.reject(tooLarge(limits.bodyBytesMax, declared));
    }
    // The server leaves the answer to `Expect: 100-continue` to us: a refused body need not be sent at all.
    if (request.headers.expect !== undefined) response.writeContinue();
    let ownBytes = 0;
    response.once('close', () => {
      heldBytes -= ownBytes;
      ownBytes = 0;
    });
    return collect(request, limits.bodyTimeoutMs, (bytes) => {
      ownBytes += bytes;
      heldBytes += bytes;
      if (ownBytes > limits.bodyBytesMax) return tooLarge(limits.bodyBytesMax, undefined);
      if (heldBytes > limits.bodiesBytesMax) {
        return new SuError('scheduler-busy', 'too many bodies are being received, send it again', {
          details: { heldBytes },
        });
      }
      return undefined;
    });
  };
}

/** Collects the body; `take` counts each piece and answers why no more is to be read. */
function collect(
  request: IncomingMessage,
  timeoutMs: number,
  take: (bytes: number) => SuError | undefined,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const settle = (): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    };
    const refuse = (error: SuError): void => {
      settle();
      pieces.length = 0;
      request.on('error', ignoreError).resume();
      reject(error);
    };
    const onData = (piece: Buffer): void => {
      const refusal = take(piece.length);
      if (refusal === undefined) pieces.push(piece);
      else refuse(refusal);
    };
    const onEnd = (): void => {
      settle();
      const [only] = pieces;
      resolve(pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces));
    };
    const onClose = (): void =>
      refuse(
        new SuError('invalid-request', 'the connection was closed before the body was complete'),
      );
    const timer = setTimeout(() => {
      refuse(new SuError('request-timeout', `the body was not complete after ${timeoutMs} ms`));
    }, timeoutMs);
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

/** The request is refused already; a connection that breaks while its rest passes by is no further failure. */
function ignoreError(): void {}

function tooLarge(bytesMax: number, declared: number | undefined): SuError {
  const seen = declared === undefined ? 'the body' : `the body of ${declared} bytes`;
  return new SuError('body-too-large', `${seen} is larger than the limit of ${bytesMax} bytes`);
}
