import { invariant } from '../../errors.js';
import type { QueuedUpload, UploadQueue } from '../../migrator/ports.js';
import {
  parseMessageBundle,
  parseProcessBundle,
  type StoredBundle,
} from '../../protocol/bundle.js';
import type { DataItem } from '../../protocol/data-item.js';
import {
  UPLOAD_ASSIGNMENT,
  UPLOAD_BUNDLE,
  UPLOAD_ITEM,
  type Clock,
} from '../../scheduler/ports.js';
import {
  DUE_AHEAD_MAX_MS,
  type Outbox,
  type OutboxCounts,
  type OutboxListing,
  type OutboxRow,
  type Settlement,
  type Upload,
} from '../../uploader/ports.js';
import type { Database } from './database.js';
import { DueQueue } from './due-queue.js';
import type { Engine } from './engine.js';
import {
  assignmentKey,
  COUNTERS_KEY,
  entryKey,
  letterRange,
  parkedKey,
  pendingKey,
  processKey,
  sequenceOf,
} from './keys.js';
import { formatOutboxKey, parseOutboxKey } from './outbox-key.js';
import { decodeCounters, decodeOutboxRow, decodePlaces, type StoredOutboxRow } from './rows.js';

/** Rows known in memory at most: about 20 MB. */
const HELD_MAX = 200_000;
/** Rows that one claim looks at on disk at least. */
const SWEEP_ROWS_MIN = 256;
/** How long the next sweep for rows that did not fit into memory waits, ms. */
const SWEEP_PAUSE_MS = 5000;

export interface OutboxParts {
  readonly engine: Engine;
  /** Wall clock: what is stored and shown. */
  readonly clock: Clock;
  /** A clock that never steps, ms: when what is held in memory is due. */
  readonly monotonicMs: () => number;
  readonly leaseMs: number;
  /** Rows known in memory at most; for tests. */
  readonly heldMax?: number;
}

/**
 * The outbox of the embedded store; `Outbox` has the promises. Nobody else has the folder open, so leases live in memory:
 * after a start every row is due.
 *
 * Rows are found in two ways. Those that were given out since the start are held in memory with the time at which they
 * are due again. Those left by an earlier run are found by a sweep, which goes once through the queue from its first key,
 * a bounded number of rows a claim, and never past a row that an append has not reported yet. When memory is
 * full (the bundler has been away for long), rows are left to a later sweep, which then minds the time stored in them.
 */
export class RocksdbOutbox implements Outbox, UploadQueue {
  readonly #parts: OutboxParts;
  readonly #due: DueQueue;
  /** The next row to look at on disk; undefined when the sweep has reached the end. */
  #sweepFrom: number | undefined = 0;
  /** Rows from here on are not the sweep's: append reports them. Undefined until it is read from the store. */
  #sweepEnd: number | undefined;
  /** The first sweep takes rows whatever time is stored in them. */
  #mindsTime = false;
  #hasSpilled = false;
  #sweptAt = 0;

  constructor(parts: OutboxParts) {
    this.#parts = parts;
    this.#due = new DueQueue(parts.heldMax ?? HELD_MAX);
    // A batch of unknown outcome may have queued rows that no append reported.
    parts.engine.onReopened(() => {
      this.#sweepFrom = Math.min(this.#sweepFrom ?? Infinity, this.#sweepEnd ?? 0);
      this.#sweepEnd = undefined;
    });
  }

  /** Leases rows that an append has just queued to whoever appended. */
  noteAppended(sequences: readonly number[]): void {
    const { monotonicMs, leaseMs } = this.#parts;
    for (const sequence of sequences) this.#hold(sequence, monotonicMs() + leaseMs);
    const last = sequences.at(-1);
    if (last !== undefined && this.#sweepEnd !== undefined) {
      this.#sweepEnd = Math.max(this.#sweepEnd, last + 1);
    }
  }

  async queueUploads(rows: readonly QueuedUpload[]): Promise<void> {
    if (rows.length === 0) return;
    const { engine, clock, monotonicMs } = this.#parts;
    const answer = await engine.write({ kind: 'queue-uploads', rows, now: clock() });
    const sequences = answer.kind === 'queue-uploads' ? answer.sequences : [];
    for (const sequence of sequences) this.#hold(sequence, monotonicMs());
    const last = sequences.at(-1);
    if (last !== undefined && this.#sweepEnd !== undefined) {
      this.#sweepEnd = Math.max(this.#sweepEnd, last + 1);
    }
  }

  async claim(limit: number): Promise<readonly OutboxRow[]> {
    const { engine, monotonicMs, leaseMs } = this.#parts;
    const rows: OutboxRow[] = [];
    while (rows.length < limit) {
      const database = await engine.database();
      const canGoOn = this.#sweep(database, limit - rows.length);
      const now = monotonicMs();
      const sequences = this.#due.take(limit - rows.length, now, now + leaseMs);
      const values = database.readMany('default', sequences.map(pendingKey));
      sequences.forEach((sequence, index) => {
        const value = values[index];
        // Settled or parked since it was noted.
        if (value === undefined) this.#due.release(sequence);
        else rows.push(toRow(sequence, decodeOutboxRow(value)));
      });
      if (sequences.length === 0 && !canGoOn) break;
    }
    return rows;
  }

  async readUploads(row: OutboxRow): Promise<readonly Upload[]> {
    const bundle = readBundle(await this.#parts.engine.database(), row);
    const uploads: Upload[] = [];
    const add = (part: number, item: DataItem | undefined): void => {
      if ((row.parts & part) === 0) return;
      invariant(item !== undefined, 'an entry has what is queued to be uploaded of it', {
        ...row,
        part,
      });
      uploads.push({ part, id: item.id, bytes: item.bytes });
    };
    add(UPLOAD_ITEM, bundle.item);
    add(UPLOAD_ASSIGNMENT, bundle.assignment);
    add(UPLOAD_BUNDLE, bundle.wrapper);
    return uploads;
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    const parsed = settlements.flatMap((settlement) => {
      const sequence = parseOutboxKey(settlement.key);
      return sequence === undefined ? [] : [{ sequence, settlement }];
    });
    if (parsed.length === 0) return;
    const { engine, clock, monotonicMs } = this.#parts;
    await engine.write({ kind: 'settle', settlements: parsed, now: clock() });
    for (const { sequence, settlement } of parsed) {
      if (settlement.status === 'retry') this.#hold(sequence, monotonicMs() + settlement.delayMs);
      else this.#due.release(sequence);
    }
  }

  async list(query: {
    readonly state: 'pending' | 'parked' | 'all';
    readonly afterKey: string | undefined;
    readonly limit: number;
  }): Promise<readonly OutboxListing[]> {
    const { state, afterKey, limit } = query;
    const after = afterKey === undefined ? 0 : (parseOutboxKey(afterKey) ?? 0);
    const listed: OutboxListing[] = [];
    for (const from of ['pending', 'parked'] as const) {
      if (state !== 'all' && state !== from) continue;
      const database = await this.#parts.engine.database();
      const { lt } = letterRange(from === 'pending' ? 'o' : 'x');
      const gt = from === 'pending' ? pendingKey(after) : parkedKey(after);
      for (const [key, value] of await database.readRange('default', { gt, lt, limit })) {
        const { reason, queuedAt, ...row } = decodeOutboxRow(value);
        listed.push({
          ...toRow(sequenceOf(key), { ...row, reason, queuedAt }),
          state: from,
          reason,
          queuedAt,
        });
      }
    }
    return listed.toSorted((one, other) => (one.key < other.key ? -1 : 1)).slice(0, limit);
  }

  async retry(keys: readonly string[] | 'all'): Promise<number> {
    const asked = keys === 'all' ? keys : keys.flatMap((key) => parseOutboxKey(key) ?? []);
    const { engine, clock, monotonicMs } = this.#parts;
    let count = 0;
    for (;;) {
      const answer = await engine.write({ kind: 'retry', sequences: asked, now: clock() });
      const retried = answer.kind === 'retry' ? answer.sequences : [];
      for (const sequence of retried) this.#hold(sequence, monotonicMs());
      count += retried.length;
      // Of all rows a bounded number is moved at a time.
      if (asked !== 'all' || retried.length === 0) return count;
    }
  }

  async counts(): Promise<OutboxCounts> {
    const database = await this.#parts.engine.database();
    const { pending, parked } = decodeCounters(database.read('default', COUNTERS_KEY));
    return { pending, parked };
  }

  #hold(sequence: number, dueAt: number): void {
    if (this.#due.hold(sequence, dueAt)) return;
    this.#hasSpilled = true;
  }

  /** Looks at some rows on disk and notes those that are due; false when there are none left to look at. */
  #sweep(database: Database, wanted: number): boolean {
    this.#sweepEnd ??= decodeCounters(database.read('default', COUNTERS_KEY)).nextSequence;
    this.#beginAnew();
    if (this.#sweepFrom === undefined) return false;
    const limit = Math.max(2 * wanted, SWEEP_ROWS_MIN);
    const rows = database.readFew('default', {
      gte: pendingKey(this.#sweepFrom),
      lt: pendingKey(this.#sweepEnd),
      limit,
    });
    const now = this.#parts.clock();
    for (const [key, value] of rows) {
      const sequence = sequenceOf(key);
      const isDue = !this.#mindsTime || isTimeUp(decodeOutboxRow(value).dueAt, now);
      if (isDue && !this.#due.holds(sequence) && !this.#due.holdReady(sequence)) {
        // No room: this row is the first of the next look.
        this.#sweepFrom = sequence;
        return false;
      }
      if (!isDue && !this.#due.holds(sequence)) this.#hasSpilled = true;
      this.#sweepFrom = sequence + 1;
    }
    if (rows.length === limit) return true;
    this.#sweepFrom = undefined;
    this.#sweptAt = this.#parts.monotonicMs();
    this.#mindsTime = true;
    return false;
  }

  #beginAnew(): void {
    if (this.#sweepFrom !== undefined || !this.#hasSpilled) return;
    if (this.#parts.monotonicMs() - this.#sweptAt < SWEEP_PAUSE_MS) return;
    this.#hasSpilled = false;
    this.#sweepFrom = 0;
  }
}

/** Times on disk are of the wall clock, which may have been set back since. */
function isTimeUp(dueAt: number, now: number): boolean {
  return dueAt <= now || dueAt > now + DUE_AHEAD_MAX_MS;
}

function toRow(sequence: number, stored: StoredOutboxRow): OutboxRow {
  const { processId, messageId, assignmentId, parts, attempts } = stored;
  return { key: formatOutboxKey(sequence), processId, messageId, assignmentId, parts, attempts };
}

/** The bundle of the entry that a row names. */
function readBundle(database: Database, { processId, assignmentId, key }: OutboxRow): StoredBundle {
  if (assignmentId === undefined) {
    const bundle = database.read('bundles', processKey(processId));
    invariant(bundle !== undefined, 'an outbox row names a process that is not there', {
      key,
      processId,
    });
    return parseProcessBundle(bundle);
  }
  const places = database.read('default', assignmentKey(assignmentId));
  const place = places && decodePlaces(places)[0];
  const bundle = place && database.read('bundles', entryKey(place));
  invariant(bundle !== undefined, 'an outbox row names an entry that is not there', {
    key,
    assignmentId,
  });
  return parseMessageBundle(bundle);
}
