import type { Choose, SchedulerHealth, StoredScheduler } from './ports.js';

export interface ChoiceOptions {
  /** Address of the owner of the process. */
  readonly owner: string;
  /** URLs of the list as it is now: an SU that was taken off it keeps its processes and gets no new ones. */
  readonly listed: ReadonlySet<string>;
  readonly health: Pick<SchedulerHealth, 'takesNew'>;
  /**
   * What to do when no SU at all is known to live. `refuse`: the router must reach the SU itself. `choose`: clients go
   * there themselves, and a router that reaches nobody knows nothing about what they reach.
   */
  readonly whenAllAreDown: 'refuse' | 'choose';
}

/**
 * The rule of choice. An SU that is set aside for the owner's wallet comes first; else the one with the fewest processes,
 * the lowest row among equals. A placement is for ever, so an owner whose own SU is down is refused and not put elsewhere.
 */
export function makeChoose(options: ChoiceOptions): Choose {
  const { owner, listed, health, whenAllAreDown } = options;
  return (schedulers) => {
    const open = schedulers.filter(({ url, noRoute }) => listed.has(url) && !noRoute);
    const own = open.filter(({ walletsToRoute }) => walletsToRoute.includes(owner));
    const allowed = own.length > 0 ? own : open.filter(({ walletsOnly }) => !walletsOnly);
    const knowsAny = schedulers.some(({ url }) => listed.has(url) && health.takesNew(url));
    const candidates =
      knowsAny || whenAllAreDown === 'refuse'
        ? allowed.filter(({ url }) => health.takesNew(url))
        : allowed;
    return own.length > 0 ? candidates[0]?.rowId : fewest(candidates)?.rowId;
  };
}

function fewest(candidates: readonly StoredScheduler[]): StoredScheduler | undefined {
  let best: StoredScheduler | undefined;
  for (const candidate of candidates) {
    if (best === undefined || candidate.processCount < best.processCount) best = candidate;
  }
  return best;
}
