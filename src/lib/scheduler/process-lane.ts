import { SuError, isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { Committer, CommitListener } from './committer.js';
import { isAssign, signEntry, type Job } from './entry.js';
import { assignsMax } from './fair-shares.js';
import type { Head, NewEntry, Receipt, ReceiptQuery, RunOutcome } from './ports.js';

/*
 * A lane gives the jobs of one process their places, first come first served: head + job → signed entry → committer.
 * The next job is signed as soon as the one before it is, without waiting for the disk, on a head that is a guess
 * until storage confirms it.
 *
 * Promises:
 * - every job is settled exactly once, with the receipt of a stored entry or with an error;
 * - a job is never signed a second time before storage was asked whether the first signature's entry landed;
 * - after any outcome but `appended` the guessed head is dropped, every job that was signed and is not confirmed
 *   goes back to the front of the line in its old order, is looked up by identity, and only then signed again on
 *   a head read afresh, a bounded number of times;
 * - when storage cannot answer that look-up the jobs are refused with 503, which does not promise that they are absent.
 * A lane holds no resource: when it is idle it may be thrown away, with its confirmed head kept in a cache that is
 * only ever a guess too.
 */

/** What happened to a job: the receipt, and where its entry stands. */
export interface Placement extends Receipt {
  readonly nonce: number | undefined;
  /** True when an earlier posting of the same thing was found instead of making a new entry. */
  readonly repeated: boolean;
}

export interface LaneContext {
  readonly committerOf: (processId: Id) => Pick<Committer, 'add' | 'room'>;
  readonly readHead: (processId: Id) => Promise<Head | undefined>;
  readonly findReceipt: (query: ReceiptQuery) => Promise<Receipt | undefined>;
  /** Runs a signing step of a process in one of the places that are shared by all lanes, in the order asked. */
  readonly inSigningPlace: <T>(processId: Id, work: () => Promise<T>) => Promise<T>;
  /** Wall clock, ms: what assignments say. */
  readonly now: () => number;
  /** A clock that never steps, ms: how long things take. */
  readonly monotonicMs: () => number;
  /** @throws SuError `height-unavailable` */
  readonly blockHeight: () => number;
  readonly owner: Uint8Array;
  readonly random: (length: number) => Uint8Array;
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
  /** Told how long a job stood in line before its turn to be signed came, ms. */
  readonly observeWait: (waitedMs: number) => void;
  /** Jobs of one process in line at most; half of them at most are assigns. */
  readonly lineMax: number;
  /** How long a job may stand in line before it is signed, ms. */
  readonly waitMaxMs: number;
  /** Signatures spent on one job at most. */
  readonly attemptsMax: number;
}

/**
 * So long a process counts as contended after its head had moved. Two servers at one hot process, 16 clients each: 600 to 600
 * messages; 920 to 15 when the one that is behind gathers entries, since the other commits meanwhile.
 */
const CONTENDED_MS = 1000;

interface Standing {
  readonly job: Job;
  /** What its entry is found by: the job's identity, or that of the last entry signed for it. */
  identity: ReceiptQuery;
  readonly ticket: number;
  readonly enteredAt: number;
  attempts: number;
  /** Its entry may have been written: look it up before signing again. */
  doubtful: boolean;
  readonly resolve: (placement: Placement) => void;
  readonly reject: (error: unknown) => void;
}

/** The head as the lane believes it: not read yet, no such process, or a head. */
type Belief =
  | { readonly kind: 'unread' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'head'; readonly head: Head };

const UNREAD: Belief = { kind: 'unread' };

/** See the promises above. */
export class ProcessLane implements CommitListener {
  readonly processId: Id;
  readonly #context: LaneContext;
  readonly #committer: Pick<Committer, 'add' | 'room'>;
  readonly #onIdle: (lane: ProcessLane) => void;
  #belief: Belief;
  /** Rises when signed entries become worthless; an entry signed under an older count is thrown away. */
  #generation = 0;
  #tickets = 0;
  #line: Standing[] = [];
  readonly #unconfirmed = new Map<NewEntry, Standing>();
  #running = false;
  #contendedUntil = 0;

  constructor(
    processId: Id,
    options: {
      readonly context: LaneContext;
      readonly head: Head | undefined;
      readonly onIdle: (lane: ProcessLane) => void;
    },
  ) {
    this.processId = processId;
    this.#context = options.context;
    this.#committer = options.context.committerOf(processId);
    this.#onIdle = options.onIdle;
    this.#belief = options.head === undefined ? UNREAD : { kind: 'head', head: options.head };
  }

  get inLine(): number {
    return this.#line.length;
  }

  get isContended(): boolean {
    return this.#context.monotonicMs() < this.#contendedUntil;
  }

  /** Jobs that stand in line or wait for their commit. */
  get depth(): number {
    return this.#line.length + this.#unconfirmed.size;
  }

  /** The head, when every entry up to it is confirmed. */
  get confirmedHead(): Head | undefined {
    return this.#unconfirmed.size === 0 && this.#belief.kind === 'head'
      ? this.#belief.head
      : undefined;
  }

  /**
   * Puts a job in line and resolves once its entry is durable and readable.
   *
   * @throws SuError `process-busy`, `unknown-process`, `store-unavailable`, `height-unavailable`, `refused-by-store`, `invalid-request`
   */
  enter(job: Job): Promise<Placement> {
    if (this.depth >= this.#context.lineMax) throw this.#busy(`${this.depth} messages wait`);
    if (isAssign(job)) this.#checkAssigns();
    return new Promise<Placement>((resolve, reject) => {
      this.#line.push({
        job,
        identity: job.identity,
        ticket: (this.#tickets += 1),
        enteredAt: this.#context.monotonicMs(),
        attempts: 0,
        doubtful: false,
        resolve,
        reject,
      });
      this.#start();
    });
  }

  /** Nobody signs an assign, so a line full of them would keep the messages of the process out at no cost. */
  #checkAssigns(): void {
    const most = assignsMax(this.#context.lineMax);
    if (this.depth < most) return;
    const waiting = [...this.#line, ...this.#unconfirmed.values()];
    const assigns = waiting.filter(({ job }) => isAssign(job)).length;
    if (assigns >= most) throw this.#busy(`${assigns} assigns wait`);
  }

  settled(outcome: RunOutcome, entries: readonly NewEntry[], later: readonly NewEntry[]): void {
    if (outcome.status === 'moved') {
      this.#contendedUntil = this.#context.monotonicMs() + CONTENDED_MS;
    }
    if (outcome.status === 'appended') {
      for (const entry of entries) this.#confirm(entry);
      if (!this.#running) this.#rest();
      return;
    }
    this.#generation += 1;
    this.#belief = UNREAD;
    entries.forEach((entry, index) => {
      if (outcome.status === 'refused' && outcome.index === index) {
        this.#take(entry).reject(outcome.error);
      } else {
        this.#putBack(this.#take(entry), true);
      }
    });
    for (const entry of later) this.#putBack(this.#take(entry), true);
    this.#start();
  }

  #confirm(entry: NewEntry): void {
    const standing = this.#take(entry);
    standing.resolve({
      id: entry.kind === 'assigned-transaction' ? assignmentIdOf(entry) : entry.messageId,
      timestamp: entry.head.timestamp,
      nonce: entry.assignment === undefined ? undefined : entry.head.nonce,
      repeated: false,
    });
  }

  #take(entry: NewEntry): Standing {
    const standing = this.#unconfirmed.get(entry);
    if (standing === undefined) {
      throw new SuError('invariant', 'a commit settled an entry that its lane does not know', {
        details: { processId: this.processId },
      });
    }
    this.#unconfirmed.delete(entry);
    return standing;
  }

  /** Back to its old place in the line: tickets keep the order in which the jobs came. */
  #putBack(standing: Standing, doubtful: boolean): void {
    standing.doubtful ||= doubtful;
    const behind = this.#line.findIndex(({ ticket }) => ticket > standing.ticket);
    this.#line.splice(behind === -1 ? this.#line.length : behind, 0, standing);
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    // run() settles every job itself and cannot reject.
    void this.#run();
  }

  async #run(): Promise<void> {
    while (this.#line.length > 0) {
      try {
        await this.#committer.room();
        await this.#lookUpDoubtful();
        await this.#signNext();
      } catch (error) {
        // Storage or clock cannot be asked: whoever stands in line would meet the same.
        for (const standing of this.#line.splice(0)) standing.reject(error);
      }
    }
    this.#running = false;
    this.#rest();
  }

  #rest(): void {
    if (this.depth === 0) this.#onIdle(this);
  }

  async #lookUpDoubtful(): Promise<void> {
    const doubtful = this.#line.filter((standing) => standing.doubtful);
    if (doubtful.length === 0) return;
    const found = await Promise.allSettled(
      doubtful.map(({ identity }) => this.#context.findReceipt(identity)),
    );
    for (const look of found) {
      if (look.status === 'rejected' && isSuError(look.reason, 'store-unavailable')) {
        throw look.reason;
      }
    }
    doubtful.forEach((standing, index) => {
      const look = found[index];
      standing.doubtful = false;
      if (look?.status !== 'fulfilled') {
        // What is damaged of one job is no matter of the others.
        this.#leave(standing);
        standing.reject(look?.reason);
      } else if (look.value !== undefined) {
        this.#leave(standing);
        standing.resolve({ ...look.value, nonce: undefined, repeated: true });
      } else if (standing.attempts >= this.#context.attemptsMax) {
        this.#leave(standing);
        standing.reject(
          this.#busy(`its place was lost ${standing.attempts} times to other writers`),
        );
      }
    });
  }

  #leave(standing: Standing): void {
    this.#line = this.#line.filter((other) => other !== standing);
  }

  async #signNext(): Promise<void> {
    const standing = this.#line.shift();
    if (standing === undefined) return;
    // From here to its entry in the committer the job is in this function's hands alone.
    try {
      const waitedMs = this.#context.monotonicMs() - standing.enteredAt;
      this.#context.observeWait(waitedMs);
      if (waitedMs > this.#context.waitMaxMs) throw this.#busy('it waited too long');
      const generation = this.#generation;
      await this.#readBelief(standing.job);
      if (generation !== this.#generation) {
        this.#putBack(standing, false);
        return;
      }
      const onto = this.#ontoFor(standing);
      standing.attempts += 1;
      const entry = await this.#sign({ ...standing.job, identity: standing.identity }, onto);
      standing.identity = entry.identity;
      if (generation !== this.#generation) {
        this.#putBack(standing, false);
        return;
      }
      this.#belief = { kind: 'head', head: entry.head };
      this.#unconfirmed.set(entry, standing);
      this.#committer.add(this, entry, onto);
    } catch (error) {
      standing.reject(error);
      if (isSuError(error, 'store-unavailable')) throw error;
    }
  }

  async #readBelief(job: Job): Promise<void> {
    if (this.#belief.kind !== 'unread') return;
    // A process that was just looked up and not found needs no second look: the append decides.
    if (job.kind === 'process' && this.#unconfirmed.size === 0) {
      this.#belief = { kind: 'absent' };
      return;
    }
    const head = await this.#context.readHead(this.processId);
    this.#belief = head === undefined ? { kind: 'absent' } : { kind: 'head', head };
  }

  /** The head this job's entry continues; undefined when it begins the chain. */
  #ontoFor({ job }: Standing): Head | undefined {
    const belief = this.#belief;
    if (job.kind === 'process') {
      if (belief.kind === 'head') {
        throw new SuError(
          'process-busy',
          `process ${this.processId} is being stored: send it again`,
          {
            retryAfterSeconds: 1,
          },
        );
      }
      return undefined;
    }
    if (belief.kind === 'head') return belief.head;
    this.#belief = UNREAD;
    throw new SuError(
      'unknown-process',
      `process ${this.processId} is not known to this scheduler`,
    );
  }

  #sign(job: Job, onto: Head | undefined): Promise<NewEntry> {
    const context = this.#context;
    return context.inSigningPlace(this.processId, () =>
      signEntry(job, onto, {
        now: context.now(),
        blockHeight: context.blockHeight(),
        owner: context.owner,
        random: context.random,
        sign: context.sign,
      }),
    );
  }

  #busy(why: string): SuError {
    return new SuError('process-busy', `process ${this.processId} is busy: ${why}`, {
      retryAfterSeconds: 2,
    });
  }
}

function assignmentIdOf(entry: NewEntry): Id {
  if (entry.assignment === undefined) {
    throw new SuError('invariant', 'an assigned transaction has an assignment');
  }
  return entry.assignment.id;
}
