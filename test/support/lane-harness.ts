import { createHash, randomBytes } from 'node:crypto';
import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import { batchPerTick } from '../../src/lib/batch-per-tick.js';
import { Committer } from '../../src/lib/scheduler/committer.js';
import { makeLanes, type Lanes } from '../../src/lib/scheduler/lanes.js';
import type { LaneContext, Placement } from '../../src/lib/scheduler/process-lane.js';
import { delayByTimer } from '../../src/lib/uploader/delay.js';
import type { MemoryScheduleStore } from './memory-schedule-store.js';

export interface LaneHarness {
  readonly lanes: Lanes;
  /** Signatures made so far. */
  signatures(): number;
  /** Signatures under way now, and the most there ever were at once. */
  signing(): { now: number; most: number };
  spawn(item: DataItem): Promise<Placement>;
  post(processId: Id, item: DataItem): Promise<Placement>;
  assign(processId: Id, transactionId: Id): Promise<Placement>;
}

export interface LaneHarnessOptions {
  readonly store: MemoryScheduleStore;
  readonly now?: () => number;
  readonly lineMax?: number;
  readonly jobsMax?: number;
  readonly attemptsMax?: number;
  readonly signaturesAtOnce?: number;
  /** Resolves when a signature is done; default: the next turn of the event loop. */
  readonly signing?: () => Promise<void>;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What a lane needs besides a committer: every signature has a place, and is random bytes. */
export function laneContext(store: MemoryScheduleStore): Omit<LaneContext, 'committerOf'> {
  return {
    readHead: batchPerTick((ids: readonly Id[]) => store.readHeads(ids), 100),
    findReceipt: batchPerTick((queries) => store.findReceipts(queries), 100),
    inSigningPlace: (_, work) => work(),
    now: Date.now,
    monotonicMs: () => performance.now(),
    blockHeight: () => 1_500_000,
    owner: new Uint8Array(512).fill(7),
    random: (length) => randomBytes(length),
    async sign() {
      await turn();
      return randomBytes(512);
    },
    observeWait: () => undefined,
    lineMax: 1000,
    waitMaxMs: 60_000,
    attemptsMax: 50,
  };
}

/** Lanes and committer as the server wires them, over a store in memory, with signatures that are random bytes. */
export function openLaneHarness(options: LaneHarnessOptions): LaneHarness {
  const { store, now = Date.now, signing = turn } = options;
  let signatures = 0;
  let underWay = 0;
  let most = 0;
  const places = options.signaturesAtOnce ?? 2;
  const queue: (() => void)[] = [];
  let free = places;
  const committer = new Committer({
    store,
    entriesMax: 64,
    bytesMax: 1 << 20,
    queueMax: 128,
    gathering: {
      waitingToSign: () => queue.length,
      entriesEnough: 4,
      waitMaxMs: 5,
      pause: delayByTimer,
    },
    monotonicMs: () => performance.now(),
  });
  const lanes = makeLanes({
    headsMax: 100,
    jobsMax: options.jobsMax ?? 10_000,
    context: {
      ...laneContext(store),
      committerOf: () => committer,
      async inSigningPlace(_, work) {
        if (free === 0) await new Promise<void>((resolve) => queue.push(resolve));
        else free -= 1;
        try {
          return await work();
        } finally {
          const next = queue.shift();
          if (next === undefined) free += 1;
          else next();
        }
      },
      now,
      async sign() {
        signatures += 1;
        underWay += 1;
        most = Math.max(most, underWay);
        await signing();
        underWay -= 1;
        return randomBytes(512);
      },
      ...(options.lineMax !== undefined && { lineMax: options.lineMax }),
      ...(options.attemptsMax !== undefined && { attemptsMax: options.attemptsMax }),
    },
  });
  return {
    lanes,
    signatures: () => signatures,
    signing: () => ({ now: underWay, most }),
    spawn: (item) =>
      lanes.enter({
        kind: 'process',
        processId: item.id,
        item,
        withAssignment: true,
        identity: { kind: 'process', id: item.id },
      }),
    post: (processId, item) =>
      lanes.enter({
        kind: 'message',
        processId,
        item,
        identity: { kind: 'message', id: item.id },
      }),
    assign: (processId, transactionId) =>
      lanes.enter({
        kind: 'assigned-transaction',
        processId,
        transactionId,
        exclude: [],
        identity: { kind: 'assign', processId, transactionId, exclude: [], since: 0 },
      }),
  };
}

/** A well-formed item with a random signature: lanes do not verify. */
export function unsignedItem(target?: Id): DataItem {
  return parseDataItem(
    encodeDataItem({
      signatureType: 2,
      signature: randomBytes(64),
      owner: randomBytes(32),
      target: target === undefined ? undefined : idToBytes(target),
      tags: [{ name: 'Type', value: target === undefined ? 'Process' : 'Message' }],
    }),
    'posted',
  );
}

/** Says what is wrong with a stored log, undefined when it is a correct chain without repetition. */
export function faultOfLog(store: MemoryScheduleStore, processId: Id): string | undefined {
  const log = store.logs.get(processId) ?? [];
  const seen = new Set<Id>();
  let link = firstLink(processId);
  for (const [index, { head, messageId }] of log.entries()) {
    const before = log[index - 1]?.head;
    if (head.nonce !== index) return `nonce ${head.nonce} at place ${index}`;
    if (before !== undefined) {
      if (before.assignmentId === undefined || before.hashChain === undefined) return 'no link';
      link = nextLink(before.assignmentId, before.hashChain);
      if (head.timestamp <= before.timestamp) return `timestamp falls at ${index}`;
    }
    if (head.hashChain !== link) return `wrong hash chain at ${index}`;
    if (seen.has(messageId)) return `message ${messageId} has two places`;
    seen.add(messageId);
  }
  return undefined;
}

/** A generator of pseudo-random numbers in [0, 1) that a seed reproduces. */
export function seeded(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest();
  return () => {
    state = createHash('sha256').update(state).digest();
    return state.readUInt32BE(0) / 2 ** 32;
  };
}
