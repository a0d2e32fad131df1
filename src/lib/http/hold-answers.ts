import type { ServerResponse } from 'node:http';
import { SuError } from '../errors.js';
import { ByteBudget } from './byte-budget.js';

/** Bounds on what answers may take that clients have not read yet. */
export interface AnswerLimits {
  /** Bytes of all answers that are being sent at one time. */
  readonly answersBytesMax: number;
  /** A quarter of `answersBytesMax` is kept for answers up to this size. */
  readonly smallAnswerBytesMax: number;
  /** Whose client took nothing for so long is cut off when others need the room. */
  readonly stalledMs: number;
}

export const ANSWER_LIMITS: AnswerLimits = {
  answersBytesMax: 268_435_456,
  smallAnswerBytesMax: 1_048_576,
  stalledMs: 5_000,
};

/** An answer that is being sent. */
export interface HeldAnswer {
  /** Counts what was made beyond the first bytes; never refused, since the answer has begun. */
  add(bytes: number): void;
  remove(bytes: number): void;
  /** The client took a piece. */
  moved(): void;
}

/**
 * Counts an answer of `bytes` until its response is closed.
 *
 * @throws SuError `scheduler-busy` when too many bytes are being sent to clients that do read them
 */
export type HoldAnswer = (response: ServerResponse, bytes: number) => HeldAnswer;

/** Answers go out in pieces of this size, so that it is seen how fast a client takes them. */
export const ANSWER_PIECE_BYTES = 262_144;

/** What the operating system takes off our hands in any case need not be counted: a connection has one answer at a time. */
const UNCOUNTED_BYTES = 16_384;
const UNCOUNTED: HeldAnswer = { add: () => {}, remove: () => {}, moved: () => {} };
const RETRY_AFTER_SECONDS = 2;

/** Makes the counter of answers. */
export function makeHoldAnswers(limits: AnswerLimits): HoldAnswer {
  const { answersBytesMax, smallAnswerBytesMax, stalledMs } = limits;
  const budget = new ByteBudget({ bytesMax: answersBytesMax, smallBytesMax: smallAnswerBytesMax });
  return (response, bytes) => {
    if (bytes <= UNCOUNTED_BYTES) return UNCOUNTED;
    let movedAt = performance.now();
    const share = budget.join({
      cost: () => {
        const idleMs = performance.now() - movedAt;
        return idleMs < stalledMs ? 0 : share.bytes() * idleMs;
      },
      evict: () => void response.destroy(),
    });
    if (!share.add(bytes)) {
      share.release();
      throw new SuError('scheduler-busy', 'too many large answers are being sent, ask again', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
        details: { heldBytes: budget.bytes },
      });
    }
    response.once('close', () => share.release());
    return {
      add: (more) => void share.add(more),
      remove: (less) => share.remove(less),
      moved: () => {
        movedAt = performance.now();
      },
    };
  };
}

/** The bytes in pieces that are views of them. */
export function* piecesOf(bytes: Buffer): Generator<Buffer, void> {
  for (let start = 0; start < bytes.length; start += ANSWER_PIECE_BYTES) {
    yield bytes.subarray(start, start + ANSWER_PIECE_BYTES);
  }
}
