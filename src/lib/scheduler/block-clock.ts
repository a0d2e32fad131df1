import { isSuError, SuError } from '../errors.js';
import type { Gateway } from './ports.js';

/*
 * The network's block height, asked for every few seconds and kept with its age, so that scheduling does not
 * depend on a gateway's answer at the moment of a message.
 *
 * Promises: a height is only ever what the gateway said since this program started; an answer that cannot be a
 * height is treated like no answer, and so is a leap until three answers in a row agree on it, since assignments' heights
 * never fall and one wrong answer would stay in every log it touches; when the height grows old this is said once in the log and shown by `current`, and past
 * the age limit `require` refuses. close() ends the asking and aborts a question under way.
 */

export interface BlockClockOptions {
  readonly gateway: Pick<Gateway, 'fetchBlockHeight'>;
  /** A clock that never steps, ms: a wall clock that was set would make a fresh height old. */
  readonly monotonicMs: () => number;
  /** Between two questions, ms. */
  readonly intervalMs: number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Older than this is stale: a warning, writes go on. */
  readonly staleMs: number;
  /** Older than this: writes are refused. */
  readonly ageMaxMs: number;
  readonly onWarning: (message: string, details: Readonly<Record<string, unknown>>) => void;
  readonly onRecovered: (details: Readonly<Record<string, unknown>>) => void;
}

export interface BlockClock {
  /** The last known height and its age, undefined before the first answer. */
  current(): { readonly height: number; readonly ageMs: number } | undefined;
  isStale(): boolean;
  /**
   * The height for a new assignment.
   * @throws SuError `height-unavailable` when none is known or it is too old
   */
  require(): number;
  close(): Promise<void>;
}

/** The wire has 12 digits; the network needs four hundred years of its pace to come here from today. */
const HEIGHT_MAX = 100_000_000;
/** Blocks come every two minutes; no honest gateway is further ahead of the last answer than this (four months). */
const LEAP_MAX = 100_000;
/** So many answers in a row must agree on a leap (a gateway that was still reading the chain when it was first asked). */
const LEAP_ANSWERS = 3;

/** Begins to ask at once; the first answer may be a while in coming. */
export function openBlockClock(options: BlockClockOptions): BlockClock {
  const { gateway, monotonicMs, staleMs, ageMaxMs } = options;
  const abort = new AbortController();
  let known: { readonly height: number; readonly at: number } | undefined;
  let warned = false;
  const checkHeight = makeHeightCheck();

  const ageOf = (at: number): number => monotonicMs() - at;

  async function ask(): Promise<void> {
    try {
      const height = await gateway.fetchBlockHeight(abort.signal);
      checkHeight(height, known?.height);
      known = { height, at: monotonicMs() };
      if (warned) options.onRecovered({ height });
      warned = false;
    } catch (cause) {
      if (abort.signal.aborted || warned) return;
      if (known !== undefined && ageOf(known.at) <= staleMs) return;
      warned = true;
      options.onWarning('the gateway does not tell the block height', {
        height: known?.height,
        ageMs: known === undefined ? undefined : ageOf(known.at),
        reason: cause instanceof Error ? cause.message : String(cause),
        ...(isSuError(cause) ? cause.details : {}),
      });
    }
  }

  const asking = repeat(ask, options, abort.signal);

  return {
    current: () =>
      known === undefined ? undefined : { height: known.height, ageMs: ageOf(known.at) },
    isStale: () => known !== undefined && ageOf(known.at) > staleMs,
    require() {
      if (known === undefined) {
        throw new SuError('height-unavailable', 'no block height is known yet', {
          retryAfterSeconds: 5,
        });
      }
      const ageMs = ageOf(known.at);
      if (ageMs > ageMaxMs) {
        throw new SuError(
          'height-unavailable',
          `the block height is ${Math.round(ageMs / 1000)} s old: the gateway does not answer`,
          { retryAfterSeconds: 30 },
        );
      }
      return known.height;
    },
    async close() {
      abort.abort();
      await asking;
    },
  };
}

/** Refuses an answer that cannot be a height, and a leap that too few answers in a row agree on. */
function makeHeightCheck(): (height: number, before: number | undefined) => void {
  let leaps: { readonly height: number; readonly answers: number } | undefined;
  return (height, before) => {
    if (!Number.isSafeInteger(height) || height <= 0 || height > HEIGHT_MAX) {
      throw new SuError(
        'gateway-unavailable',
        `the gateway's block height is no height: ${height}`,
      );
    }
    if (before === undefined || height <= before + LEAP_MAX) {
      leaps = undefined;
      return;
    }
    const agrees = leaps !== undefined && Math.abs(height - leaps.height) <= LEAP_MAX;
    leaps = { height, answers: agrees ? (leaps?.answers ?? 0) + 1 : 1 };
    if (leaps.answers >= LEAP_ANSWERS) {
      leaps = undefined;
      return;
    }
    throw new SuError(
      'gateway-unavailable',
      `the gateway's block height leaps from ${before} to ${height}`,
    );
  };
}

async function repeat(
  work: () => Promise<void>,
  { pause, intervalMs }: Pick<BlockClockOptions, 'pause' | 'intervalMs'>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await work();
    await pause(intervalMs, signal);
  }
}
