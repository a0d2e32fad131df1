import type { QueuedUpload } from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import { letterRange, parkedKey, pendingKey, sequenceOf } from './keys.js';
import { decodeOutboxRow, encodeOutboxRow, type Counters, type StoredOutboxRow } from './rows.js';
import type { EntryToWrite, SettlementToWrite } from './write-request.js';

/** Parked rows that one request makes pending again at most. */
const RETRY_ROWS_MAX = 1000;

/** Where an outbox row is. */
interface KnownRow {
  readonly state: 'pending' | 'parked';
  readonly row: StoredOutboxRow;
}

const keyOf = (state: KnownRow['state'], sequence: number): Buffer =>
  state === 'pending' ? pendingKey(sequence) : parkedKey(sequence);

/** The changes of one batch to the outbox, and the counts after them. */
export class OutboxDraft {
  readonly #database: Database;
  readonly #puts: BatchPuts;
  /** Rows that the batch has changed: the database does not show that yet. */
  readonly #changed = new Map<number, KnownRow | undefined>();
  #counters: Counters;

  constructor(database: Database, puts: BatchPuts, counters: Counters) {
    this.#database = database;
    this.#puts = puts;
    this.#counters = counters;
  }

  get counters(): Counters {
    return this.#counters;
  }

  /**
   * Queues what is to be uploaded of an entry. An entry without uploads gets a number, so that answers are as long as
   * runs, and no row.
   */
  queue(processId: Id, entry: EntryToWrite, now: number): number {
    const { messageId, uploads: parts } = entry;
    const assignmentId = entry.kind === 'process' ? undefined : entry.assignmentId;
    return this.queueStored({ processId, messageId, assignmentId, parts }, now);
  }

  /** The same for an entry that is stored already. */
  queueStored({ processId, messageId, assignmentId, parts }: QueuedUpload, now: number): number {
    const sequence = this.#counters.nextSequence;
    this.#counters = { ...this.#counters, nextSequence: sequence + 1 };
    if (parts === 0) return sequence;
    const row: StoredOutboxRow = {
      parts,
      attempts: 0,
      dueAt: now,
      queuedAt: now,
      processId,
      messageId,
      assignmentId,
      reason: undefined,
    };
    this.#put(sequence, { state: 'pending', row });
    return sequence;
  }

  /** Notes what became of rows. One that is not there was settled before, after its lease had run out. */
  settle(settlements: readonly SettlementToWrite[], now: number): void {
    for (const { sequence, settlement } of settlements) {
      const known = this.#read(sequence);
      if (known === undefined) continue;
      if (settlement.status === 'done') {
        this.#move(sequence, known, undefined);
        continue;
      }
      const delayMs = settlement.status === 'retry' ? settlement.delayMs : 0;
      const row: StoredOutboxRow = {
        ...known.row,
        parts: settlement.parts,
        attempts: known.row.attempts + 1,
        dueAt: now + Math.max(0, Math.ceil(delayMs)),
        reason: settlement.reason,
      };
      const state = settlement.status === 'retry' ? 'pending' : 'parked';
      this.#move(sequence, known, { state, row });
    }
  }

  /** Makes parked rows pending: those asked for, or the first ones of all. Returns which. */
  retry(asked: readonly number[] | 'all', now: number): readonly number[] {
    const retried: number[] = [];
    for (const sequence of asked === 'all' ? this.#readParked() : asked) {
      const known = this.#read(sequence);
      if (known?.state !== 'parked') continue;
      this.#move(sequence, known, { state: 'pending', row: { ...known.row, dueAt: now } });
      retried.push(sequence);
    }
    return retried;
  }

  #readParked(): readonly number[] {
    const range = { ...letterRange('x'), limit: RETRY_ROWS_MAX, values: false };
    return this.#database.readFew('default', range).map(([key]) => sequenceOf(key));
  }

  #read(sequence: number): KnownRow | undefined {
    if (this.#changed.has(sequence)) return this.#changed.get(sequence);
    const keys = [pendingKey(sequence), parkedKey(sequence)];
    const [pending, parked] = this.#database.readMany('default', keys);
    if (pending !== undefined) return { state: 'pending', row: decodeOutboxRow(pending) };
    return parked === undefined ? undefined : { state: 'parked', row: decodeOutboxRow(parked) };
  }

  #move(sequence: number, from: KnownRow, to: KnownRow | undefined): void {
    this.#count(from.state, -1);
    if (from.state !== to?.state) this.#puts.remove('default', keyOf(from.state, sequence));
    if (to === undefined) this.#changed.set(sequence, undefined);
    else this.#put(sequence, to);
  }

  #put(sequence: number, known: KnownRow): void {
    this.#count(known.state, 1);
    this.#puts.put('default', keyOf(known.state, sequence), encodeOutboxRow(known.row));
    this.#changed.set(sequence, known);
  }

  #count(state: KnownRow['state'], change: number): void {
    this.#counters = { ...this.#counters, [state]: this.#counters[state] + change };
  }
}
