import pLimit, { type LimitFunction } from 'p-limit';
import { SuError } from '../errors.js';
import { batchPerGroup } from '../batch-per-tick.js';
import { PerGroup } from '../per-group.js';
import type { Id } from '../protocol/ids.js';
import type { BlockClock } from './block-clock.js';
import { Committer, type Committed } from './committer.js';
import { NO_GUARDS, type Guards } from './guards.js';
import { makeLanes, type Lanes } from './lanes.js';
import type { Clock, Gateway, GroupOf, ReceiptQuery, ScheduleStore, Signer } from './ports.js';
import { makePrepare } from './prepare.js';
import { checkWarm, makeSubmit, type Submit } from './submit.js';

export interface WritePathOptions {
  readonly store: ScheduleStore;
  /** Left out: the store is one. */
  readonly groupOf?: GroupOf | undefined;
  readonly gateway: Gateway;
  readonly signer: Signer;
  readonly blockClock: Pick<BlockClock, 'require'>;
  /** Wall clock, ms. */
  readonly clock: Clock;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly random: (length: number) => Uint8Array;
  /** Waits so many ms, or until the signal comes; never rejects. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  /** What the program still waits for before it takes writes, undefined when nothing. */
  readonly missing: () => string | undefined;
  readonly processAssignment: boolean;
  readonly assignRetryWindowMs: number;
  /** Heads of resting processes kept in memory. */
  readonly processCacheSize: number;
  /** From when on writes are taken, on the clock that never steps, ms. */
  readonly readyAt: number;
  /** None when left out. */
  readonly guards?: Guards;
  readonly limits: WriteLimits;
  readonly observe: WriteObserver;
}

/** Bounds of the queues; beyond them clients are asked to come back. */
export interface WriteLimits {
  /**
   * Signatures under way at once: one a core, and one more that a core finds when it has made one, before the event loop comes
   * to it. More of them keep the event loop, and with it whoever reads, from the cores.
   */
  readonly signaturesAtOnce: number;
  readonly jobsMax: number;
  readonly lineMax: number;
  readonly waitMaxMs: number;
  /** Signatures spent on one job. Two servers at one hot process take its places from each other half the time: 8 were not enough. */
  readonly attemptsMax: number;
  readonly batchEntriesMax: number;
  readonly batchBytesMax: number;
  /** What a transaction gathers while jobs stand in line (Gathering). */
  readonly gatherEntries: number;
  readonly gatherMs: number;
  readonly lookUpsAtOnce: number;
}

export const WRITE_LIMITS: Omit<WriteLimits, 'signaturesAtOnce'> = {
  jobsMax: 4096,
  lineMax: 1024,
  waitMaxMs: 30_000,
  attemptsMax: 32,
  batchEntriesMax: 256,
  batchBytesMax: 16 * 1024 * 1024,
  gatherEntries: 16,
  gatherMs: 40,
  lookUpsAtOnce: 256,
};

/** Told what the write path does. */
export interface WriteObserver {
  readonly signed: (durationMs: number) => void;
  readonly waited: (durationMs: number) => void;
  readonly committed: (committed: Committed) => void;
}

export interface WritePath {
  readonly submit: Submit;
  readonly lanes: Pick<Lanes, 'depth' | 'count'>;
  /** Signed entries that wait for a commit. */
  readonly commitDepth: () => number;
  readonly signing: () => { readonly waiting: number; readonly running: number };
}

/** Joins submit, lanes and committers over one store. Holds nothing that must be closed: it is idle when no job is under way. */
export function openWritePath(options: WritePathOptions): WritePath {
  const { store, signer, clock, monotonicMs, limits, observe, guards = NO_GUARDS } = options;
  const groupOf = options.groupOf ?? ((): string => '');
  const signingPlaces = pLimit(limits.signaturesAtOnce);
  const groups = new PerGroup(() => openGroup(options, signingPlaces));
  const findReceipt = batchPerGroup(
    (query) => groupOf(processOf(query)),
    (queries: Parameters<ScheduleStore['findReceipts']>[0]) => store.findReceipts(queries),
    limits.lookUpsAtOnce,
  );
  const lanes = makeLanes({
    headsMax: options.processCacheSize,
    jobsMax: limits.jobsMax,
    context: {
      committerOf: (processId) => groups.of(groupOf(processId)).committer,
      readHead: batchPerGroup(
        groupOf,
        (ids: Parameters<ScheduleStore['readHeads']>[0]) => store.readHeads(ids),
        limits.lookUpsAtOnce,
      ),
      findReceipt,
      inSigningPlace: (processId, work) => groups.of(groupOf(processId)).inSigningPlace(work),
      now: clock,
      monotonicMs,
      blockHeight: () => options.blockClock.require(),
      owner: signer.owner,
      random: options.random,
      sign: (message) => timed(monotonicMs, observe.signed, () => signer.sign(message)),
      observeWait: observe.waited,
      lineMax: limits.lineMax,
      waitMaxMs: limits.waitMaxMs,
      attemptsMax: limits.attemptsMax,
    },
  });
  const submit = makeSubmit({
    lanes,
    prepare: makePrepare({
      gateway: options.gateway,
      store,
      processAssignment: options.processAssignment,
      hash: guards.deepHashes?.hash,
    }),
    guards,
    findReceipt,
    checkReady() {
      const missing = options.missing();
      if (missing !== undefined) throw notReady(missing);
      checkWarm(options.readyAt, monotonicMs());
      options.blockClock.require();
    },
    now: clock,
    processAssignment: options.processAssignment,
    assignRetryWindowMs: options.assignRetryWindowMs,
  });
  return {
    submit,
    lanes,
    commitDepth: () => groups.all().reduce((sum, { committer }) => sum + committer.depth, 0),
    signing: () => ({
      waiting: signingPlaces.pendingCount,
      running: signingPlaces.activeCount,
    }),
  };
}

/** What is committed together, apart from other groups. */
interface Group {
  readonly committer: Committer;
  readonly inSigningPlace: <Result>(work: () => Promise<Result>) => Promise<Result>;
}

function openGroup(
  { store, limits, pause, monotonicMs, observe }: WritePathOptions,
  signingPlaces: LimitFunction,
): Group {
  let waitingToSign = 0;
  const committer = new Committer({
    store,
    entriesMax: limits.batchEntriesMax,
    bytesMax: limits.batchBytesMax,
    queueMax: 2 * limits.batchEntriesMax,
    gathering: {
      waitingToSign: () => waitingToSign,
      entriesEnough: limits.gatherEntries,
      waitMaxMs: limits.gatherMs,
      pause,
    },
    monotonicMs,
    onCommitted: observe.committed,
  });
  return {
    committer,
    inSigningPlace(work) {
      waitingToSign += 1;
      return signingPlaces(() => {
        waitingToSign -= 1;
        return work();
      });
    },
  };
}

function processOf(query: ReceiptQuery): Id | undefined {
  return query.kind === 'process' ? query.id : query.processId;
}

function notReady(missing: string): SuError {
  return new SuError('not-ready', `the scheduler is not ready: ${missing}`, {
    retryAfterSeconds: 5,
  });
}

async function timed<Result>(
  monotonicMs: () => number,
  observe: (durationMs: number) => void,
  work: () => Promise<Result>,
): Promise<Result> {
  const begun = monotonicMs();
  const result = await work();
  observe(monotonicMs() - begun);
  return result;
}
