import { SuError } from '../errors.js';
import type { Directory } from './directory.js';
import type { SchedulerClient, SchedulerHealth } from './ports.js';

export interface OwnHeightOptions {
  /** The configured gateway; undefined when there is none. */
  readonly gateway: { fetchBlockHeight(signal?: AbortSignal): Promise<number> } | undefined;
  readonly client: Pick<SchedulerClient, 'fetchBlockHeight'>;
  readonly directory: Pick<Directory, 'listed' | 'stored'>;
  readonly health: Pick<SchedulerHealth, 'isReachable'>;
}

/**
 * The block height of a router's own: the gateway's when one is configured, else that of the first SU of the list that
 * answers.
 *
 * @throws SuError from the function: `height-unavailable`; with a gateway `gateway-unavailable`, `gateway-timeout`
 */
export function makeFetchOwnHeight(
  options: OwnHeightOptions,
): (signal?: AbortSignal) => Promise<number> {
  const { gateway, client, directory, health } = options;
  return async (signal) => {
    if (gateway !== undefined) return gateway.fetchBlockHeight(signal);
    let cause: unknown;
    for (const url of directory.listed()) {
      if (!health.isReachable(url)) continue;
      try {
        return await client.fetchBlockHeight(url, signal);
      } catch (error) {
        // The next one may answer.
        cause = error;
      }
    }
    throw new SuError('height-unavailable', 'no Scheduler Unit of the list tells a block height', {
      cause,
      retryAfterSeconds: 5,
    });
  };
}

/** How long an answer, or a failure, stands for those who ask next. */
const SHARED_MS = 1_000;

/**
 * One question at a time for all who ask, and at most one a second or so: clients may ask as often as they like, and each
 * question goes to the gateway or to one SU after the other.
 *
 * @param monotonicMs a clock that never steps
 * @throws from the function what `fetchHeight` throws
 */
export function shareHeight(
  fetchHeight: () => Promise<number>,
  monotonicMs: () => number,
): () => Promise<number> {
  let shared: Promise<number> | undefined;
  let untilMs = 0;
  return () => {
    if (shared !== undefined && monotonicMs() < untilMs) return shared;
    untilMs = Number.POSITIVE_INFINITY;
    shared = fetchHeight().finally(() => {
      untilMs = monotonicMs() + SHARED_MS;
    });
    return shared;
  };
}
