import { SuError } from '../../errors.js';
import type { Clock } from '../../scheduler/ports.js';
import { answerJson } from '../answer.js';
import type { Handler } from '../handler.js';
import { timestampRoute, type HeightSource } from './timestamp.js';

export interface OwnTimestampOptions {
  readonly clock: Clock;
  readonly blockClock: HeightSource;
  /** Asks for the height now; clients may ask at any rate. */
  readonly fetchHeight: () => Promise<number>;
}

/**
 * `GET /timestamp` of the router itself. It keeps a height as an SU does; asked before the first one is known, it asks for one.
 *
 * @throws SuError `height-unavailable` from the handler
 */
export function ownTimestampRoute({
  clock,
  blockClock,
  fetchHeight,
}: OwnTimestampOptions): Handler {
  const fromClock = timestampRoute({ clock, blockClock });
  return async (ctx) => {
    if (blockClock.current() !== undefined) {
      await fromClock(ctx);
      return;
    }
    const height = await heightNow(fetchHeight);
    answerJson(
      ctx,
      JSON.stringify({
        timestamp: String(clock()),
        block_height: String(height).padStart(12, '0'),
      }),
    );
  };
}

/** Whoever could not be asked, the client is told the same: the router has no height yet. */
async function heightNow(fetchHeight: () => Promise<number>): Promise<number> {
  try {
    return await fetchHeight();
  } catch (cause) {
    throw new SuError(
      'height-unavailable',
      'no block height is known yet, send the request again',
      {
        cause,
        retryAfterSeconds: 5,
      },
    );
  }
}
