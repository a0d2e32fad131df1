import { setMaxListeners } from 'node:events';
import { isSuError } from '../errors.js';
import { BundlerState } from './bundler-state.js';
import type { BundlerChange } from './bundler-state.js';
import type { Delay } from './delay.js';
import { HeldRows } from './held-rows.js';
import type { OutboxLimits } from './outbox-limits.js';
import type { FreshRow, HeldRow } from './held-rows.js';
import type {
  Outbox,
  OutboxRow,
  Settlement,
  Upload,
  UploaderClient,
  UploadResult,
} from './ports.js';
import {
  countParts,
  idsOf,
  partsLeft,
  released,
  settlementOf,
  settlementOfFailure,
} from './row-outcome.js';
import { SettlementBuffer } from './settlement-buffer.js';

/** Where the worker reports; pino's child loggers fit. */
export interface OutboxLog {
  info(fields: LogFields, sentence: string): void;
  warn(fields: LogFields, sentence: string): void;
  error(fields: LogFields, sentence: string): void;
}

type LogFields = Readonly<Record<string, unknown>> & { readonly event: string };

export interface OutboxWorkerOptions {
  readonly outbox: Pick<Outbox, 'claim' | 'readUploads' | 'settle'>;
  readonly client: UploaderClient;
  /** A second place that is told of each item once, best effort. */
  readonly cache?: { send(bytes: Uint8Array): Promise<boolean> } | undefined;
  /** A clock that never steps, ms: with one that is set back, what waits would wait as much longer. */
  readonly monotonicMs: () => number;
  readonly random: () => number;
  readonly delay: Delay;
  readonly limits: OutboxLimits;
  readonly log: OutboxLog;
}

/** For metrics. Counters run from the start of the worker. */
export interface OutboxStats {
  /** Uploads that the bundler took. */
  readonly uploaded: number;
  /** Tries that will be made again. */
  readonly failed: number;
  /** Rows set aside because the bundler refuses their content, or the store does not have it. */
  readonly parked: number;
  /** Fresh rows that found no room in memory and are left to the table. */
  readonly overflowed: number;
  readonly cacheFailed: number;
  readonly uploadsInFlight: number;
  readonly rowsHeld: number;
  readonly bundlerDown: boolean;
  readonly bundlerMisconfigured: boolean;
}

/** Messages count as being written until the last offer is this old. */
const WRITES_LAST_MS = 1_000;

/** What an upload or a read of the store may take to end once it is broken off. */
const BREAK_OFF_MS = 1_000;

/**
 * Uploads what the outbox holds. The durable table is the truth and memory only a shortcut:
 *
 * - A row leaves the table only after the bundler answered 2xx for each of its parts; parts are independent, and
 *   a part that is through is not sent again.
 * - Rows just committed are offered with their bytes and go out at once, without a read of the store. What finds
 *   no room is let go: its lease runs out and the table hands it out again.
 * - The table is looked into at start, every `pollMs`, and without pause while it has more. While messages are being
 *   written, rows of the table are begun at a fixed slow pace, so that a long queue never slows writes.
 * - A failed part comes back after 1 to 32 s, without end, and so does a row whose bytes cannot be had just now; what is refused, or
 *   damaged in the store, is parked for the operator.
 * - While the bundler is down only probes go out, and the rows stay untouched; rows just committed are probes first.
 * - Nothing lost is silent, and nothing sent twice is harmful: a bundler knows an item by its id. So whatever is
 *   uncertain (a settlement that was not stored, a server that died in between) ends in a second upload.
 */
export class OutboxWorker {
  readonly #options: OutboxWorkerOptions;
  readonly #held: HeldRows;
  readonly #bundler: BundlerState;
  readonly #settlements: SettlementBuffer;
  readonly #tasks = new Map<string, Promise<void>>();
  readonly #abort = new AbortController();
  #closing = false;
  #polling: Promise<void> | undefined;
  #nap = new AbortController();
  #mayHaveMore = false;
  #claimedQuota = 0;
  #storeAway = false;
  /** Why rows were put off since one was not. */
  #surprise: string | undefined;
  #lastOfferAt = Number.NEGATIVE_INFINITY;
  #uploadsInFlight = 0;
  #cacheInFlight = 0;
  #uploaded = 0;
  #failed = 0;
  #parked = 0;
  #overflowed = 0;
  #cacheFailed = 0;

  constructor(options: OutboxWorkerOptions) {
    const { limits, monotonicMs, random, delay, outbox } = options;
    this.#options = options;
    // One listener per upload in flight, which Node takes for a leak from the eleventh on.
    setMaxListeners(0, this.#abort.signal);
    this.#held = new HeldRows(limits, monotonicMs);
    this.#bundler = new BundlerState({
      failuresMax: limits.failuresMax,
      bounds: { firstMs: limits.retryFirstMs, longestMs: limits.retryLongestMs },
      monotonicMs,
      random,
    });
    this.#settlements = new SettlementBuffer({
      settle: (settlements) => outbox.settle(settlements),
      delay,
      waitMs: limits.settleWaitMs,
      batchRows: limits.settleRows,
      keptMax: limits.settlementsKeptMax,
      retryMs: limits.pollMs,
      onTrouble: (error) => this.#noteStore(error),
    });
  }

  /** Begins to look into the table. Offers are taken from the construction on. */
  start(): void {
    this.#polling ??= this.#poll();
  }

  /**
   * Takes over rows that were just committed and are leased to this server. Returns at once and never throws.
   *
   * @param committingMs how long ago their commit was begun, and with it their lease
   */
  offer(fresh: readonly FreshRow[], committingMs = 0): void {
    this.#lastOfferAt = this.#options.monotonicMs();
    if (this.#closing) return;
    for (const each of fresh) {
      if (!this.#held.addFresh(each, this.#lastOfferAt - committingMs)) this.#overflowed += 1;
    }
    this.#pump();
    if (this.#bundler.down) this.#nap.abort();
  }

  stats(): OutboxStats {
    return {
      uploaded: this.#uploaded,
      failed: this.#failed,
      parked: this.#parked,
      overflowed: this.#overflowed,
      cacheFailed: this.#cacheFailed,
      uploadsInFlight: this.#uploadsInFlight,
      rowsHeld: this.#held.size,
      bundlerDown: this.#bundler.down,
      bundlerMisconfigured: this.#bundler.misconfigured,
    };
  }

  /**
   * Begins nothing more, waits for the uploads in flight up to `deadlineMs`, then breaks them off, and records
   * all outcomes. Rows that were not begun are made due at once, so that the next start need not wait for a lease.
   */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#nap.abort();
    for (const { row } of this.#held.takeAll()) this.#settlements.add(released(row, row.parts));
    const underWay = Promise.all([...this.#tasks.values(), this.#polling]);
    await this.#waitAtMost(deadlineMs, underWay);
    this.#abort.abort();
    await this.#waitAtMost(BREAK_OFF_MS, underWay);
    await this.#settlements.close();
  }

  async #waitAtMost(ms: number, work: Promise<unknown>): Promise<void> {
    const done = new AbortController();
    await Promise.race([work, this.#options.delay(ms, done.signal)]);
    done.abort();
  }

  /** Never rejects. */
  async #poll(): Promise<void> {
    const { retryLongestMs } = this.#options.limits;
    while (!this.#closing) {
      this.#nap = new AbortController();
      const napMs = this.#bundler.down ? await this.#probe() : await this.#refill();
      if (this.#closing || napMs <= 0) continue;
      // Whatever the clock is, nothing is looked for later than after the longest delay.
      await this.#options.delay(Math.min(napMs, retryLongestMs), this.#nap.signal);
    }
  }

  /** Claims more rows when few are left; tells how long to wait before the next look. */
  async #refill(): Promise<number> {
    const { claimRows, pollMs, pacedRows, paceMs } = this.#options.limits;
    if (this.#held.claimedCount < claimRows / 2) {
      const rows = await this.#claim(claimRows);
      this.#mayHaveMore = rows.length >= claimRows;
    }
    this.#claimedQuota = this.#writing() ? pacedRows : Number.POSITIVE_INFINITY;
    this.#pump();
    if (this.#held.claimedCount === 0) return this.#mayHaveMore ? 1 : pollMs;
    return this.#writing() ? paceMs : pollMs;
  }

  /** One row as a question whether the bundler is back. */
  async #probe(): Promise<number> {
    if (this.#tasks.size > 0) return this.#options.limits.pollMs;
    const isFresh = this.#held.freshCount > 0;
    const waitMs = this.#bundler.probeInMs(isFresh);
    if (waitMs > 0) return waitMs;
    let held = this.#held.take(!isFresh);
    if (held === undefined) {
      await this.#claim(1);
      held = this.#held.take(true);
    }
    if (held === undefined || this.#closing) {
      if (held !== undefined) this.#settlements.add(released(held.row, held.row.parts));
      return this.#options.limits.pollMs;
    }
    this.#bundler.probeSent();
    this.#begin(held);
    return this.#bundler.probeInMs(isFresh);
  }

  async #claim(rowsMax: number): Promise<readonly OutboxRow[]> {
    // The answer may be long in coming, and the leases begin before it.
    const leasedAtMs = this.#options.monotonicMs();
    try {
      const rows = await this.#options.outbox.claim(rowsMax);
      this.#noteStore(undefined);
      for (const row of rows) {
        if (this.#closing) this.#settlements.add(released(row, row.parts));
        else if (!this.#tasks.has(row.key)) this.#held.addClaimed(row, leasedAtMs);
      }
      return rows;
    } catch (error) {
      this.#noteStore(error);
      return [];
    }
  }

  #pump(): void {
    const { uploadsMax } = this.#options.limits;
    // A row has at most two parts; beginning one with a single place free exceeds the limit by one at most.
    while (!this.#closing && !this.#bundler.down && this.#uploadsInFlight < uploadsMax) {
      const held = this.#held.take(this.#claimedQuota > 0);
      if (held === undefined) return;
      if (held.uploads === undefined) this.#claimedQuota -= 1;
      this.#begin(held);
    }
  }

  #begin(held: HeldRow): void {
    const { key, parts } = held.row;
    const places = countParts(parts);
    this.#uploadsInFlight += places;
    const task = this.#process(held)
      .catch((error: unknown) => this.#noteSurprise(held.row, error))
      .then(() => {
        this.#uploadsInFlight -= places;
        this.#tasks.delete(key);
        this.#pump();
        if (this.#wantsPoll()) this.#nap.abort();
      });
    this.#tasks.set(key, task);
  }

  #wantsPoll(): boolean {
    if (this.#bundler.down) return false;
    const few = this.#held.claimedCount < this.#options.limits.claimRows / 2;
    return few && this.#mayHaveMore && !this.#writing();
  }

  async #process(held: HeldRow): Promise<void> {
    const { row } = held;
    const uploads = held.uploads ?? (await this.#options.outbox.readUploads(row));
    if (!this.#held.mayBegin(held)) return;
    const results = await Promise.all(uploads.map((upload) => this.#upload(upload, row)));
    this.#surprise = undefined;
    this.#conclude(row, uploads, results);
  }

  async #upload(upload: Upload, row: OutboxRow): Promise<UploadResult> {
    if (row.attempts === 0) this.#sendToCache(upload);
    const result = await this.#options.client.upload(upload.bytes, this.#abort.signal);
    if (this.#abort.signal.aborted && result.status !== 'accepted') return result;
    if (result.status === 'accepted') this.#uploaded += 1;
    else if (result.status !== 'refused') this.#failed += 1;
    for (const change of this.#bundler.note(upload.id, result)) this.#report(change);
    return result;
  }

  #conclude(row: OutboxRow, uploads: readonly Upload[], results: readonly UploadResult[]): void {
    const { limits, random } = this.#options;
    const settlement = this.#abort.signal.aborted
      ? released(row, partsLeft(row, uploads, results))
      : settlementOf(row, { uploads, results }, { limits, random: random() });
    if (settlement.status === 'parked') this.#park(row, settlement);
    else this.#settlements.add(settlement);
  }

  #park(row: OutboxRow, settlement: Settlement & { readonly status: 'parked' }): void {
    const { parts, reason } = settlement;
    this.#parked += 1;
    this.#settlements.add(settlement);
    this.#options.log.error(
      { event: 'upload-parked', ...idsOf(row), parts, reason },
      'an upload is set aside for su outbox:retry',
    );
  }

  /** A row whose uploads could not be made: put off, or set aside for the operator, never dropped. */
  #noteSurprise(row: OutboxRow, error: unknown): void {
    const { limits, random, log } = this.#options;
    const settlement = settlementOfFailure(row, error, { limits, random: random() });
    const fields = { ...idsOf(row), err: error };
    if (settlement.status === 'parked') {
      log.error({ event: 'upload-not-possible', ...fields }, 'the store has no bytes to upload');
      this.#park(row, settlement);
      return;
    }
    this.#failed += 1;
    this.#settlements.add(settlement);
    if (isSuError(error, 'store-unavailable')) this.#noteStore(error);
    else if (settlement.reason !== this.#surprise) {
      // The same trouble of many rows is one line.
      log.error({ event: 'upload-put-off', ...fields }, 'an upload is tried again');
      this.#surprise = settlement.reason;
    }
  }

  #sendToCache(upload: Upload): void {
    const { cache, limits } = this.#options;
    if (cache === undefined) return;
    if (this.#cacheInFlight >= limits.cacheUploadsMax) {
      this.#cacheFailed += 1;
      return;
    }
    this.#cacheInFlight += 1;
    void cache
      .send(upload.bytes)
      .catch(() => false) // counted below: the cache is best effort, and the bundler has the item
      .then((taken) => {
        this.#cacheInFlight -= 1;
        if (!taken) this.#cacheFailed += 1;
      });
  }

  #writing(): boolean {
    return this.#options.monotonicMs() - this.#lastOfferAt < WRITES_LAST_MS;
  }

  #report(change: BundlerChange): void {
    const { log } = this.#options;
    if (change.now === 'up') {
      log.info({ event: 'bundler-up' }, 'the bundler answers again');
    } else if (change.now === 'configured') {
      log.info({ event: 'bundler-accepts-again' }, 'the bundler takes uploads again');
    } else if (change.now === 'down') {
      log.warn(
        { event: 'bundler-down', reason: change.reason },
        'the bundler does not answer: uploads wait',
      );
    } else {
      log.error(
        { event: 'bundler-misconfigured', reason: change.reason },
        'the bundler refuses every upload: look at UPLOAD_NODE_URL',
      );
    }
    if (change.now === 'up' || change.now === 'down') this.#nap.abort();
  }

  /** Logs once that the store went away and once that it is back. */
  #noteStore(error: unknown): void {
    const { log } = this.#options;
    const away = error !== undefined;
    if (away === this.#storeAway) return;
    this.#storeAway = away;
    if (away) {
      log.warn({ event: 'outbox-unavailable', err: error }, 'the outbox is away: uploads wait');
    } else {
      log.info({ event: 'outbox-available' }, 'the outbox is back');
    }
  }
}

/** The worker, not yet started. */
export function makeOutboxWorker(options: OutboxWorkerOptions): OutboxWorker {
  return new OutboxWorker(options);
}
