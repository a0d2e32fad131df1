import { randomBytes } from 'node:crypto';
import type { Id } from '../../src/lib/protocol/ids.js';
import { signEntry, type Job, type Moment } from '../../src/lib/scheduler/entry.js';
import type { Head, NewEntry, Run } from '../../src/lib/scheduler/ports.js';
import { fakeMessageItem, fakeProcessItem, randomId, type FakeParts } from './item-factory.js';

/** What the next entry of a fake log is: a message, or an existing transaction that is assigned. */
export type Step =
  | { readonly message: FakeParts }
  | { readonly assign: { readonly transactionId?: Id; readonly exclude?: readonly string[] } };

export interface FakeLogOptions {
  /** Whether the process itself takes nonce 0; true when left out. */
  readonly withAssignment?: boolean;
  /** Parts of the process's item. */
  readonly process?: FakeParts;
  /** Timestamp of the process, ms; each entry that follows is 10 ms later. */
  readonly startAt?: number;
  readonly blockHeight?: number;
  /** Owner of assignments and wrappers, 512 bytes. */
  readonly owner?: Uint8Array;
}

const STEP_MS = 10;
const ASSIGN_WINDOW_MS = 20_000;

/**
 * A log that grows entry by entry: nonces, timestamps and hash chain are right, all signatures are random
 * bytes. It holds in memory what a store should hold, so that a test can compare.
 */
export class FakeLog {
  /** The process's own entry, as the run that begins the log. */
  readonly spawn: Run;
  /** All entries so far, the process first. */
  readonly entries: NewEntry[];
  readonly #moment: Omit<Moment, 'now'>;
  #now: number;

  private constructor(spawn: Run, entries: readonly NewEntry[], moment: Moment) {
    this.spawn = spawn;
    this.entries = [...entries];
    this.#moment = moment;
    this.#now = moment.now;
  }

  static async begin(options: FakeLogOptions): Promise<FakeLog> {
    const item = fakeProcessItem(options.process);
    const moment = {
      now: options.startAt ?? 1_700_000_000_000,
      blockHeight: options.blockHeight ?? 1_500_000,
      owner: options.owner ?? randomBytes(512),
      random: (length: number) => new Uint8Array(randomBytes(length)),
      sign: () => Promise.resolve(new Uint8Array(randomBytes(512))),
    };
    const job: Job = {
      kind: 'process',
      processId: item.id,
      item,
      withAssignment: options.withAssignment ?? true,
      identity: { kind: 'process', id: item.id },
    };
    const entries = [await signEntry(job, undefined, moment)];
    return new FakeLog({ processId: item.id, onto: undefined, entries }, entries, moment);
  }

  /** A second log with the same past: what both append from here on competes for the same places. */
  fork(): FakeLog {
    return new FakeLog(this.spawn, this.entries, { ...this.#moment, now: this.#now });
  }

  get processId(): Id {
    return this.spawn.processId;
  }

  /** Where the log stands after all entries so far. */
  get head(): Head {
    const last = this.entries.at(-1);
    if (last === undefined) throw new Error('a log has at least its process');
    return last.head;
  }

  /** The messages and assigned transactions so far. */
  get messages(): readonly NewEntry[] {
    return this.entries.slice(1);
  }

  /** The next entries, as a run onto where the log stands now; the log then stands after them. */
  async run(...steps: readonly Step[]): Promise<Run> {
    const onto = this.head;
    const entries: NewEntry[] = [];
    // One after the other: each entry continues the one before.
    for (const step of steps) entries.push(await this.#append(step));
    return { processId: this.processId, onto, entries };
  }

  /** `count` messages as a run. */
  runOfMessages(count: number, parts: FakeParts = {}): Promise<Run> {
    return this.run(...Array.from({ length: count }, () => ({ message: parts })));
  }

  async #append(step: Step): Promise<NewEntry> {
    this.#now += STEP_MS;
    const moment = { ...this.#moment, now: this.#now };
    const entry = await signEntry(this.#jobOf(step), this.head, moment);
    this.entries.push(entry);
    return entry;
  }

  #jobOf(step: Step): Job {
    const { processId } = this;
    if ('message' in step) {
      const item = fakeMessageItem(processId, step.message);
      return { kind: 'message', processId, item, identity: { kind: 'message', id: item.id } };
    }
    const { transactionId = randomId(), exclude = [] } = step.assign;
    const since = this.#now - ASSIGN_WINDOW_MS;
    return {
      kind: 'assigned-transaction',
      processId,
      transactionId,
      exclude,
      identity: { kind: 'assign', processId, transactionId, exclude, since },
    };
  }
}

/** A new log with a process and nothing else; `spawn` is the run that stores the process. */
export function makeLog(options: FakeLogOptions = {}): Promise<FakeLog> {
  return FakeLog.begin(options);
}

/** Several consecutive runs of one process as one run, as the committer joins them. */
export function joinRuns(first: Run, ...rest: readonly Run[]): Run {
  return { ...first, entries: [first, ...rest].flatMap((run) => run.entries) };
}
