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
      const shares: readonly Share[] = [
        {
          code: 'process-busy',
          counts: processes,
          name: processId,
          max: perProcess,
          what: 'messages',
        },
        owner === undefined
          ? {
              code: 'process-busy',
              counts: assigns,
              name: processId,
              max: assignsMax(perProcess),
              what: 'assigns',
            }
          : { code: 'owner-busy', counts: owners, name: owner, max: perOwner, what: 'messages' },
      ];
      for (const share of shares) checkRoom(share);
      for (const { counts, name } of shares) counts.add(name, 1);
      try {
        return await work();
      } finally {
        for (const { counts, name } of shares) counts.add(name, -1);
      }
    },
  };
}

/** How many of the places in a queue assigns may take: they need no signature, so anybody can send any number of them. */
export function assignsMax(places: number): number {
  return Math.ceil(places / 2);
}

/** What a work counts against while it lasts. */
interface Share {
  readonly code: 'process-busy' | 'owner-busy';
  readonly counts: Counts;
  readonly name: string;
  /** 0: no limit. */
  readonly max: number;
  readonly what: 'messages' | 'assigns';
}

function checkRoom({ code, counts, name, max, what }: Share): void {
  if (max === 0 || counts.of(name) < max) return;
  const who = code === 'owner-busy' ? 'owner' : 'process';
  throw new SuError(
    code,
    `${who} ${name} is busy: ${max} of its ${what} wait, and it may have no more`,
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}

interface Counts {
  of(name: string): number;
  add(name: string, count: 1 | -1): void;
}

/** Counts by name that forget a name at 0. */
function makeCounts(): Counts {
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
