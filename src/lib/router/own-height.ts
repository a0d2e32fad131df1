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
