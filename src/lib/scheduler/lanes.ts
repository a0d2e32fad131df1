import { LRUCache } from 'lru-cache';
import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { isAssign, type Job } from './entry.js';
import { assignsMax } from './fair-shares.js';
import type { Head } from './ports.js';
import { ProcessLane, type LaneContext, type Placement } from './process-lane.js';

export interface LanesOptions {
  readonly context: LaneContext;
  /** Heads of resting processes kept in memory. */
  readonly headsMax: number;
  /** Jobs in all lanes together; half of them at most are assigns. */
  readonly jobsMax: number;
}

/** The lanes of all processes that have work, and the heads of those that had it lately. */
export interface Lanes {
  /**
   * Gives the job its place in its process's log.
   * @throws SuError `scheduler-busy`, and what ProcessLane.enter throws
   */
  enter(job: Job): Promise<Placement>;
  /** Jobs in line or waiting for their commit. */
  depth(): number;
  /** Lanes with work. */
  count(): number;
}

/**
 * A lane exists while its process has work; afterwards only its confirmed head stays, in a bounded cache.
 * A cached head can be out of date (another SU on the same database): the condition of the append finds out.
 */
export function makeLanes({ context, headsMax, jobsMax }: LanesOptions): Lanes {
  const lanes = new Map<Id, ProcessLane>();
  const heads = new LRUCache<Id, Head>({ max: Math.max(1, headsMax) });
  let jobs = 0;
  let assigns = 0;

  function checkRoom(job: Job): void {
    const isFull = jobs >= jobsMax;
    if (!isFull && (!isAssign(job) || assigns < assignsMax(jobsMax))) return;
    const what = isFull ? `${jobs} messages` : `${assigns} assigns`;
    throw new SuError('scheduler-busy', `the scheduler is busy: ${what} wait`, {
      retryAfterSeconds: 2,
    });
  }

  function rest(lane: ProcessLane): void {
    lanes.delete(lane.processId);
    const head = lane.confirmedHead;
    if (head === undefined) heads.delete(lane.processId);
    else heads.set(lane.processId, head);
  }

  function laneOf(processId: Id): ProcessLane {
    const existing = lanes.get(processId);
    if (existing !== undefined) return existing;
    const lane = new ProcessLane(processId, { context, head: heads.get(processId), onIdle: rest });
    lanes.set(processId, lane);
    return lane;
  }

  return {
    async enter(job) {
      checkRoom(job);
      jobs += 1;
      if (isAssign(job)) assigns += 1;
      try {
        return await laneOf(job.processId).enter(job);
      } finally {
        jobs -= 1;
        if (isAssign(job)) assigns -= 1;
      }
    },
    depth: () => jobs,
    count: () => lanes.size,
  };
}
