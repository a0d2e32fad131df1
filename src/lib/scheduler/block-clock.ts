import { SuError } from '../errors.js';
import type { Gateway } from './ports.js';

/*
 * The network's block height, asked for every few seconds and kept with its age, so that scheduling does not
 * depend on a gateway's answer at the moment of a message.
 *
 * Promises: a height is only ever what the gateway said since this program started; an answer that cannot be a
 * height, or that leaps, is treated like no answer; when it grows old this is said once in the log and shown by `current`, and past
 * the age limit `require` refuses. close() ends the asking and aborts a question under way.
 */

export interface BlockClockOptions {
  readonly gateway: Pick<Gateway, 'fetchBlockHeight'>;
  readonly clock: () => number;
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

/** A height has 12 digits at most on the wire. */
const HEIGHT_MAX = 999_999_999_999;
/** Blocks come every two minutes; no honest gateway is further ahead of the last answer than this (four months). */
const LEAP_MAX = 100_000;

/** Begins to ask at once; the first answer may be a while in coming. */
export function openBlockClock(options: BlockClockOptions): BlockClock {
  const { gateway, clock, staleMs, ageMaxMs } = options;
  const abort = new AbortController();
  let known: { readonly height: number; readonly at: number } | undefined;
  let warned = false;

  const ageOf = (at: number): number => Math.max(0, clock() - at);

  async function ask(): Promise<void> {
    try {
      const height = await gateway.fetchBlockHeight(abort.signal);
      checkHeight(height, known?.height);
      known = { height, at: clock() };
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

function checkHeight(height: number, before: number | undefined): void {
  if (!Number.isSafeInteger(height) || height <= 0 || height > HEIGHT_MAX) {
    throw new SuError('gateway-unavailable', `the gateway's block height is no height: ${height}`);
  }
  if (before !== undefined && height > before + LEAP_MAX) {
    throw new SuError(
      'gateway-unavailable',
      `the gateway's block height leaps from ${before} to ${height}`,
    );
  }
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
