import { setTimeout as sleep } from 'node:timers/promises';
import { SuError } from '../../errors.js';
import type { DeepHashStore, LogReader, ScheduleStore } from '../../scheduler/ports.js';
import type { Outbox, OutboxCounts } from '../../uploader/ports.js';

/** One tenant's store with all its ports. */
export interface TenantStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
  readonly deepHashes: DeepHashStore;
  /** Resolves when it is open and migrated. @throws SuError `store-unavailable`, `schema-damaged` */
  ready(): Promise<void>;
  close(): Promise<void>;
}

export interface TenantPoolOptions {
  /** Opens the store of a database; it may be reached later. */
  readonly open: (database: string) => Promise<TenantStore>;
  /** Stores open at once at most. */
  readonly openMax: number;
  /** A store that nobody used for so long is closed once its uploads are through, ms. */
  readonly idleMs: number;
  /** How long the use of one more store waits while all that may be open are in use, ms. */
  readonly roomWaitMs: number;
  /** A clock that never steps, ms. */
  readonly monotonicMs: () => number;
  readonly log: {
    info(fields: object, sentence?: string): void;
    warn(fields: object, sentence?: string): void;
  };
}

/** A store that is used until it is given back. */
export interface HeldTenant {
  readonly tenant: TenantStore;
  release(): void;
}

interface Slot {
  readonly database: string;
  readonly opened: Promise<TenantStore>;
  /** It was open and migrated once. */
  isReady: boolean;
  users: number;
  usedAt: number;
  /** Entries with uploads still to be made, as last counted. */
  pending: number;
  /** When `pending` was counted; a use after that may have left uploads that nobody counted. */
  countedAt: number;
}

const SWEEP_MS_MAX = 10_000;
/** Most uses last a few milliseconds: a look, a commit, a settlement. */
const ROOM_POLL_MS = 10;

/**
 * The stores of many tenants, each opened when it is first needed, a bounded number of them at a time, and closed when
 * nobody needs it. Each is visited once after it was named, so that it is migrated, and so that uploads which an earlier
 * run left behind are made; one that has uploads left is not closed for being idle.
 */
export class TenantPool {
  readonly #options: TenantPoolOptions;
  readonly #slots = new Map<string, Slot>();
  readonly #closing = new Map<string, Promise<void>>();
  readonly #counts = new Map<string, OutboxCounts>();
  readonly #toVisit = new Set<string>();
  #databases: readonly string[] = [];
  readonly #abort = new AbortController();
  readonly #sweeping: Promise<void>;

  constructor(options: TenantPoolOptions) {
    this.#options = options;
    this.#sweeping = this.#sweepUntilClosed();
  }

  /** The databases that exist, from now on. */
  setDatabases(databases: readonly string[]): void {
    const known = new Set(this.#databases);
    this.#databases = [...new Set(databases)];
    for (const database of this.#databases) {
      if (!known.has(database)) this.#toVisit.add(database);
    }
  }

  get databases(): readonly string[] {
    return this.#databases;
  }

  get monotonicMs(): () => number {
    return this.#options.monotonicMs;
  }

  get openMax(): number {
    return this.#options.openMax;
  }

  /** What is known of the uploads of each tenant, also of those that are closed now. */
  get counts(): ReadonlyMap<string, OutboxCounts> {
    return this.#counts;
  }

  /** The databases whose stores are open and migrated, for work that is no reason to open one. */
  openDatabases(): readonly string[] {
    return [...this.#slots.values()].filter((slot) => slot.isReady).map((slot) => slot.database);
  }

  /**
   * Runs work on a tenant's store, which is opened for it and stays open until the work is over.
   *
   * @throws SuError `store-unavailable` when it cannot be opened, or too many others are in use; what `work` throws
   */
  async use<Result>(
    database: string,
    work: (tenant: TenantStore) => Promise<Result>,
  ): Promise<Result> {
    const { tenant, release } = await this.hold(database);
    try {
      return await work(tenant);
    } finally {
      release();
    }
  }

  /** Like `use`, for work that ends later; `release` must be called once. */
  async hold(database: string): Promise<HeldTenant> {
    const slot = await this.#occupy(database);
    try {
      const tenant = await this.#tenantOf(slot);
      return { tenant, release: () => this.#release(slot) };
    } catch (error) {
      this.#release(slot);
      throw error;
    }
  }

  /**
   * Like `use` on a store that is open already, without keeping it from becoming idle; undefined when it is not open,
   * or not migrated yet: a migration takes hours, and a silent host a timeout, for which no other tenant should wait.
   */
  async look<Result>(
    database: string,
    work: (tenant: TenantStore) => Promise<Result>,
  ): Promise<Result | undefined> {
    const slot = this.#slots.get(database);
    if (slot?.isReady !== true) return undefined;
    slot.users += 1;
    try {
      return await work(await this.#tenantOf(slot));
    } finally {
      slot.users -= 1;
    }
  }

  /** Opens the next tenant that was not visited yet, when there is room. Never throws. */
  visitNext(): void {
    const [database] = this.#toVisit;
    if (database === undefined || this.#abort.signal.aborted) return;
    if (!this.#slots.has(database) && !this.#hasRoom(true)) return;
    this.#toVisit.delete(database);
    this.#visit(database).catch((error: unknown) => {
      this.#toVisit.add(database);
      this.#options.log.warn({ event: 'tenant-not-visited', database, err: error });
    });
  }

  /** Waits for what is in use and closes all. */
  async close(): Promise<void> {
    this.#abort.abort();
    for (const slot of this.#slots.values()) this.#closeSlot(slot);
    // Not before: the sweep may be waiting for a store, which only its closing breaks off.
    await this.#sweeping;
    await Promise.all(this.#closing.values());
  }

  /** The slot of a database, with one more user: from the moment it is found nobody takes it away. */
  async #occupy(database: string): Promise<Slot> {
    const { monotonicMs, roomWaitMs } = this.#options;
    const until = monotonicMs() + roomWaitMs;
    for (;;) {
      const slot = this.#slots.get(database) ?? this.#openSlot(database);
      if (slot !== undefined) {
        slot.users += 1;
        slot.usedAt = monotonicMs();
        return slot;
      }
      if (monotonicMs() >= until) {
        throw new SuError('store-unavailable', 'too many tenants are in use: try again', {
          retryAfterSeconds: 2,
        });
      }
      await sleep(ROOM_POLL_MS);
    }
  }

  async #tenantOf(slot: Slot): Promise<TenantStore> {
    const tenant = await slot.opened;
    await tenant.ready();
    slot.isReady = true;
    return tenant;
  }

  async #visit(database: string): Promise<void> {
    const slot = await this.#occupy(database);
    try {
      await this.#count(slot, await this.#tenantOf(slot));
    } finally {
      // Not #release: a use after the count makes the count unknown, and visits would follow each other for ever.
      slot.users -= 1;
    }
  }

  #release(slot: Slot): void {
    slot.users -= 1;
    slot.usedAt = this.#options.monotonicMs();
  }

  /** Undefined while there is no room. */
  #openSlot(database: string): Slot | undefined {
    if (this.#abort.signal.aborted) throw new SuError('store-unavailable', 'the store is closed');
    if (!this.#hasRoom(false)) return undefined;
    const slot: Slot = {
      database,
      opened: this.#open(database),
      isReady: false,
      users: 0,
      usedAt: this.#options.monotonicMs(),
      pending: 0,
      countedAt: Number.NEGATIVE_INFINITY,
    };
    slot.opened.catch(() => {
      // Whoever waits for it has the error; the next one tries anew.
      if (this.#slots.get(database) === slot) this.#slots.delete(database);
    });
    this.#slots.set(database, slot);
    return slot;
  }

  async #open(database: string): Promise<TenantStore> {
    // A folder admits one program and one opening.
    await this.#closing.get(database);
    // Those that make room count until they are closed.
    while (
      this.#closing.size > 0 &&
      this.#slots.size + this.#closing.size > this.#options.openMax
    ) {
      await Promise.race(this.#closing.values());
    }
    const tenant = await this.#options.open(database);
    this.#options.log.info({ event: 'tenant-opened', database, open: this.#slots.size });
    return tenant;
  }

  /** Makes room by closing the store that was unused the longest. @param drained spares those with uploads left */
  #hasRoom(drained: boolean): boolean {
    if (this.#slots.size < this.#options.openMax) return true;
    const unused = [...this.#slots.values()]
      .filter(({ users, pending }) => users === 0 && (!drained || pending === 0))
      .toSorted((a, b) => a.usedAt - b.usedAt)[0];
    if (unused === undefined) return false;
    if (unused.pending > 0 || unused.countedAt < unused.usedAt) this.#toVisit.add(unused.database);
    this.#closeSlot(unused);
    return true;
  }

  #closeSlot(slot: Slot): void {
    const { database, opened } = slot;
    this.#slots.delete(database);
    const closed = opened
      .then((tenant) => tenant.close())
      .then(
        () => this.#options.log.info({ event: 'tenant-closed', database }),
        (error: unknown) =>
          this.#options.log.warn({ event: 'tenant-closed', database, err: error }),
      )
      .then(() => {
        if (this.#closing.get(database) === closed) this.#closing.delete(database);
      });
    this.#closing.set(database, closed);
  }

  async #sweepUntilClosed(): Promise<void> {
    const { signal } = this.#abort;
    const everyMs = Math.min(SWEEP_MS_MAX, Math.max(10, this.#options.idleMs / 2));
    while (!signal.aborted) {
      await sleep(everyMs, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await this.#sweep();
    }
  }

  async #sweep(): Promise<void> {
    const now = this.#options.monotonicMs();
    for (const slot of this.#slots.values()) {
      if (!slot.isReady) {
        // Nobody tries to reach it any more: a visit does, and counts what it has left.
        if (slot.users === 0) this.#toVisit.add(slot.database);
        continue;
      }
      try {
        await this.look(slot.database, (tenant) => this.#count(slot, tenant));
      } catch {
        // It is away, which its own log tells; it stays open, since nobody knows what it has left.
        continue;
      }
      const isIdle = slot.users === 0 && now - slot.usedAt >= this.#options.idleMs;
      if (isIdle && slot.pending === 0 && this.#slots.get(slot.database) === slot) {
        this.#closeSlot(slot);
      }
    }
  }

  async #count(slot: Slot, tenant: TenantStore): Promise<void> {
    const countedAt = this.#options.monotonicMs();
    const counts = await tenant.outbox.counts();
    this.#counts.set(slot.database, counts);
    slot.pending = counts.pending;
    slot.countedAt = countedAt;
  }
}
