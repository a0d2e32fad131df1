import { LRUCache } from 'lru-cache';
import type { RocksBatch } from 'rocksdb';
import type { Id } from '../../protocol/ids.js';
import type { Head, ReceiptQuery } from '../../scheduler/ports.js';
import type { Database } from './database.js';
import { findFirstAssign } from './find-assign.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  COUNTERS_KEY,
  entryKey,
  headKey,
  messageKey,
  parkedKey,
  pendingKey,
  processKey,
  sequenceOf,
  spawnKey,
  timeKey,
  letterRange,
  type ColumnName,
} from './keys.js';
import {
  decodeCounters,
  decodeHead,
  decodeOutboxRow,
  encodeCounters,
  encodeHead,
  encodeNode,
  encodeOutboxRow,
  encodePlaces,
  encodeSpawn,
  isSameHead,
  type Counters,
  type Placed,
  type StoredOutboxRow,
} from './rows.js';
import type {
  EntryToWrite,
  RunToWrite,
  SettlementToWrite,
  WriteAnswer,
  WriteRequest,
  WrittenRun,
} from './write-request.js';

/** Parked rows that one request makes pending again at most. */
const RETRY_ROWS_MAX = 1000;

const NOTHING = new Uint8Array(0);

/** Where an outbox row is, while a batch is drawn up. */
interface KnownRow {
  readonly state: 'pending' | 'parked';
  readonly row: StoredOutboxRow;
}

/** What a batch will have changed once it is written. */
interface Draft {
  readonly batch: RocksBatch;
  readonly heads: Map<Id, Head>;
  /** Messages and assigns that the batch stores. */
  readonly messages: Set<Id>;
  readonly assigns: Map<string, number>;
  readonly rows: Map<number, KnownRow | undefined>;
  counters: Counters;
  /** A batch that only settles need not be flushed: a lost settlement is a second upload. */
  sync: boolean;
}

/**
 * Draws up and writes batches, in the writer thread and nowhere else: what it reads no one can change before it has
 * written. After a failed write it must be thrown away with its database.
 */
export class BatchWriter {
  readonly #database: Database;
  readonly #heads: LRUCache<Id, Head>;
  #counters: Counters;

  constructor(database: Database, headsMax: number) {
    this.#database = database;
    this.#heads = new LRUCache({ max: headsMax });
    this.#counters = decodeCounters(database.read('default', COUNTERS_KEY));
  }

  /**
   * Does what is asked, in order, in one atomic batch, flushed when anything is appended.
   *
   * @throws whatever RocksDB throws; then whether the batch is stored is unknown
   */
  async write(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
    const draft: Draft = {
      batch: this.#database.batch(),
      heads: new Map(),
      messages: new Set(),
      assigns: new Map(),
      rows: new Map(),
      counters: this.#counters,
      sync: false,
    };
    const answers: WriteAnswer[] = [];
    for (const request of requests) answers.push(this.#draw(draft, request));
    if (draft.batch.length === 0) {
      await draft.batch.close();
      return answers;
    }
    this.#put(draft, 'default', COUNTERS_KEY, encodeCounters(draft.counters));
    // THE commit point of the embedded store.
    await draft.batch.write({ sync: draft.sync });
    this.#counters = draft.counters;
    for (const [processId, head] of draft.heads) this.#heads.set(processId, head);
    return answers;
  }

  #draw(draft: Draft, request: WriteRequest): WriteAnswer {
    switch (request.kind) {
      case 'append':
        return { kind: 'append', runs: this.#drawRuns(draft, request.runs, request.now) };
      case 'settle':
        for (const settlement of request.settlements)
          this.#drawSettlement(draft, settlement, request.now);
        return { kind: 'settle' };
      case 'retry':
        return { kind: 'retry', sequences: this.#drawRetry(draft, request.sequences, request.now) };
    }
  }

  // --- entries -----------------------------------------------------------------------------------------------

  #drawRuns(draft: Draft, runs: readonly RunToWrite[], now: number): readonly WrittenRun[] {
    const heads = this.#readHeads(draft, runs);
    const messages = this.#readStoredMessages(runs);
    const written: WrittenRun[] = [];
    for (const run of runs) {
      const head = draft.heads.get(run.processId) ?? heads.get(run.processId);
      if (isSameHead(run.onto, head) && this.#areNew(draft, run, messages)) {
        written.push({
          status: 'appended',
          sequences: run.entries.map((entry) => this.#drawEntry(draft, { run, entry, now })),
        });
        draft.sync = true;
      } else {
        written.push({ status: 'moved' });
      }
    }
    return written;
  }

  /** The heads of all runs, from memory or with one look into the database. */
  #readHeads(draft: Draft, runs: readonly RunToWrite[]): ReadonlyMap<Id, Head> {
    const heads = new Map<Id, Head>();
    const missing: Id[] = [];
    for (const { processId } of runs) {
      if (draft.heads.has(processId)) continue;
      const head = this.#heads.get(processId);
      if (head === undefined) missing.push(processId);
      else heads.set(processId, head);
    }
    const values = this.#database.readMany('default', missing.map(headKey));
    missing.forEach((processId, index) => {
      const value = values[index];
      if (value !== undefined) heads.set(processId, decodeHead(value));
    });
    return heads;
  }

  #readStoredMessages(runs: readonly RunToWrite[]): ReadonlySet<Id> {
    const ids = runs.flatMap(({ entries }) =>
      entries.flatMap(({ identity }) => (identity.kind === 'message' ? [identity.id] : [])),
    );
    const values = this.#database.readMany('default', ids.map(messageKey));
    return new Set(ids.filter((_, index) => values[index] !== undefined));
  }

  /** True when nothing of the run is stored, or in the draft, or in the run twice; then it is noted in the draft. */
  #areNew(draft: Draft, run: RunToWrite, stored: ReadonlySet<Id>): boolean {
    const messages = new Set<Id>();
    const assigns = new Map<string, number>();
    for (const { identity, head } of run.entries) {
      if (identity.kind !== 'assign') {
        // A process is new when it has no head, which is what the run was compared with.
        if (identity.kind === 'process') continue;
        const { id } = identity;
        if (stored.has(id) || draft.messages.has(id) || messages.has(id)) return false;
        messages.add(id);
        continue;
      }
      const name = Buffer.from(assignDigest(identity)).toString('latin1');
      const latest = assigns.get(name) ?? draft.assigns.get(name);
      if (latest !== undefined && latest >= identity.since) return false;
      if (findFirstAssign(this.#database, identity) !== undefined) return false;
      assigns.set(name, head.timestamp);
    }
    for (const id of messages) draft.messages.add(id);
    for (const [name, timestamp] of assigns) draft.assigns.set(name, timestamp);
    return true;
  }

  /** Everything that is stored of one entry; returns the sequence number of its outbox row. */
  #drawEntry(
    draft: Draft,
    { run, entry, now }: { run: RunToWrite; entry: EntryToWrite; now: number },
  ): number {
    const { processId } = run;
    const { head, assignmentId } = entry;
    this.#put(draft, 'default', headKey(processId), encodeHead(head));
    draft.heads.set(processId, head);
    if (entry.kind === 'process') {
      this.#drawProcess(draft, processId, entry);
    } else {
      const place: Placed = {
        processId,
        epoch: head.epoch,
        nonce: head.nonce,
        suffix: 0,
        timestamp: head.timestamp,
      };
      const key = entryKey(place);
      this.#put(draft, 'nodes', key, encodeNode(place, entry.json));
      this.#put(draft, 'bundles', key, entry.bundle);
      this.#put(draft, 'default', timeKey(place, place.timestamp), NOTHING);
      const places = encodePlaces([place]);
      if (entry.kind === 'message')
        this.#put(draft, 'default', messageKey(entry.messageId), places);
      if (assignmentId !== undefined)
        this.#put(draft, 'default', assignmentKey(assignmentId), places);
      this.#drawAssign(draft, entry.identity, {
        timestamp: head.timestamp,
        nonce: head.nonce,
        assignmentId,
      });
    }
    return this.#drawOutboxRow(draft, processId, entry, now);
  }

  #drawProcess(
    draft: Draft,
    processId: Id,
    { head, assignmentId, bundle, json }: EntryToWrite,
  ): void {
    const hasAssignment = assignmentId !== undefined;
    const spawn = encodeSpawn({ ...head, hasAssignment, nonce: hasAssignment ? head.nonce : 0 });
    this.#put(draft, 'default', spawnKey(processId), spawn);
    this.#put(draft, 'bundles', processKey(processId), bundle);
    if (json !== undefined) this.#put(draft, 'nodes', processKey(processId), json);
  }

  #drawAssign(
    draft: Draft,
    identity: ReceiptQuery,
    {
      timestamp,
      nonce,
      assignmentId,
    }: { timestamp: number; nonce: number; assignmentId: Id | undefined },
  ): void {
    if (identity.kind !== 'assign' || assignmentId === undefined) return;
    const key = assignKey(assignDigest(identity), timestamp, nonce);
    this.#put(draft, 'default', key, Buffer.from(assignmentId, 'base64url'));
  }

  #drawOutboxRow(draft: Draft, processId: Id, entry: EntryToWrite, now: number): number {
    const sequence = draft.counters.nextSequence;
    draft.counters = { ...draft.counters, nextSequence: sequence + 1 };
    // An entry without uploads has a number, so that answers are as long as runs, and no row.
    if (entry.uploads === 0) return sequence;
    draft.counters = { ...draft.counters, pending: draft.counters.pending + 1 };
    const row: StoredOutboxRow = {
      parts: entry.uploads,
      attempts: 0,
      dueAt: now,
      queuedAt: now,
      processId,
      messageId: entry.messageId,
      assignmentId: entry.kind === 'process' ? undefined : entry.assignmentId,
      reason: undefined,
    };
    this.#put(draft, 'default', pendingKey(sequence), encodeOutboxRow(row));
    return sequence;
  }

  // --- outbox ------------------------------------------------------------------------------------------------

  #drawSettlement(draft: Draft, { sequence, settlement }: SettlementToWrite, now: number): void {
    const known = this.#readRow(draft, sequence);
    // Settled before, by whoever had the lease until it ran out.
    if (known === undefined) return;
    if (settlement.status === 'done') {
      this.#moveRow(draft, sequence, undefined);
      return;
    }
    const delayMs = settlement.status === 'retry' ? settlement.delayMs : 0;
    const row: StoredOutboxRow = {
      ...known.row,
      parts: settlement.parts,
      attempts: known.row.attempts + 1,
      dueAt: now + Math.max(0, Math.ceil(delayMs)),
      reason: settlement.reason,
    };
    this.#moveRow(draft, sequence, {
      state: settlement.status === 'retry' ? 'pending' : 'parked',
      row,
    });
  }

  #drawRetry(draft: Draft, asked: readonly number[] | 'all', now: number): readonly number[] {
    const sequences = asked === 'all' ? this.#readParked() : asked;
    const retried: number[] = [];
    for (const sequence of sequences) {
      const known = this.#readRow(draft, sequence);
      if (known?.state !== 'parked') continue;
      this.#moveRow(draft, sequence, { state: 'pending', row: { ...known.row, dueAt: now } });
      retried.push(sequence);
    }
    return retried;
  }

  #readParked(): readonly number[] {
    const range = { ...letterRange('x'), limit: RETRY_ROWS_MAX, values: false };
    const rows = this.#database.readFew('default', range);
    return rows.map(([key]) => sequenceOf(key));
  }

  #readRow(draft: Draft, sequence: number): KnownRow | undefined {
    if (draft.rows.has(sequence)) return draft.rows.get(sequence);
    const [pending, parked] = this.#database.readMany('default', [
      pendingKey(sequence),
      parkedKey(sequence),
    ]);
    if (pending !== undefined) return { state: 'pending', row: decodeOutboxRow(pending) };
    return parked === undefined ? undefined : { state: 'parked', row: decodeOutboxRow(parked) };
  }

  /** Puts a row where it belongs now, takes it from where it was, and keeps count. */
  #moveRow(draft: Draft, sequence: number, to: KnownRow | undefined): void {
    const from = this.#readRow(draft, sequence);
    const { pending, parked } = draft.counters;
    const counts = { pending, parked };
    if (from !== undefined) {
      counts[from.state] -= 1;
      if (from.state !== to?.state) {
        const key = from.state === 'pending' ? pendingKey(sequence) : parkedKey(sequence);
        draft.batch.del(key, { column: this.#database.column('default') });
      }
    }
    if (to !== undefined) {
      counts[to.state] += 1;
      const key = to.state === 'pending' ? pendingKey(sequence) : parkedKey(sequence);
      this.#put(draft, 'default', key, encodeOutboxRow(to.row));
    }
    draft.counters = { ...draft.counters, ...counts };
    draft.rows.set(sequence, to);
  }

  #put(draft: Draft, column: ColumnName, key: Uint8Array, value: Uint8Array): void {
    draft.batch.put(key, value, { column: this.#database.column(column) });
  }
}
