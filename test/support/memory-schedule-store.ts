import { SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import type {
  Head,
  NewEntry,
  Receipt,
  ReceiptQuery,
  Run,
  RunOutcome,
  ScheduleStore,
} from '../../src/lib/scheduler/ports.js';

/** What the next append meets; `after` faults write first and lose the answer. */
export type Fault =
  | 'none'
  | 'unknown-before'
  | 'unknown-after'
  | 'throw-before'
  | 'throw-after'
  | { readonly refuse: (entry: NewEntry) => boolean };

/** A ScheduleStore in memory with the conditions of the real ones, and faults on demand. */
export class MemoryScheduleStore implements ScheduleStore {
  readonly logs = new Map<Id, NewEntry[]>();
  appends = 0;
  /** Asked before each append. */
  nextFault: () => Fault = () => 'none';
  /** Called inside an append, before the head is compared: where another writer gets in between. */
  onAppend: (runs: readonly Run[]) => void = () => undefined;
  /** Resolves before the transaction ends. */
  delay: () => Promise<void> = () => Promise.resolve();
  away = false;

  async append(runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    this.appends += 1;
    const fault = this.nextFault();
    await this.delay();
    this.onAppend(runs);
    if (fault === 'throw-before' || this.away) throw new Error('the connection broke');
    if (fault === 'unknown-before') return runs.map(() => unknown());
    const outcomes = runs.map((run) => this.#appendRun(run, fault));
    if (fault === 'throw-after') throw new Error('the connection broke');
    return fault === 'unknown-after' ? runs.map(() => unknown()) : outcomes;
  }

  /** Writes entries as another server would. */
  write(entry: NewEntry): void {
    const log = this.logs.get(entry.processId) ?? [];
    log.push(entry);
    this.logs.set(entry.processId, log);
  }

  readHeads(processIds: readonly Id[]): Promise<readonly (Head | undefined)[]> {
    if (this.away) return Promise.reject(unavailable());
    return Promise.resolve(processIds.map((id) => this.#head(id)));
  }

  findReceipts(queries: readonly ReceiptQuery[]): Promise<readonly (Receipt | undefined)[]> {
    if (this.away) return Promise.reject(unavailable());
    return Promise.resolve(queries.map((query) => this.#find(query)));
  }

  findProcessTags(processId: Id): Promise<readonly { name: string; value: string }[] | undefined> {
    return Promise.resolve(this.logs.get(processId)?.[0]?.item?.tags);
  }

  #head(processId: Id): Head | undefined {
    return this.logs.get(processId)?.at(-1)?.head;
  }

  #appendRun(run: Run, fault: Fault): RunOutcome {
    const index =
      typeof fault === 'object' ? run.entries.findIndex((entry) => fault.refuse(entry)) : -1;
    if (index >= 0) {
      return { status: 'refused', index, error: new SuError('refused-by-store', 'refused') };
    }
    const head = this.#head(run.processId);
    const stands = head?.nonce === run.onto?.nonce && head?.assignmentId === run.onto?.assignmentId;
    const known = run.entries.some(({ identity }) => this.#find(identity) !== undefined);
    if (!stands || known) return { status: 'moved' };
    for (const entry of run.entries) this.write(entry);
    return { status: 'appended', outboxKeys: run.entries.map((_, i) => String(i)) };
  }

  #find(query: ReceiptQuery): Receipt | undefined {
    for (const log of this.logs.values()) {
      for (const entry of log) {
        if (query.kind === 'assign') {
          const same =
            entry.kind === 'assigned-transaction' &&
            entry.processId === query.processId &&
            entry.messageId === query.transactionId &&
            entry.head.timestamp >= query.since &&
            entry.identity.kind === 'assign' &&
            entry.identity.exclude.join() === query.exclude.join() &&
            query.attempts?.some((id) => id === entry.assignment?.id) !== false;
          if (same && entry.assignment !== undefined) {
            return { id: entry.assignment.id, timestamp: entry.head.timestamp };
          }
        } else if (entry.kind === query.kind && entry.messageId === query.id) {
          return { id: query.id, timestamp: entry.head.timestamp };
        }
      }
    }
    return undefined;
  }
}

function unavailable(): SuError {
  return new SuError('store-unavailable', 'the store is away');
}

function unknown(): RunOutcome {
  return { status: 'unknown', error: unavailable() };
}
