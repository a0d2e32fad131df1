import { performance } from 'node:perf_hooks';
import { invariant, SuError } from '../../errors.js';
import { markReady, prepareDataFolder, type DataFolder, type FolderUse } from './data-folder.js';
import { Database } from './database.js';
import { describeCause } from './database-errors.js';
import { WriterThread } from './writer-thread.js';
import type { WriteAnswer, WriteRequest } from './write-request.js';

/** What the store tells its operator. */
export interface StoreLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface EngineOptions {
  readonly folder: string;
  /** What the database of the folder is; a store when left out. */
  readonly use?: FolderUse;
  /** Heads that the writer remembers. */
  readonly headsMax: number;
  readonly log: StoreLog;
}

/** How long a database that could not be opened again is left alone, ms. */
const REOPEN_PAUSE_MS = 1000;
/** Buffers of packed rows that wait to be used again: a migration has as many batches under way. */
const SPARE_MAX = 3;
/** A group of requests stops growing with the one that takes its bytes over this. */
const GROUP_BYTES_MAX = 32 * 1024 * 1024;

interface Session {
  readonly database: Database;
  readonly thread: WriterThread;
}

type State =
  | { readonly kind: 'open'; readonly session: Session }
  | { readonly kind: 'opening'; readonly session: Promise<Session> }
  | { readonly kind: 'broken'; readonly error: SuError; readonly at: number }
  | { readonly kind: 'closed' };

interface Queued {
  readonly request: WriteRequest;
  readonly payload: ArrayBuffer | undefined;
  readonly resolve: (answer: WriteAnswer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The life of a store's database: opening, the one writer, closing, and beginning anew after a failed write. Everything
 * that is asked to be written while a batch is under way goes into the next one.
 *
 * After a failed write nobody knows what is stored, and RocksDB may show in memory what the disk does not have: the
 * database is closed, opened again, and only then read.
 */
export class Engine {
  readonly #options: EngineOptions;
  readonly #folder: DataFolder;
  readonly #reopened: (() => void)[] = [];
  /** Why it could not be opened again the last time; undefined once it could. */
  #reopenFailure: string | undefined;
  #state: State;
  #queue: Queued[] = [];
  #spare: readonly ArrayBuffer[] = [];
  #draining: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  private constructor(options: EngineOptions, folder: DataFolder, session: Session) {
    this.#options = options;
    this.#folder = folder;
    this.#state = { kind: 'open', session };
  }

  /** @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable` */
  static async open(options: EngineOptions): Promise<Engine> {
    const folder = await prepareDataFolder(options.folder, options.use ?? 'store');
    const session = await openSession(folder, { ...options, createIfMissing: folder.isNew });
    await markReady(folder);
    return new Engine(options, folder, session);
  }

  /**
   * The database, to be used at once: it must not be held over an await.
   *
   * @throws SuError `store-unavailable`
   */
  async database(): Promise<Database> {
    return (await this.#session()).database;
  }

  /** For those who read and have something to tell the operator. */
  get log(): StoreLog {
    return this.#options.log;
  }

  /** Memory of at least so many bytes for packed rows: some that came back from the writer, or new. */
  memory(bytes: number): ArrayBuffer {
    const found = this.#spare.find(({ byteLength }) => byteLength >= bytes);
    this.#spare = this.#spare.filter((one) => one !== found);
    return found ?? new ArrayBuffer(bytes);
  }

  /** Calls back each time the database was opened again, before anything reads it. */
  onReopened(callback: () => void): void {
    this.#reopened.push(callback);
  }

  /**
   * Writes a request, durably when it appends.
   *
   * @param payload the buffer in which the bytes of the request lie; it is handed over to the writer thread
   * @throws SuError `store-unavailable`: it may or may not have been written
   */
  write(request: WriteRequest, payload?: ArrayBuffer): Promise<WriteAnswer> {
    if (this.#closing !== undefined) return Promise.reject(closed());
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, payload, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Writes what is queued, stops the writer and closes the database. A second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await this.#draining;
    const state = this.#state;
    this.#state = { kind: 'closed' };
    if (state.kind === 'open') await this.#end(state.session);
    if (state.kind === 'opening') {
      await state.session.then(
        (session) => this.#end(session),
        () => undefined, // It was never opened: those who waited for it have the error.
      );
    }
  }

  /** Hands every failure to those who asked and does not reject. */
  async #drain(): Promise<void> {
    // Requests of the same tick go together.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        const answers = await this.#writeGroup(group);
        group.forEach(({ resolve, reject }, index) => {
          const answer = answers[index];
          if (answer === undefined)
            reject(new SuError('invariant', 'the writer left a request without an answer'));
          else resolve(answer);
        });
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.#draining = undefined;
  }

  #takeGroup(): readonly Queued[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length && bytes <= GROUP_BYTES_MAX) {
      bytes += this.#queue[count]?.payload?.byteLength ?? 0;
      count += 1;
    }
    return this.#queue.splice(0, count);
  }

  async #writeGroup(group: readonly Queued[]): Promise<readonly WriteAnswer[]> {
    const session = await this.#session();
    const payloads = group.flatMap(({ payload }) => (payload === undefined ? [] : [payload]));
    try {
      const { answers, memory } = await session.thread.write(
        group.map(({ request }) => request),
        payloads,
      );
      this.#spare = [...memory, ...this.#spare].slice(0, SPARE_MAX);
      return answers;
    } catch (error) {
      this.#options.log.error(
        { event: 'store-write-failed', err: error, folder: this.#folder.path },
        'a write failed: the store is closed and opened again before it is read',
      );
      this.#replace(session);
      throw error;
    }
  }

  async #session(): Promise<Session> {
    const state = this.#state;
    switch (state.kind) {
      case 'open':
        return state.session;
      case 'opening':
        return state.session;
      case 'closed':
        throw closed();
      case 'broken':
        if (performance.now() - state.at < REOPEN_PAUSE_MS) throw state.error;
        return this.#opening(undefined);
    }
  }

  #replace(session: Session): void {
    // Nobody waits for it here: those who need the database do, and get its error.
    this.#opening(session).catch(() => undefined);
  }

  #opening(previous: Session | undefined): Promise<Session> {
    const session = this.#openAgain(previous);
    this.#state = { kind: 'opening', session };
    return session;
  }

  async #openAgain(previous: Session | undefined): Promise<Session> {
    const { log } = this.#options;
    try {
      if (previous !== undefined) await this.#end(previous);
      const session = await openSession(this.#folder, { ...this.#options, createIfMissing: false });
      log.info({ event: 'store-reopened', folder: this.#folder.path }, 'the store is open again');
      this.#reopenFailure = undefined;
      for (const callback of this.#reopened) callback();
      if (this.#state.kind === 'opening') this.#state = { kind: 'open', session };
      return session;
    } catch (cause) {
      const reason = describeCause(cause);
      // Tried every second: the same reason would bury everything else.
      if (reason !== this.#reopenFailure) {
        const fields = { event: 'store-reopen-failed', err: cause, folder: this.#folder.path };
        log.error(fields, 'the store cannot be opened again: trying again and again');
      }
      this.#reopenFailure = reason;
      const why = trouble(reason);
      const error = new SuError(
        'store-unavailable',
        `the store failed and cannot be opened again${why === undefined ? '' : ` (${why})`}`,
        { cause, retryAfterSeconds: 2 },
      );
      if (this.#state.kind === 'opening')
        this.#state = { kind: 'broken', error, at: performance.now() };
      throw error;
    }
  }

  /** The thread first: it must not touch a database that is closed. */
  async #end(session: Session): Promise<void> {
    await session.thread.stop();
    const problem = await session.database.close();
    if (problem !== undefined) {
      this.#options.log.warn(
        { event: 'store-close-reported', err: problem, folder: this.#folder.path },
        'the store was closed with a complaint',
      );
    }
  }
}

async function openSession(
  folder: DataFolder,
  options: { readonly createIfMissing: boolean; readonly headsMax: number },
): Promise<Session> {
  invariant(options.headsMax > 0, 'a store remembers at least one head');
  const database = await Database.open(folder.databasePath, options);
  try {
    const thread = await WriterThread.start({
      handle: database.handle,
      folder: database.folder,
      headsMax: options.headsMax,
    });
    return { database, thread };
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** What clients may be told of a reason: the system's words, and none of our paths. */
function trouble(reason: string): string | undefined {
  return /No space left on device|Read-only file system|Input\/output error|Too many open files/i.exec(
    reason,
  )?.[0];
}

function closed(): SuError {
  return new SuError('store-unavailable', 'the store is closed', { retryAfterSeconds: 1 });
}
