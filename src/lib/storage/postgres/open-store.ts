import { setTimeout as sleep } from 'node:timers/promises';
import { SuError } from '../../errors.js';
import type { Clock, DeepHashStore, ScheduleStore } from '../../scheduler/ports.js';
import type { RouteStore } from '../../router/ports.js';
import type { BundleSealer, UploadQueue } from '../../migrator/ports.js';
import type { Outbox } from '../../uploader/ports.js';
import { PostgresBundleSealer } from './bundle-sealer.js';
import { describe } from './database-errors.js';
import { PostgresDeepHashes } from './deep-hashes.js';
import { PostgresLogReader } from './log-reader.js';
import { migrate } from './migrations.js';
import { PostgresOutbox } from './outbox.js';
import { DatabasePool, type StoreLog } from './pool.js';
import { PostgresRouteStore } from './route-store.js';
import { RowRenderer } from './row-renderer.js';
import { PostgresScheduleStore } from './schedule-store.js';
import { reportWeakServer } from './server-settings.js';

export interface PostgresStoreOptions {
  readonly writerUrl: string;
  /** A read replica, which may lag. */
  readonly readerUrl?: string | undefined;
  readonly writeConnections: number;
  readonly readConnections: number;
  /** How long an outbox row belongs to whoever took it, ms. */
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly log: StoreLog;
}

const OPEN_RETRY_MIN_MS = 500;
const OPEN_RETRY_MAX_MS = 5_000;

/** Everything that the program keeps in PostgreSQL. */
export interface PostgresStore {
  readonly store: ScheduleStore;
  readonly reader: PostgresLogReader;
  readonly outbox: Outbox & UploadQueue;
  readonly sealer: BundleSealer;
  readonly routes: RouteStore;
  readonly deepHashes: DeepHashStore;
  /** True from the first moment on at which the database was reached and migrated. */
  isReady(): boolean;
  /**
   * Reaches and migrates the database now, if that has not happened yet.
   * @throws SuError `store-unavailable`, `schema-damaged`, `interrupted` (closed meanwhile)
   */
  ensureMigrated(): Promise<void>;
  /** Resolves when it is reached and migrated, however long that takes, or closed. */
  whenOpen(): Promise<void>;
  /**
   * One round trip to the writer.
   * @throws SuError `store-unavailable`
   */
  ping(): Promise<void>;
  /** Waits for the statements that run and closes all connections. May be called twice. */
  close(): Promise<void>;
}

/**
 * Opens the store without waiting for its database: it is reached and migrated in the background, again and again
 * until that succeeds, and until then every method throws SuError `store-unavailable` (or `schema-damaged`).
 */
export function openPostgresStore(options: PostgresStoreOptions): PostgresStore {
  const opened = new OpenedDatabase(options);
  return {
    store: opened.store,
    reader: opened.reader,
    outbox: opened.outbox,
    sealer: opened.sealer,
    routes: opened.routes,
    deepHashes: opened.deepHashes,
    isReady: () => opened.isReady(),
    ensureMigrated: () => opened.ensureMigrated(),
    whenOpen: () => opened.whenOpen(),
    ping: () => opened.ping(),
    close: () => opened.close(),
  };
}

class OpenedDatabase implements PostgresStore {
  readonly store: ScheduleStore;
  readonly reader: PostgresLogReader;
  readonly outbox: Outbox & UploadQueue;
  readonly sealer: BundleSealer;
  readonly routes: RouteStore;
  readonly deepHashes: DeepHashStore;
  readonly #options: PostgresStoreOptions;
  readonly #renderer = new RowRenderer();
  readonly #writer: DatabasePool;
  readonly #readers: readonly DatabasePool[];
  readonly #closing = new AbortController();
  readonly #opening: Promise<void>;
  #migrating: Promise<void> | undefined;
  #ready = false;
  #lastFailure: SuError | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: PostgresStoreOptions) {
    const { writerUrl, readerUrl, writeConnections, readConnections, leaseMs, clock, log } =
      options;
    this.#options = options;
    const writer = new DatabasePool({
      url: writerUrl,
      connections: writeConnections,
      name: 'writer',
      isPipelined: true,
      clock,
      log,
    });
    // Pages never take the connections that commits need, so reading the writer has its own.
    const pages = new DatabasePool({
      url: writerUrl,
      connections: readConnections,
      name: 'reader',
      clock,
      log,
    });
    const replica =
      readerUrl === undefined || readerUrl === writerUrl
        ? undefined
        : new DatabasePool({
            url: readerUrl,
            connections: readConnections,
            name: 'replica',
            clock,
            log,
          });
    const checkReady = (): void => this.#checkReady();
    this.#writer = writer;
    this.#readers = replica === undefined ? [pages] : [pages, replica];
    const renderer = this.#renderer;
    this.store = new PostgresScheduleStore({ writer, renderer, leaseMs, log, checkReady });
    this.reader = new PostgresLogReader({ writer: pages, replica, renderer, log, checkReady });
    this.outbox = new PostgresOutbox({ writer, leaseMs, checkReady });
    this.sealer = new PostgresBundleSealer({ writer, checkReady });
    this.routes = new PostgresRouteStore({ writer, log, checkReady });
    this.deepHashes = new PostgresDeepHashes({ writer, checkReady });
    this.#opening = this.#open();
  }

  isReady(): boolean {
    return this.#ready;
  }

  async ensureMigrated(): Promise<void> {
    if (this.#ready) return;
    this.#migrating ??= this.#migrate().finally(() => {
      this.#migrating = undefined;
    });
    await this.#migrating;
  }

  whenOpen(): Promise<void> {
    return this.#opening;
  }

  async ping(): Promise<void> {
    await this.#writer.query('select 1');
  }

  async close(): Promise<void> {
    this.#closed ??= this.#close();
    await this.#closed;
  }

  /** Supervises itself: each failure is logged, and the promise never rejects. */
  async #open(): Promise<void> {
    const { log, clock } = this.#options;
    const startedAt = clock();
    let logged = '';
    for (let delayMs = OPEN_RETRY_MIN_MS; !this.#isClosing; delayMs = longer(delayMs)) {
      try {
        await this.ensureMigrated();
        const durationMs = clock() - startedAt;
        log.info({ event: 'database-ready', durationMs }, 'the database is reached and migrated');
        return;
      } catch (error) {
        if (this.#isClosing) return;
        const reason = describe(error);
        // The same reason every few seconds would bury everything else.
        if (reason !== logged) {
          const fields = { event: 'database-not-ready', reason };
          log.error(fields, 'the database is not reached and migrated yet: trying again and again');
        }
        logged = reason;
      }
      await sleep(delayMs, undefined, { signal: this.#closing.signal }).catch(() => undefined);
    }
  }

  async #migrate(): Promise<void> {
    const { writerUrl, log } = this.#options;
    try {
      await migrate({ url: writerUrl, log, signal: this.#closing.signal });
      await reportWeakServer(this.#writer, log);
      this.#ready = true;
      this.#lastFailure = undefined;
    } catch (error) {
      this.#lastFailure = error instanceof SuError ? error : undefined;
      throw error;
    }
  }

  #checkReady(): void {
    if (this.#isClosing) throw new SuError('store-unavailable', 'the store is closed');
    if (this.#ready) return;
    if (this.#lastFailure?.code === 'schema-damaged') throw this.#lastFailure;
    throw new SuError(
      'store-unavailable',
      'the database has not been reached and migrated yet: try again',
      {
        retryAfterSeconds: 5,
        cause: this.#lastFailure,
      },
    );
  }

  get #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  async #close(): Promise<void> {
    this.#closing.abort();
    await this.#opening;
    await this.#migrating?.catch(() => undefined);
    await this.#renderer.close();
    await Promise.all([this.#writer, ...this.#readers].map((pool) => pool.close()));
  }
}

function longer(delayMs: number): number {
  return Math.min(delayMs * 2, OPEN_RETRY_MAX_MS);
}
