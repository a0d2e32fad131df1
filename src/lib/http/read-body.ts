import type { IncomingMessage, ServerResponse } from 'node:http';
import { SuError } from '../errors.js';
import { ByteBudget, type Share } from './byte-budget.js';

/** Bounds on what is read of the clients' bodies. */
export interface BodyLimits {
  /** The largest body. */
  readonly bodyBytesMax: number;
  /** A body that is not whole after this time is given up. */
  readonly bodyTimeoutMs: number;
  /** Bytes of all bodies that are being read or worked on at one time. */
  readonly bodiesBytesMax: number;
  /** A quarter of `bodiesBytesMax` is kept for bodies up to this size. */
  readonly smallBodyBytesMax: number;
  /** A body that takes longer than this must have come at `bodyBytesPerSecondMin` on average. */
  readonly bodyPatienceMs: number;
  readonly bodyBytesPerSecondMin: number;
}

export const BODY_LIMITS: BodyLimits = {
  bodyBytesMax: 10_485_760,
  bodyTimeoutMs: 120_000,
  bodiesBytesMax: 268_435_456,
  smallBodyBytesMax: 262_144,
  bodyPatienceMs: 10_000,
  bodyBytesPerSecondMin: 16_384,
};

/** Reads one request's body whole, and hands it to `use`, whose result it is. */
export type ReadBody = <Result>(
  request: IncomingMessage,
  response: ServerResponse,
  use: (body: Buffer) => Promise<Result>,
) => Promise<Result>;

/**
 * Makes the reader of bodies. A body is refused while it comes in: at once when its declared length is too large, else
 * at the byte that passes the limit. What is left of a refused body is let through unread, so that a client that is
 * still writing gets to see the answer. The bytes of a body count until its answer is sent and its use has ended, which goes on
 * when the client hangs up. (Only bytes that came in are counted: counting declared lengths would let a handful of silent
 * clients block everyone.) When they are too many, the unfinished body that has held most for longest gives way.
 *
 * @throws SuError from the reader it makes: `body-too-large`, `request-timeout`, `scheduler-busy`, `invalid-request`
 * (the client went away)
 */
export function makeReadBody(limits: BodyLimits): ReadBody {
  const { bodiesBytesMax, smallBodyBytesMax, bodyBytesMax } = limits;
  const budget = new ByteBudget({ bytesMax: bodiesBytesMax, smallBytesMax: smallBodyBytesMax });
  return async (request, response, use) => {
    const declared = Number(request.headers['content-length'] ?? 0);
    if (declared > bodyBytesMax) {
      request.resume();
      throw tooLarge(bodyBytesMax, declared);
    }
    // The server leaves the answer to `Expect: 100-continue` to us: a refused body need not be sent at all.
    if (request.headers.expect !== undefined) response.writeContinue();
    const { body, share } = await collect(request, limits, budget);
    try {
      return await use(body);
    } finally {
      if (response.closed) share.release();
      else response.once('close', () => share.release());
    }
  };
}

/** Collects the body. */
function collect(
  request: IncomingMessage,
  limits: BodyLimits,
  budget: ByteBudget,
): Promise<{ readonly body: Buffer; readonly share: Share }> {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const elapsedMs = (): number => performance.now() - startedAt;
    const pieces: Buffer[] = [];
    let isUnfinished = true;
    const share = budget.join({
      cost: () => (isUnfinished ? share.bytes() * (1 + elapsedMs()) : 0),
      evict: () => refuse(crowded()),
    });
    const settle = (): void => {
      isUnfinished = false;
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    };
    const refuse = (error: SuError): void => {
      settle();
      pieces.length = 0;
      share.release();
      request.on('error', ignoreError).resume();
      reject(error);
    };
    const onData = (piece: Buffer): void => {
      pieces.push(piece);
      const hasRoom = share.add(piece.length);
      if (share.bytes() > limits.bodyBytesMax) refuse(tooLarge(limits.bodyBytesMax, undefined));
      else if (!hasRoom) refuse(crowded());
    };
    const onEnd = (): void => {
      settle();
      // Copied also when it came in one piece: a piece is part of the socket's 64 KiB, which a waiting item would keep.
      resolve({ body: Buffer.concat(pieces), share });
    };
    const onClose = (): void =>
      refuse(
        new SuError('invalid-request', 'the connection was closed before the body was complete'),
      );
    const watch = (): NodeJS.Timeout =>
      setTimeout(
        () => {
          const refusal = tooSlow(limits, { bytes: share.bytes(), elapsedMs: elapsedMs() });
          if (refusal === undefined) timer = watch();
          else refuse(refusal);
        },
        nextLookMs(limits, elapsedMs()),
      );
    let timer = watch();
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });
}

function nextLookMs({ bodyTimeoutMs, bodyPatienceMs }: BodyLimits, elapsedMs: number): number {
  const wait = elapsedMs < bodyPatienceMs / 2 ? bodyPatienceMs : bodyPatienceMs / 4;
  return Math.max(1, Math.min(wait, bodyTimeoutMs - elapsedMs));
}

/** Why a body that has come so far is not waited for any longer. */
function tooSlow(
  { bodyTimeoutMs, bodyPatienceMs, bodyBytesPerSecondMin }: BodyLimits,
  { bytes, elapsedMs }: { readonly bytes: number; readonly elapsedMs: number },
): SuError | undefined {
  // Timers count whole milliseconds and may be early by one.
  if (elapsedMs >= bodyTimeoutMs - 1) {
    return new SuError('request-timeout', `the body was not complete after ${bodyTimeoutMs} ms`);
  }
  if (elapsedMs < bodyPatienceMs - 1 || bytes * 1000 >= bodyBytesPerSecondMin * elapsedMs) {
    return undefined;
  }
  return new SuError(
    'request-timeout',
    `the body came more slowly than ${bodyBytesPerSecondMin} bytes a second`,
  );
}

function crowded(): SuError {
  return new SuError('scheduler-busy', 'too many bodies are being received, send it again');
}

/** The request is refused already; a connection that breaks while its rest passes by is no further failure. */
function ignoreError(): void {}

function tooLarge(bytesMax: number, declared: number | undefined): SuError {
  const seen = declared === undefined ? 'the body' : `the body of ${declared} bytes`;
  return new SuError('body-too-large', `${seen} is larger than the limit of ${bytesMax} bytes`);
}
