import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';

/** How much of the queues one process, and one owner, may hold; 0: as much as there is. */
export interface ShareLimits {
  readonly perProcess: number;
  readonly perOwner: number;
}

export interface FairShares {
  /**
   * Runs work that counts against the shares of its process and owner while it lasts. Assigns, which nobody signs, get half of
   * a process's share at most, so that whoever floods it with them leaves room for messages.
   *
   * @param owner undefined: an assign, which says nothing of who asks for it
   * @throws SuError `process-busy`, `owner-busy` when a share is used up
   */
  run<Result>(
    who: { readonly processId: Id; readonly owner: Id | undefined },
    work: () => Promise<Result>,
  ): Promise<Result>;
}

const RETRY_AFTER_SECONDS = 2;

/** Counts what is under way, so that one hot process or owner leaves room in the queues for the rest. */
export function makeFairShares({ perProcess, perOwner }: ShareLimits): FairShares {
  const processes = makeCounts();
  const assigns = makeCounts();
  const owners = makeCounts();
  return {
    async run({ processId, owner }, work) {
      if (perProcess > 0 && processes.of(processId) >= perProcess) {
        throw new SuError(
          'process-busy',
          `process ${processId} is busy: ${perProcess} of its messages wait, and it may have no more`,
          { retryAfterSeconds: RETRY_AFTER_SECONDS },
        );
      }
      if (
        owner === undefined &&
        perProcess > 0 &&
        assigns.of(processId) >= assignsMax(perProcess)
      ) {
        throw new SuError(
          'process-busy',
          `process ${processId} is busy: ${assignsMax(perProcess)} of its assigns wait, and it may have no more`,
          { retryAfterSeconds: RETRY_AFTER_SECONDS },
        );
      }
      if (owner !== undefined && perOwner > 0 && owners.of(owner) >= perOwner) {
        throw new SuError(
          'owner-busy',
          `owner ${owner} is busy: ${perOwner} of its messages wait, and it may have no more`,
          { retryAfterSeconds: RETRY_AFTER_SECONDS },
        );
      }
      const count = (by: 1 | -1): void => {
        processes.add(processId, by);
        if (owner === undefined) assigns.add(processId, by);
        else owners.add(owner, by);
      };
      count(1);
      try {
        return await work();
      } finally {
        count(-1);
      }
    },
  };
}

/** How many of the places in a queue assigns may take: they need no signature, so anybody can send any number of them. */
export function assignsMax(places: number): number {
  return Math.ceil(places / 2);
}

/** Counts by name that forget a name at 0. */
function makeCounts(): { of(name: string): number; add(name: string, count: 1 | -1): void } {
  const counts = new Map<string, number>();
  const of = (name: string): number => counts.get(name) ?? 0;
  return {
    of,
    add(name, count) {
      const next = of(name) + count;
      if (next > 0) counts.set(name, next);
      else counts.delete(name);
    },
  };
}
