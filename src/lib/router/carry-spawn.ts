import { isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { Locate } from './locate.js';
import type { PlacedProcess, PlaceProcess, PostedProcess } from './place-process.js';
import type { RouterLog, RouteStore, SchedulerClient } from './ports.js';

/*
 * A router that carries spawns itself sees what becomes of them, and takes back a placement that came to nothing: the SU
 * refused the process, or was never reached with it.
 *
 * Taken back while another spawn of the same process is under way, the SU may accept that one, and have a process that is
 * recorded nowhere and that the next spawn places on another SU. Hence the promises:
 *
 * - Only a placement that was made here is taken back, when none of those who carried the process by it was accepted or is in
 *   doubt. While it is being taken back, others who post the process here wait, and are then placed anew.
 * - Only under the key it was made with. Another router joins a placement before it sends its spawn, which changes the key.
 *   If it joins before ours is removed, the removal finds another key and the placement stays, whichever spawn is answered
 *   first; if after, there is nothing to join and the process is placed anew. The store puts the two in an order.
 * - One that was there before stays, since only the router that made it could know that nothing of it is under way: an earlier
 *   spawn whose outcome is unknown may still be at work in the SU, which does not know the process until it is done.
 *   What stays costs nothing: the process is posted to the same SU again.
 * - After a refusal the SU is asked as well, for those who join nothing (routers of the reference on the same database,
 *   clients that post to the SU itself). That alone would not do: it may accept another spawn right after its answer.
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
  /** The placement, when one of them made it. */
  made: PlacedProcess | undefined;
  isKept: boolean;
  isRefused: boolean;
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
      made: undefined,
      isKept: false,
      isRefused: false,
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
      // Joining our own placement would change its key; nobody else can have taken it back.
      const placed =
        group.made === undefined
          ? await options.placeProcess(posted)
          : { ...group.made, isNew: false };
      isPlaced = true;
      if (placed.isNew) group.made = placed;
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
  const { made, isKept, isRefused } = group;
  if (made === undefined || isKept) return;
  const { placement, url } = made;
  const fields = { processId: placement.processId, scheduler: url };
  try {
    if (isRefused && (await client.fetchKnowsProcess(url, placement.processId))) return;
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
