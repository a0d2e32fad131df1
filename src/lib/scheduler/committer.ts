import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { NewEntry, Run, RunOutcome, ScheduleStore } from './ports.js';

/*
 * Group commit. Everything that was signed while the last transaction ran goes into the next one, so that one
 * flush serves many processes; at most one transaction is under way. While jobs stand in line for a signature, the cores
 * are what everybody waits for, and a transaction of few entries takes them from the signatures: then the next one gathers
 * entries for a moment (Gathering). Nothing waits without a line, behind a transaction that was full, or while another
 * server takes the places of a process that is queued: it would take them again meanwhile.
 *
 * Promises:
 * - entries of a process reach the store in the order they were added, as one run per transaction;
 * - every added entry is settled exactly once: by its lane being told the run's outcome, or by being handed back
 *   with that outcome because an entry before it was not written;
 * - no entry waits for others longer than `gathering.waitMaxMs`, whatever becomes of them;
 * - after a run that was not appended nothing of that process stays queued: its lane starts anew from storage.
 * When the store throws, the outcome of every run of the transaction is unknown, and the lanes are told so.
 */

/** The lane's end of a commit. */
export interface CommitListener {
  readonly processId: Id;
  /** Jobs of the process that are not signed yet, nor being signed. */
  readonly inLine: number;
  /** Its head had moved a moment ago: somebody else writes to the process. */
  readonly isContended: boolean;
  /**
   * @param entries the entries of the run, in order.
   * @param later entries of the same process that were queued behind the run; empty when it was appended.
   */
  settled(outcome: RunOutcome, entries: readonly NewEntry[], later: readonly NewEntry[]): void;
}

/** When a transaction that could begin waits for more entries. */
export interface Gathering {
  /** Jobs that come to this committer and wait for a place to sign in. */
  readonly waitingToSign: () => number;
  /** So many entries are enough. */
  readonly entriesEnough: number;
  readonly waitMaxMs: number;
  /** Ends early when the signal comes; never rejects. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
}

export interface CommitterOptions {
  readonly store: Pick<ScheduleStore, 'append'>;
  /** Entries in one transaction at most. */
  readonly entriesMax: number;
  /** Bundle bytes in one transaction at most (a single larger entry goes alone). */
  readonly bytesMax: number;
  /** Entries queued at most before lanes are asked to wait. */
  readonly queueMax: number;
  readonly gathering: Gathering;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  /** Told after each transaction, after the lanes. */
  readonly onCommitted?: (committed: Committed) => void;
}

export interface Committed {
  readonly durationMs: number;
  readonly runs: readonly Run[];
  readonly outcomes: readonly RunOutcome[];
}

interface Queue {
  readonly listener: CommitListener;
  readonly entries: NewEntry[];
  /** The head that entries[0] continues. */
  onto: Run['onto'];
}

/** Takes signed entries from the lanes and writes them in group commits; see the promises above. */
export class Committer {
  readonly #options: CommitterOptions;
  readonly #queues = new Map<Id, Queue>();
  #queued = 0;
  #queuedBytes = 0;
  #running = false;
  /** While a transaction waits for more entries: to be aborted when it has enough. */
  #gathering: AbortController | undefined;
  #roomWaiters: (() => void)[] = [];

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Entries that wait for a transaction. */
  get depth(): number {
    return this.#queued;
  }

  /** Resolves once the queue is short enough for another entry to be worth signing. */
  async room(): Promise<void> {
    while (this.#queued >= this.#options.queueMax) {
      await new Promise<void>((resolve) => this.#roomWaiters.push(resolve));
    }
  }

  /**
   * Queues an entry for the next transaction.
   *
   * @param onto the head the entry continues: the one before it in this queue, or the lane's confirmed head.
   */
  add(listener: CommitListener, entry: NewEntry, onto: Run['onto']): void {
    const queue = this.#queues.get(entry.processId);
    if (queue === undefined) {
      this.#queues.set(entry.processId, { listener, entries: [entry], onto });
    } else {
      queue.entries.push(entry);
    }
    this.#queued += 1;
    this.#queuedBytes += entry.bundle.length;
    if (!this.#isWorthWaiting()) this.#gathering?.abort();
    if (this.#running) return;
    this.#running = true;
    // drain() hands every failure to the lanes and cannot reject.
    setImmediate(() => void this.#drain());
  }

  async #drain(): Promise<void> {
    let wasFull = false;
    while (this.#queues.size > 0) {
      if (!wasFull && this.#isWorthWaiting()) await this.#gather();
      const batch = this.#take();
      wasFull = this.#queued > 0;
      const runs = batch.map(({ run }) => run);
      const begun = this.#options.monotonicMs();
      // THE commit point of every write: what precedes it is harmless when lost, what follows can be redone from storage.
      const outcomes = await this.#append(runs);
      batch.forEach(({ listener, run }, index) => {
        this.#settle(listener, run, outcomes[index] ?? unanswered());
      });
      this.#options.onCommitted?.({
        durationMs: this.#options.monotonicMs() - begun,
        runs,
        outcomes,
      });
      this.#wakeRoomWaiters();
    }
    this.#running = false;
  }

  /** With more in line than are queued: those who wait here have clients who post nothing until they are answered. */
  #isWorthWaiting(): boolean {
    const { gathering, bytesMax } = this.#options;
    if (this.#queued >= gathering.entriesEnough || this.#queuedBytes >= bytesMax) return false;
    let inLine = gathering.waitingToSign();
    for (const { listener } of this.#queues.values()) {
      if (listener.isContended) return false;
      inLine = Math.max(inLine, listener.inLine);
    }
    return inLine > this.#queued;
  }

  async #gather(): Promise<void> {
    const { pause, waitMaxMs } = this.#options.gathering;
    this.#gathering = new AbortController();
    await pause(waitMaxMs, this.#gathering.signal);
    this.#gathering = undefined;
  }

  async #append(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    try {
      return await this.#options.store.append(runs);
    } catch (cause) {
      const error =
        cause instanceof SuError
          ? cause
          : new SuError('store-unavailable', 'the store failed while it was writing', { cause });
      return runs.map(() => ({ status: 'unknown', error }));
    }
  }

  /** The oldest queued processes first, whole runs as far as the bounds allow, always at least one entry. */
  #take(): readonly { listener: CommitListener; run: Run }[] {
    const batch: { listener: CommitListener; run: Run }[] = [];
    let entriesLeft = this.#options.entriesMax;
    let bytesLeft = this.#options.bytesMax;
    for (const [processId, queue] of this.#queues) {
      let count = 0;
      for (const entry of queue.entries) {
        const first = batch.length === 0 && count === 0;
        if (!first && (entriesLeft === 0 || entry.bundle.length > bytesLeft)) break;
        entriesLeft -= 1;
        bytesLeft -= entry.bundle.length;
        count += 1;
      }
      if (count === 0) break;
      const entries = queue.entries.splice(0, count);
      this.#leave(entries);
      batch.push({ listener: queue.listener, run: { processId, onto: queue.onto, entries } });
      queue.onto = entries[entries.length - 1]?.head;
      // A process whose queue was cut goes on at the end of the line, its order within kept.
      this.#queues.delete(processId);
      if (queue.entries.length > 0) this.#queues.set(processId, queue);
      if (entriesLeft <= 0 || bytesLeft <= 0) break;
    }
    return batch;
  }

  #leave(entries: readonly NewEntry[]): void {
    this.#queued -= entries.length;
    for (const { bundle } of entries) this.#queuedBytes -= bundle.length;
  }

  #settle(listener: CommitListener, run: Run, outcome: RunOutcome): void {
    let later: readonly NewEntry[] = [];
    if (outcome.status !== 'appended') {
      later = this.#queues.get(run.processId)?.entries ?? [];
      this.#leave(later);
      this.#queues.delete(run.processId);
    }
    listener.settled(outcome, run.entries, later);
  }

  #wakeRoomWaiters(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}

function unanswered(): RunOutcome {
  return {
    status: 'unknown',
    error: new SuError('invariant', 'the store left a run without an answer'),
  };
}
