import { isSuError } from '../errors.js';
import { readAssignment } from '../protocol/assignment.js';
import { parseMessageBundle } from '../protocol/bundle.js';
import type { Id } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';
import type { DeepHashGuard } from './deep-hash-guard.js';
import type { DeepHashCoverage, DeepHashStore, Gateway, OldDeepHash, Position } from './ports.js';

/*
 * Entries that were stored without a deep hash (before the checks were switched on, by another program, or under
 * another version of the hash) get one in the background: of each process that takes a message, once in a run of the
 * program, from the newest entry back to where the last time ended, a bounded number of them. One process at a time,
 * and writes do not wait for it: until it is done, a copy of an old entry may still be let in.
 */

export interface RecomputeOptions {
  readonly store: DeepHashStore;
  readonly hash: DeepHashGuard['hash'];
  /** An assigned transaction's content is not in the store. */
  readonly gateway: Pick<Gateway, 'fetchTransaction'>;
  readonly version: string;
  /** Entries of a process that are looked at, at most. */
  readonly entriesMax: number;
  /** Processes remembered as done. */
  readonly processesMax: number;
  /** A process whose turn failed is left alone for so long, ms. */
  readonly retryMs: number;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly onDone: (processId: Id, details: Readonly<Record<string, unknown>>) => void;
  readonly onFailed: (processId: Id, error: unknown) => void;
}

export interface Recompute {
  /** Queues a process that was not looked at in this run. Never throws. */
  touch(processId: Id): void;
  /** Resolves when nothing is queued. */
  idle(): Promise<void>;
  /** Breaks off between two entries. */
  close(): Promise<void>;
}

const QUEUE_MAX = 10_000;

/** See above. */
export function openRecompute(options: RecomputeOptions): Recompute {
  /** From when on a process may be queued again. */
  const restUntil = new Map<Id, number>();
  const queue = new Set<Id>();
  const abort = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let isRunning = false;

  async function run(): Promise<void> {
    for (const processId of queue) {
      if (abort.signal.aborted) break;
      queue.delete(processId);
      try {
        const details = await recompute(options, processId, abort.signal);
        if (details !== undefined) options.onDone(processId, details);
      } catch (error) {
        // Store or gateway are away: a later message of the process tries again.
        restUntil.set(processId, options.monotonicMs() + options.retryMs);
        options.onFailed(processId, error);
      }
    }
    isRunning = false;
  }

  return {
    touch(processId) {
      if (options.entriesMax === 0 || queue.size >= QUEUE_MAX || abort.signal.aborted) return;
      if ((restUntil.get(processId) ?? 0) > options.monotonicMs()) return;
      // The one longest remembered is looked at once more, which finds little to do.
      const [oldest] = restUntil.keys();
      if (restUntil.size >= options.processesMax && oldest !== undefined) restUntil.delete(oldest);
      restUntil.set(processId, Number.POSITIVE_INFINITY);
      queue.add(processId);
      if (isRunning) return;
      isRunning = true;
      running = run();
    },
    idle: async () => running,
    async close() {
      abort.abort();
      await running;
    },
  };
}

async function recompute(
  options: RecomputeOptions,
  processId: Id,
  signal: AbortSignal,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const { store, version, entriesMax } = options;
  const before = await store.findCoverage(processId);
  const until = before?.version === version ? before.through : undefined;
  let newest: Position | undefined;
  let below: Position | undefined;
  let looked = 0;
  let hashed = 0;
  while (looked < entriesMax) {
    const entries = await store.readNewest(processId, below);
    const wanted = entries.filter((entry) => isAfter(entry, until)).slice(0, entriesMax - looked);
    const hashes: OldDeepHash[] = [];
    for (const entry of wanted) {
      if (signal.aborted) return undefined;
      const old = await hashOld(options, entry);
      if (old !== undefined) hashes.push(old);
    }
    newest ??= wanted[0];
    below = wanted.at(-1);
    looked += wanted.length;
    hashed += hashes.length;
    if (hashes.length > 0) await store.addOldHashes(processId, { version, hashes });
    if (wanted.length < entries.length || wanted.length === 0) break;
  }
  // Only now, when there is no gap below the newest.
  const coverage: DeepHashCoverage = { version, through: placeOf(newest) ?? until };
  await store.addOldHashes(processId, { version, hashes: [] }, coverage);
  return { looked, hashed, version };
}

type StoredEntry = Position & { readonly bundle: Uint8Array };

/** Undefined for an entry whose content is not compared. */
async function hashOld(
  options: RecomputeOptions,
  entry: StoredEntry,
): Promise<OldDeepHash | undefined> {
  try {
    return await hashEntry(options, entry);
  } catch (error) {
    // Damaged in the store, which `su verify` tells; or a transaction too large to be compared, which is refused as a
    // new assign. Neither must keep the entries before it from being looked at.
    if (isSuError(error, 'invalid-data-item', 'body-too-large')) return undefined;
    throw error;
  }
}

async function hashEntry(
  { hash, gateway }: RecomputeOptions,
  entry: StoredEntry,
): Promise<OldDeepHash | undefined> {
  const { epoch, nonce } = entry;
  const { item, assignment } = parseMessageBundle(entry.bundle);
  if (item !== undefined) {
    if (findTag(item.tags, 'From-Process') === undefined) return undefined;
    return { epoch, nonce, messageId: item.id, hash: (await hash(item)).stored };
  }
  const messageId = assignment === undefined ? undefined : readAssignment(assignment).messageId;
  if (messageId === undefined) return undefined;
  const hashes = await gateway.fetchTransaction(messageId, hash);
  return hashes && { epoch, nonce, messageId, hash: hashes.stored };
}

function isAfter(entry: Position, until: Position | undefined): boolean {
  if (until === undefined || entry.epoch > until.epoch) return true;
  return entry.epoch === until.epoch && entry.nonce > until.nonce;
}

function placeOf(entry: Position | undefined): Position | undefined {
  return entry && { epoch: entry.epoch, nonce: entry.nonce };
}
