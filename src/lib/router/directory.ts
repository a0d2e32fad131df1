import { isSuError, SuError } from '../errors.js';
import type { ListedScheduler, RouterLog, RouteStore, StoredScheduler } from './ports.js';

/*
 * The Scheduler Units that the router works with: the operator's list, brought into the store, and what the store
 * knows besides.
 *
 * Promises: a list is in force once the store has it, as a whole; while the store is away it is tried again and again,
 * and the list before stays in force; of two lists the later one wins. An SU that only the store knows keeps its
 * processes and gets no new ones; it is named in the log.
 */

export interface DirectoryOptions {
  readonly store: Pick<RouteStore, 'applyList' | 'readSchedulers'>;
  readonly log: RouterLog;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly retryMs: number;
  /** Hears every change of the SUs that are to be watched. */
  readonly onChange: (urls: readonly string[]) => void;
}

export interface Directory {
  /**
   * Takes a list.
   * @returns resolves when it is in force, or when a later one or `close` took its place
   */
  use(list: readonly ListedScheduler[]): Promise<void>;
  /** True once a list is in force. */
  isReady(): boolean;
  /** All that the store knows, in row order; empty until a list is in force. */
  stored(): readonly StoredScheduler[];
  /** URLs of the list that is in force, in its order. */
  listed(): ReadonlySet<string>;
  /**
   * The SU of a row; one that another router has added meanwhile is looked up.
   * @throws SuError `store-unavailable`
   */
  find(rowId: number): Promise<StoredScheduler | undefined>;
  close(): void;
}

/** See the promises above. */
export function makeDirectory(options: DirectoryOptions): Directory {
  return new SchedulerDirectory(options);
}

class SchedulerDirectory implements Directory {
  readonly #options: DirectoryOptions;
  readonly #closing = new AbortController();
  #stored: readonly StoredScheduler[] = [];
  #listed: ReadonlySet<string> = new Set();
  #isReady = false;
  #latest: readonly ListedScheduler[] | undefined;
  /** Reads of the store may be overtaken; lists are brought in one after the other. */
  #last: Promise<void> = Promise.resolve();

  constructor(options: DirectoryOptions) {
    this.#options = options;
  }

  use(list: readonly ListedScheduler[]): Promise<void> {
    this.#latest = list;
    // What is known of their health is wanted from the first request on.
    if (!this.#isReady) this.#options.onChange(list.map(({ url }) => url));
    const turn = this.#last.then(() => this.#insist(list));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  isReady(): boolean {
    return this.#isReady;
  }

  stored(): readonly StoredScheduler[] {
    return this.#stored;
  }

  listed(): ReadonlySet<string> {
    return this.#listed;
  }

  async find(rowId: number): Promise<StoredScheduler | undefined> {
    const isIt = (scheduler: StoredScheduler): boolean => scheduler.rowId === rowId;
    const known = this.#stored.find(isIt);
    if (known !== undefined) return known;
    this.#adopt(await this.#options.store.readSchedulers());
    return this.#stored.find(isIt);
  }

  close(): void {
    this.#closing.abort();
  }

  async #insist(list: readonly ListedScheduler[]): Promise<void> {
    const { log, pause, retryMs } = this.#options;
    let isLogged = false;
    while (!this.#isOvertaken(list)) {
      try {
        await this.#bringIn(list);
        return;
      } catch (error) {
        if (!isSuError(error, 'store-unavailable')) throw error;
        if (!isLogged) {
          log.warn(
            { event: 'scheduler-list-waits', reason: error.message },
            'the store cannot take the list yet: trying again and again',
          );
        }
        isLogged = true;
        await pause(retryMs, this.#closing.signal);
      }
    }
  }

  #isOvertaken(list: readonly ListedScheduler[]): boolean {
    return this.#latest !== list || this.#closing.signal.aborted;
  }

  async #bringIn(list: readonly ListedScheduler[]): Promise<void> {
    const { store } = this.#options;
    const known = this.#isReady ? this.#stored : await store.readSchedulers();
    const schedulers = await store.applyList(list);
    this.#listed = new Set(list.map(({ url }) => url));
    this.#adopt(schedulers);
    this.#isReady = true;
    this.#report(list, known);
  }

  #adopt(schedulers: readonly StoredScheduler[]): void {
    this.#stored = schedulers;
    this.#options.onChange([...new Set([...this.#listed, ...schedulers.map(({ url }) => url)])]);
  }

  /** @param known what the store held before the list */
  #report(list: readonly ListedScheduler[], known: readonly StoredScheduler[]): void {
    const { log } = this.#options;
    const before = new Set(known.map(({ url }) => url));
    const added = list.map(({ url }) => url).filter((url) => !before.has(url));
    log.info({ event: 'scheduler-list', schedulers: list.length, added }, 'the list is in force');
    for (const { url, processCount } of this.#stored) {
      if (this.#listed.has(url)) continue;
      log.warn(
        { event: 'scheduler-not-listed', scheduler: url, processes: processCount },
        'the list does not name this SU any more: it keeps its processes and gets no new ones',
      );
    }
  }
}

/** @throws SuError `not-ready` until a list is in force */
export function requireReady(directory: Pick<Directory, 'isReady'>): void {
  if (directory.isReady()) return;
  throw new SuError('not-ready', 'the router has not stored its list of Scheduler Units yet', {
    retryAfterSeconds: 2,
  });
}
