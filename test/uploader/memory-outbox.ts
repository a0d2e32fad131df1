import { SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { OutboxRow, Settlement, Upload } from '../../src/lib/uploader/ports.js';

interface StoredRow {
  readonly row: OutboxRow;
  readonly uploads: readonly Upload[];
  state: 'pending' | 'parked';
  parts: number;
  attempts: number;
  dueAt: number;
  reason: string | undefined;
}

export interface MemoryOutboxOptions {
  readonly leaseMs?: number;
  readonly clock?: () => number;
}

/** The outbox of a store in memory: claims, leases and settlements as the port promises them. */
export class MemoryOutbox {
  readonly rows = new Map<string, StoredRow>();
  readonly settleSizes: number[] = [];
  claims = 0;
  /** While true every call throws `store-unavailable`. */
  away = false;
  readonly #leaseMs: number;
  readonly #clock: () => number;
  #next = 0;

  constructor(options: MemoryOutboxOptions = {}) {
    this.#leaseMs = options.leaseMs ?? 60_000;
    this.#clock = options.clock ?? Date.now;
  }

  /** Queues a row, leased as by the commit (`fresh`) or due at once. */
  put(
    uploads: readonly Upload[],
    leased: 'leased' | 'due',
  ): { row: OutboxRow; uploads: readonly Upload[] } {
    this.#next += 1;
    const key = String(this.#next).padStart(8, '0');
    const id = key.padEnd(43, 'A') as Id;
    const parts = uploads.reduce((bits, upload) => bits | upload.part, 0);
    const row = { key, processId: id, messageId: id, assignmentId: id, parts, attempts: 0 };
    const dueAt = leased === 'leased' ? this.#clock() + this.#leaseMs : 0;
    this.rows.set(key, {
      row,
      uploads,
      state: 'pending',
      parts,
      attempts: 0,
      dueAt,
      reason: undefined,
    });
    return { row, uploads };
  }

  get pending(): number {
    return [...this.rows.values()].filter((row) => row.state === 'pending').length;
  }

  async claim(limit: number): Promise<readonly OutboxRow[]> {
    await this.#arrive();
    this.claims += 1;
    const now = this.#clock();
    const claimed: OutboxRow[] = [];
    for (const stored of this.rows.values()) {
      if (claimed.length >= limit) break;
      if (stored.state !== 'pending' || stored.dueAt > now) continue;
      stored.dueAt = now + this.#leaseMs;
      claimed.push({ ...stored.row, parts: stored.parts, attempts: stored.attempts });
    }
    return claimed;
  }

  async readUploads(row: OutboxRow): Promise<readonly Upload[]> {
    await this.#arrive();
    const uploads = this.rows.get(row.key)?.uploads ?? [];
    return uploads.filter((upload) => (upload.part & row.parts) !== 0);
  }

  async settle(settlements: readonly Settlement[]): Promise<void> {
    await this.#arrive();
    this.settleSizes.push(settlements.length);
    for (const settlement of settlements) {
      const stored = this.rows.get(settlement.key);
      if (stored === undefined) continue;
      if (settlement.status === 'done') {
        this.rows.delete(settlement.key);
        continue;
      }
      stored.parts = settlement.parts;
      stored.reason = settlement.reason;
      stored.attempts += 1;
      if (settlement.status === 'parked') stored.state = 'parked';
      else stored.dueAt = this.#clock() + settlement.delayMs;
    }
  }

  async #arrive(): Promise<void> {
    await Promise.resolve();
    if (this.away) throw new SuError('store-unavailable', 'the store is away');
  }
}
