import { SuError } from '../../errors.js';
import type { Clock } from '../../scheduler/ports.js';
import { answerJson } from '../answer.js';
import type { Handler } from '../handler.js';

/** The network's block height as the program knows it. */
export interface HeightSource {
  /** Undefined until a first height is known; `ageMs` is the time since the gateway told it. */
  current(): { readonly height: number; readonly ageMs: number } | undefined;
  /** True when the height is older than it should be. */
  isStale(): boolean;
}

/**
 * `GET /timestamp`: clock and block height, and the height's age while it is stale.
 *
 * @throws SuError `height-unavailable` from the handler until a first height is known
 */
export function timestampRoute(options: {
  readonly clock: Clock;
  readonly blockClock: HeightSource;
}): Handler {
  const { clock, blockClock } = options;
  return (ctx) => {
    const known = blockClock.current();
    if (known === undefined) {
      throw new SuError(
        'height-unavailable',
        'no block height is known yet, send the request again',
      );
    }
    answerJson(
      ctx,
      JSON.stringify({
        timestamp: String(clock()),
        block_height: String(known.height).padStart(12, '0'),
        ...(blockClock.isStale() && { block_height_age_ms: Math.round(known.ageMs) }),
      }),
    );
  };
}
