import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { isSuError, SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { Directory } from './directory.js';
import type {
  Placement,
  PlaceRequest,
  RouterLog,
  SchedulerClient,
  SchedulerHealth,
  StoredScheduler,
} from './ports.js';

export interface DiscoverOptions {
  readonly client: Pick<SchedulerClient, 'fetchKnowsProcess'>;
  readonly directory: Pick<Directory, 'stored'>;
  readonly health: Pick<SchedulerHealth, 'isReachable'>;
  readonly place: (request: PlaceRequest) => Promise<Placement | undefined>;
  readonly log: RouterLog;
  readonly monotonicMs: () => number;
  readonly limits: DiscoverLimits;
}

export interface DiscoverLimits {
  /** Processes that the SUs are asked about at one time. */
  readonly atOnce: number;
  /** Processes that wait for their turn; more are refused. */
  readonly waitingMax: number;
  /** Processes that no SU knows, remembered. */
  readonly remembered: number;
  /** For how long, ms. */
  readonly unknownMs: number;
  /** For how long an answer counts that could not be complete, ms. */
  readonly failedMs: number;
}

export const DISCOVER_LIMITS: DiscoverLimits = {
  atOnce: 8,
  waitingMax: 256,
  remembered: 50_000,
  unknownMs: 30_000,
  failedMs: 3_000,
};

/** Asks the SUs for a process; undefined when none knows it. */
export type Discover = (processId: Id) => Promise<Placement | undefined>;

/**
 * Finds processes that were placed before the router existed, by asking every SU once. What is found is recorded and
 * counted like any placement. Any number of clients that ask for one process cause one round of questions, what is
 * not found is remembered for a while, and the rounds under way are bounded: a flood of made-up ids reaches the SUs as
 * a trickle.
 *
 * @throws SuError from the function it makes: `scheduler-unavailable` when none of those that answered knows the process
 * and some did not answer, `scheduler-busy`, `store-unavailable`
 */
export function makeDiscover(options: DiscoverOptions): Discover {
  const { limits, log } = options;
  const turns = pLimit(limits.atOnce);
  const running = new Map<Id, Promise<Placement | undefined>>();
  const failures = new LRUCache<Id, { readonly error: SuError | undefined }>({
    max: limits.remembered,
    perf: { now: options.monotonicMs },
  });

  async function run(processId: Id): Promise<Placement | undefined> {
    try {
      const scheduler = await askAll(processId);
      if (scheduler === undefined) {
        failures.set(processId, { error: undefined }, { ttl: limits.unknownMs });
        return undefined;
      }
      const placement = await options.place({ processId, choose: () => scheduler.rowId });
      log.info({ event: 'process-discovered', processId, scheduler: scheduler.url });
      return placement;
    } catch (error) {
      if (isSuError(error, 'scheduler-unavailable')) {
        failures.set(processId, { error }, { ttl: limits.failedMs });
      }
      throw error;
    }
  }

  async function askAll(processId: Id): Promise<StoredScheduler | undefined> {
    const schedulers = options.directory.stored();
    const answers = await Promise.all(
      schedulers.map((scheduler) => ask(options, scheduler, processId)),
    );
    const found = schedulers.filter((_, index) => answers[index] === 'knows');
    if (found.length > 1) {
      const urls = found.map(({ url }) => url);
      log.error({ event: 'process-on-several', processId, urls }, 'several SUs have this process');
    }
    if (found[0] === undefined && answers.includes('away')) {
      throw new SuError(
        'scheduler-unavailable',
        `whether the process ${processId} is known cannot be told: not all Scheduler Units answer`,
      );
    }
    return found[0];
  }

  return async (processId) => {
    const failure = failures.get(processId);
    if (failure?.error !== undefined) throw failure.error;
    if (failure !== undefined) return undefined;
    const first = running.get(processId);
    if (first !== undefined) return first;
    if (turns.pendingCount >= limits.waitingMax) {
      throw new SuError('scheduler-busy', 'too many unknown processes are being looked for', {
        retryAfterSeconds: 2,
      });
    }
    const round = turns(() => run(processId)).finally(() => running.delete(processId));
    running.set(processId, round);
    return round;
  };
}

async function ask(
  { client, health }: Pick<DiscoverOptions, 'client' | 'health'>,
  { url }: StoredScheduler,
  processId: Id,
): Promise<'knows' | 'unknown' | 'away'> {
  if (!health.isReachable(url)) return 'away';
  try {
    return (await client.fetchKnowsProcess(url, processId)) ? 'knows' : 'unknown';
  } catch (error) {
    if (isSuError(error, 'scheduler-unavailable', 'scheduler-timeout')) return 'away';
    throw error;
  }
}
