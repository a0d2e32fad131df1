import { isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { catchUpLog } from './catch-up.js';
import type { DiskCopy, LogPiece, LogSource } from './disk-ports.js';
import { comparePlaces } from './places.js';

/*
 * Keeps a disk copy as near to the database as it can, beside a server that writes and answers:
 *
 * - what this server commits is handed over after the commit and written when it continues the copy (`offer`);
 * - a log that is behind (found at the start, by a read, by a commit that did not fit, or because another server wrote)
 *   is read from the database by key, from the watermark on, one piece at a time.
 *
 * Both go through the watermark: whichever comes second finds that the copy has moved on. Nothing here is waited for by a
 * reader or a writer, and whatever is lost or left out is found again, at the latest by the read that needs it.
 */

export interface FollowLimits {
  /** Bytes of bundles that wait to be written; what exceeds them is read from the database later. */
  readonly queueBytesMax: number;
  /** Logs that are known to be behind; more are found again by reading. */
  readonly behindMax: number;
  /** Logs read at a time. */
  readonly parallel: number;
  /** How often the database is asked what other servers wrote, ms. */
  readonly pollMs: number;
  /** How long the disk is left alone after it could not be written, ms; doubled each time up to the second. */
  readonly pauseMs: number;
  readonly pauseMsMax: number;
}

export const FOLLOW_LIMITS: FollowLimits = {
  queueBytesMax: 32 * 1024 * 1024,
  behindMax: 100_000,
  parallel: 2,
  pollMs: 2_000,
  pauseMs: 1_000,
  pauseMsMax: 300_000,
};

export interface FollowOptions {
  readonly source: LogSource;
  readonly copy: DiskCopy;
  /** Resolves when the database may be asked. */
  readonly ready: (signal: AbortSignal) => Promise<void>;
  /** Waits; ends early when the signal is aborted. */
  readonly delay: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly limits: FollowLimits;
  readonly onFailure: (error: unknown) => void;
  /** The missing tail at the start: logs that are behind, and once more when all were copied. */
  readonly onProgress: (progress: FollowProgress) => void;
}

export interface FollowProgress {
  readonly phase: 'comparing' | 'copying' | 'done';
  readonly logsCompared: number;
  readonly logsBehind: number;
  readonly entriesCopied: number;
}

export interface FollowStatus {
  /** All logs were compared since the start, and what was missing is copied. */
  readonly isCaughtUp: boolean;
  /** The last write failed: nothing is copied until one succeeds. */
  readonly isStalled: boolean;
  /** Those that are being copied included. */
  readonly logsBehind: number;
  readonly queueBytes: number;
  readonly entriesCopied: number;
  /** Pieces that did not fit into the queue or did not continue the copy. */
  readonly piecesLeft: number;
}

/** Entries of one log as they were committed, one after the other. */
export type CommittedPiece = LogPiece;

/** Looks back over so many polls for rows whose transactions ended later than those of higher rows. */
const POLLS_BACK = 5;

const COPYING_POLL_MS = 200;

/** The keeper of a disk copy; see above. */
export class LogFollower {
  readonly #options: FollowOptions;
  readonly #abort = new AbortController();
  readonly #behind = new Set<Id>();
  #queue: CommittedPiece[] = [];
  #queueBytes = 0;
  #entriesCopied = 0;
  #piecesLeft = 0;
  #copying = 0;
  #isCaughtUp = false;
  #isStalled = false;
  #pauseMs = 0;
  #wake: (() => void) | undefined;
  #wakeCatchUp: (() => void) | undefined;
  #running: Promise<unknown> | undefined;

  constructor(options: FollowOptions) {
    this.#options = options;
  }

  /** Begins; what goes wrong is told and tried again. */
  start(): void {
    this.#running ??= Promise.all([
      this.#supervise(() => this.#writeQueued()),
      this.#supervise(() => this.#catchUp()),
      this.#supervise(() => this.#findBehind()),
    ]);
  }

  status(): FollowStatus {
    return {
      isCaughtUp: this.#isCaughtUp,
      isStalled: this.#isStalled,
      logsBehind: this.#behind.size + this.#copying,
      queueBytes: this.#queueBytes,
      entriesCopied: this.#entriesCopied,
      piecesLeft: this.#piecesLeft,
    };
  }

  /** Takes what was just committed, without waiting: it is written later, or left to be read from the database. */
  offer(piece: CommittedPiece): void {
    const bytes = bytesOf(piece);
    if (this.#abort.signal.aborted) return;
    if (this.#queueBytes + bytes > this.#options.limits.queueBytesMax) {
      this.#leave(piece.processId);
      return;
    }
    this.#queue.push(piece);
    this.#queueBytes += bytes;
    this.#wake?.();
  }

  /** Notes that a log's copy is behind. */
  noteBehind(processId: Id): void {
    if (this.#behind.size < this.#options.limits.behindMax) this.#behind.add(processId);
    this.#wakeCatchUp?.();
  }

  /** Stops; what waits is found again by the next start. */
  async close(): Promise<void> {
    this.#abort.abort();
    this.#wake?.();
    this.#wakeCatchUp?.();
    await this.#running;
  }

  /** Until somebody calls what is handed out; not at all once it is closed, when nobody would. */
  async #untilWoken(hand: (wake: () => void) => void): Promise<void> {
    if (this.#abort.signal.aborted) return;
    await new Promise<void>(hand);
  }

  #leave(processId: Id): void {
    this.#piecesLeft += 1;
    this.noteBehind(processId);
  }

  /** Runs a loop until it is closed; a failure pauses it, so that a full disk is not tried in every instant. */
  async #supervise(loop: () => Promise<void>): Promise<void> {
    const { signal } = this.#abort;
    const { ready, delay, onFailure, limits } = this.#options;
    await ready(signal).catch(onFailure);
    while (!signal.aborted) {
      try {
        await loop();
      } catch (error) {
        if (signal.aborted) return;
        onFailure(error);
        this.#pauseMs = Math.min(Math.max(limits.pauseMs, 2 * this.#pauseMs), limits.pauseMsMax);
        await delay(this.#pauseMs, signal);
      }
    }
  }

  /** Notes whether the disk takes what is written. */
  async #written<Result>(write: Promise<Result>): Promise<Result> {
    try {
      const result = await write;
      this.#isStalled = false;
      return result;
    } catch (error) {
      this.#isStalled = true;
      throw error;
    }
  }

  async #writeQueued(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      const pieces = this.#queue;
      if (pieces.length === 0) {
        await this.#untilWoken((wake) => (this.#wake = wake));
        continue;
      }
      this.#queue = [];
      try {
        // All at once: they go into one batch, in this order.
        const moved = await Promise.all(
          pieces.map((piece) => this.#written(this.#options.copy.writePiece(piece))),
        );
        moved.forEach((isMoved, index) => {
          const piece = pieces[index];
          if (piece === undefined) return;
          if (isMoved) this.#entriesCopied += piece.messages.length;
          else this.#leave(piece.processId);
        });
        this.#pauseMs = 0;
      } catch (error) {
        for (const { processId } of pieces) this.#leave(processId);
        throw error;
      } finally {
        this.#queueBytes -= pieces.reduce((sum, piece) => sum + bytesOf(piece), 0);
      }
    }
  }

  async #catchUp(): Promise<void> {
    const { signal } = this.#abort;
    const { copy } = this.#options;
    const work = async (): Promise<void> => {
      while (!signal.aborted) {
        const [processId] = this.#behind;
        if (processId === undefined) return;
        this.#behind.delete(processId);
        this.#copying += 1;
        try {
          await catchUpLog(processId, {
            source: this.#options.source,
            copy: {
              findWatermark: (id) => copy.findWatermark(id),
              writePiece: (piece) => this.#written(copy.writePiece(piece)),
              forget: (id) => this.#written(copy.forget(id)),
            },
            signal,
            onCopied: (entries) => (this.#entriesCopied += entries),
          });
          this.#pauseMs = 0;
        } catch (error) {
          // A log that cannot be copied for what is in it must not keep the others waiting.
          if (isSuError(error, 'store-unavailable')) this.#behind.add(processId);
          throw error;
        } finally {
          this.#copying -= 1;
        }
      }
    };
    while (!signal.aborted) {
      const results = await Promise.allSettled(
        Array.from({ length: this.#options.limits.parallel }, work),
      );
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      if (this.#behind.size > 0) continue;
      await this.#untilWoken((wake) => (this.#wakeCatchUp = wake));
    }
  }

  /** Once all logs are compared; then what others write is asked for again and again. */
  async #findBehind(): Promise<void> {
    const { source, limits, delay } = this.#options;
    const { signal } = this.#abort;
    const lastRow = await this.#compareAll();
    const seen: number[] = [lastRow.message];
    let afterProcess = lastRow.process;
    while (!signal.aborted) {
      await delay(limits.pollMs, signal);
      if (signal.aborted) return;
      seen.push(await this.#lookThrough(seen[0] ?? 0));
      if (seen.length > POLLS_BACK) seen.shift();
      for await (const piece of source.readHeads(afterProcess)) {
        for (const { processId, head } of piece) {
          await this.#noteWhenBehind(processId, head ?? NOWHERE);
        }
        afterProcess = piece.at(-1)?.rank ?? afterProcess;
      }
    }
  }

  /** All rows behind one, to the end; returns the last one. */
  async #lookThrough(afterRow: number): Promise<number> {
    for (let after = afterRow; ;) {
      const rows = await this.#options.source.readNewRows(after);
      for (const row of rows) await this.#noteWhenBehind(row.processId, row);
      const last = rows.at(-1);
      if (last === undefined || this.#abort.signal.aborted) return after;
      after = last.rank;
    }
  }

  async #compareAll(): Promise<{ readonly message: number; readonly process: number }> {
    const { source, onProgress, limits } = this.#options;
    const message = await source.readLastRow();
    let process = 0;
    let logsCompared = 0;
    const report = (phase: FollowProgress['phase']): void =>
      onProgress({
        phase,
        logsCompared,
        logsBehind: this.#behind.size,
        entriesCopied: this.#entriesCopied,
      });
    for await (const piece of source.readHeads(0)) {
      if (this.#abort.signal.aborted) break;
      for (const { processId, head } of piece) {
        await this.#noteWhenBehind(processId, head ?? NOWHERE, head?.hashChain);
      }
      logsCompared += piece.length;
      process = piece.at(-1)?.rank ?? process;
      report('comparing');
      await this.#waitForCopies(limits.behindMax / 2);
    }
    while (this.#behind.size + this.#copying > 0 && !this.#abort.signal.aborted) {
      report('copying');
      await this.#options.delay(COPYING_POLL_MS, this.#abort.signal);
    }
    this.#isCaughtUp = !this.#abort.signal.aborted;
    report('done');
    return { message, process };
  }

  /** Until fewer logs than that are known to be behind: what exceeds the bound would be forgotten. */
  async #waitForCopies(logs: number): Promise<void> {
    const { delay, limits } = this.#options;
    const { signal } = this.#abort;
    while (this.#behind.size >= logs && !signal.aborted) await delay(limits.pollMs, signal);
  }

  /** @param hashChain what the copy must have at the same place */
  async #noteWhenBehind(
    processId: Id,
    place: { readonly epoch: number; readonly nonce: number },
    hashChain?: string,
  ): Promise<void> {
    const watermark = await this.#options.copy.findWatermark(processId);
    if (watermark === undefined) {
      this.noteBehind(processId);
      return;
    }
    const order = comparePlaces(watermark, place);
    const isOther = hashChain !== undefined && (order > 0 || watermark.hashChain !== hashChain);
    if (order < 0 || isOther) this.noteBehind(processId);
  }
}

/** Of a process without messages. */
const NOWHERE = { epoch: 0, nonce: -1 };

function bytesOf({ process, messages }: LogPiece): number {
  return messages.reduce(
    (sum, { bundle }) => sum + bundle.length,
    process === undefined ? 0 : process.bundle.length,
  );
}
