import { isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { Locate } from './locate.js';
import type { PlacedProcess, PlaceProcess, PostedProcess } from './place-process.js';
import type { RouterLog, RouteStore, SchedulerClient } from './ports.js';

/*
 * A router that carries spawns itself sees what becomes of them, and takes back a placement that came to nothing: the SU
 * refused the process, or was never reached with it.
 *
 * Promises: a placement is taken back only when nobody carries the same process any more and none of those who did was
 * accepted or is in doubt; one that was there before only when its SU says that it does not know the process. While
 * it is being taken back, others who post the process wait, and are then placed anew.
 */

/** What became of a spawn that was carried. `unreached`: not one byte of it went out. `unknown`: any 5xx, or no answer. */
export type SpawnOutcome = 'accepted' | 'refused' | 'unreached' | 'unknown';

export interface CarrySpawnOptions {
  readonly placeProcess: PlaceProcess;
  readonly store: Pick<RouteStore, 'takeBack'>;
  readonly locate: Pick<Locate, 'forget'>;
  readonly client: Pick<SchedulerClient, 'fetchKnowsProcess'>;
  readonly log: RouterLog;
}

export interface Carried<Answer> {
  readonly outcome: SpawnOutcome;
  readonly answer: Answer;
}

/**
 * Places the process and lets `carry` bring it to its SU.
 *
 * @throws SuError as placing does; what `carry` throws, whose outcome is `unknown`
 */
export type CarrySpawn = <Answer>(
  posted: PostedProcess,
  carry: (placed: PlacedProcess) => Promise<Carried<Answer>>,
) => Promise<Answer>;

/** Those who carry one process at one time. */
interface Group {
  members: number;
  isFresh: boolean;
  isKept: boolean;
  isRefused: boolean;
  placed: PlacedProcess | undefined;
  ending: Promise<void> | undefined;
}

/** See the promises above. */
export function makeCarrySpawn(options: CarrySpawnOptions): CarrySpawn {
  const groups = new Map<Id, Group>();

  async function join(processId: Id): Promise<Group> {
    for (;;) {
      const group = groups.get(processId);
      if (group === undefined) break;
      if (group.ending === undefined) {
        group.members += 1;
        return group;
      }
      await group.ending;
    }
    const group: Group = {
      members: 1,
      isFresh: false,
      isKept: false,
      isRefused: false,
      placed: undefined,
      ending: undefined,
    };
    groups.set(processId, group);
    return group;
  }

  async function leave(processId: Id, group: Group): Promise<void> {
    group.members -= 1;
    if (group.members > 0) return;
    group.ending = settle(options, group).finally(() => groups.delete(processId));
    await group.ending;
  }

  return async (posted, carry) => {
    const group = await join(posted.processId);
    let outcome: SpawnOutcome = 'unknown';
    let isPlaced = false;
    try {
      const placed = await options.placeProcess(posted);
      isPlaced = true;
      group.placed = placed;
      group.isFresh ||= placed.isNew;
      const carried = await carry(placed);
      ({ outcome } = carried);
      return carried.answer;
    } finally {
      group.isRefused ||= outcome === 'refused';
      group.isKept ||= isPlaced && (outcome === 'accepted' || outcome === 'unknown');
      await leave(posted.processId, group);
    }
  };
}

/** Does not reject: the client has its answer already, and a placement that stays costs a later spawn nothing. */
async function settle(options: CarrySpawnOptions, group: Group): Promise<void> {
  const { store, locate, client, log } = options;
  const { placed, isFresh, isKept, isRefused } = group;
  if (placed === undefined || isKept || (!isFresh && !isRefused)) return;
  const { placement, url } = placed;
  const fields = { processId: placement.processId, scheduler: url };
  try {
    if (!isFresh && (await client.fetchKnowsProcess(url, placement.processId))) return;
    const isGone = await store.takeBack(placement);
    locate.forget(placement.processId);
    if (isGone) log.info({ event: 'placement-taken-back', ...fields });
  } catch (error) {
    if (isSuError(error, 'scheduler-unavailable', 'scheduler-timeout')) return;
    log.warn(
      { event: 'placement-not-taken-back', err: error, ...fields },
      'a refused process stays placed; posted again it goes to the same SU',
    );
  }
}
