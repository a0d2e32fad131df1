import { isSuError, SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { makeChoose, type ChoiceOptions } from './choose-scheduler.js';
import type { Directory } from './directory.js';
import type { Discover } from './discover.js';
import type { Locate, Located } from './locate.js';
import type { Placed, PlaceRequest, SchedulerHealth } from './ports.js';

/*
 * Where a new process goes:
 *
 *   verified item ─▶ placed before? ─▶ (an SU has it already?) ─▶ choose, record and count in one commit ─▶ SU
 *
 * The record is made before the SU hears of the process, so that a spawn that is sent again, by whomever and whenever,
 * goes to the same SU. The commit of the store's `place` is the commit point.
 */

/** A process whose item was verified. */
export interface PostedProcess {
  readonly processId: Id;
  /** Address of the item's owner. */
  readonly owner: string;
}

/** An SU for the process, and whether it was chosen by this very call. */
export interface PlacedProcess extends Located {
  readonly isNew: boolean;
}

export interface PlaceProcessOptions {
  readonly locate: Pick<Locate, 'joinStored' | 'remember'>;
  readonly directory: Pick<Directory, 'listed'>;
  readonly health: Pick<SchedulerHealth, 'takesNew'>;
  readonly whenAllAreDown: ChoiceOptions['whenAllAreDown'];
  readonly discover: Discover | undefined;
  readonly place: (request: PlaceRequest) => Promise<Placed | undefined>;
}

/** @throws SuError from the function: `scheduler-unavailable` (none may take it), `store-unavailable`, `not-ready` */
export type PlaceProcess = (posted: PostedProcess) => Promise<PlacedProcess>;

/** See the flow above. */
export function makePlaceProcess(options: PlaceProcessOptions): PlaceProcess {
  const { locate, directory, health, whenAllAreDown } = options;
  const running = new Map<Id, Promise<PlacedProcess>>();

  async function place({ processId, owner }: PostedProcess): Promise<PlacedProcess> {
    const known = await locate.joinStored(processId);
    if (known !== undefined) return { ...known, isNew: false };
    const found = await discoverOrGoOn(options.discover, processId);
    if (found !== undefined) return { ...(await locate.remember(found)), isNew: false };
    const listed = directory.listed();
    const choose = makeChoose({ owner, listed, health, whenAllAreDown });
    const placed = await options.place({ processId, choose });
    if (placed === undefined) {
      throw new SuError(
        'scheduler-unavailable',
        'no Scheduler Unit takes a new process of this owner now; try again later',
        { details: { processId, owner } },
      );
    }
    return { ...(await locate.remember(placed)), isNew: placed.isNew };
  }

  return async (posted) => {
    const first = running.get(posted.processId);
    if (first !== undefined) return { ...(await first), isNew: false };
    const placing = place(posted).finally(() => running.delete(posted.processId));
    running.set(posted.processId, placing);
    return placing;
  };
}

/**
 * An SU that is away may have the process of old, but far more likely the process is new: one dead SU must not keep
 * every spawn out.
 */
async function discoverOrGoOn(discover: Discover | undefined, processId: Id): ReturnType<Discover> {
  try {
    return await discover?.(processId);
  } catch (error) {
    if (isSuError(error, 'scheduler-unavailable')) return undefined;
    throw error;
  }
}
