import {
  RocksLevel,
  type Column,
  type ColumnOptions,
  type IteratorOptions,
  type OpenOptions,
  type RocksBatch,
  type RocksIterator,
} from 'rocksdb';
import { SuError } from '../../errors.js';
import { COLUMN_NAMES, type ColumnName } from './keys.js';

const MIB = 1024 * 1024;

/**
 * Memory: a memtable has a quarter of the budget, and two or three of them live at a time; with the block caches a
 * store takes about 150 MB. The binding cannot bound the write-ahead log, which is kept until every column
 * has flushed what is in it; the small budget of `default` keeps it below 100 MB, and with it the replay at start.
 * Level 0 and 1 are not compressed, deeper levels with zstd, which makes JSON about a third smaller. `compression: false`
 * takes nothing from that: it leaves out the dictionaries that the binding would train for each file. They made a store
 * 14 percent smaller and took a sixth of compaction's time; blocks of 32 KB instead of 16 give back 4 of the 14.
 */
const COLUMNS: Readonly<Record<ColumnName, ColumnOptions>> = {
  default: {
    compaction: 'level',
    compression: false,
    memtableMemoryBudget: 16 * MIB,
    cacheSize: 32 * MIB,
    blockSize: 4096,
  },
  nodes: {
    compaction: 'level',
    compression: false,
    memtableMemoryBudget: 64 * MIB,
    cacheSize: 16 * MIB,
    blockSize: 32 * 1024,
  },
  bundles: {
    compaction: 'level',
    compression: false,
    memtableMemoryBudget: 64 * MIB,
    cacheSize: 8 * MIB,
    blockSize: 32 * 1024,
  },
};

const OPEN: OpenOptions = {
  keyEncoding: 'buffer',
  valueEncoding: 'buffer',
  // Signatures do not compress: it cost as much time as the rest of the write (130 against 67 µs an entry).
  walCompression: false,
  // One thread for flushes, so that they never wait for a compaction.
  parallelism: 2,
  columns: COLUMNS,
};

/** Rows that are read piece by piece; all are of one moment. */
export interface RowScan {
  /**
   * The rows that come next, up to the one that takes the piece over `highWaterMarkBytes`; none at the end. One call at a time.
   *
   * @throws SuError `store-unavailable`, also when the database was closed meanwhile
   */
  next(): Promise<readonly (readonly [key: Buffer, value: Buffer])[]>;
  /** To be called once, when no `next` is under way. */
  close(): Promise<void>;
}

/**
 * The RocksDB of a store, as one thread sees it. Point reads are synchronous: they cost 10 to 30 µs, less than the way
 * through libuv's pool and back, where they would wait behind signatures. (And the binding's asynchronous `getMany`
 * ends the program at a damaged block.) A database must not be held over an await: after a failed write it is closed
 * and replaced. Used after its end it throws instead of touching freed memory.
 */
export class Database {
  readonly #rocks: RocksLevel;

  private constructor(rocks: RocksLevel) {
    this.#rocks = rocks;
  }

  /**
   * Opens the database of a folder.
   *
   * @param options.createIfMissing false: a folder without a database is an error
   * @throws SuError `folder-in-use`, `folder-refused`
   */
  static async open(
    folder: string,
    options: { readonly createIfMissing: boolean },
  ): Promise<Database> {
    const rocks = new RocksLevel(folder, { ...OPEN, createIfMissing: options.createIfMissing });
    try {
      await rocks.open();
    } catch (cause) {
      throw toOpenError(folder, cause);
    }
    return new Database(rocks);
  }

  /** The same database in another thread, which must be done with it before the first one closes it. */
  static async attach(handle: bigint): Promise<Database> {
    const rocks = new RocksLevel(handle, { ...OPEN, createIfMissing: false });
    await rocks.open();
    return new Database(rocks);
  }

  /** For `attach`. */
  get handle(): bigint {
    this.#assertOpen();
    return this.#rocks.handle;
  }

  /**
   * Reads values, in the order of the keys; blocks this thread.
   *
   * @throws SuError `store-unavailable`
   */
  readMany(column: ColumnName, keys: readonly Uint8Array[]): readonly (Buffer | undefined)[] {
    this.#assertOpen();
    if (keys.length === 0) return [];
    try {
      return this.#rocks._getManySync(keys, {
        column: this.#column(column),
        valueEncoding: 'buffer',
      });
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /**
   * Reads one value; blocks this thread.
   *
   * @throws SuError `store-unavailable`
   */
  read(column: ColumnName, key: Uint8Array): Buffer | undefined {
    return this.readMany(column, [key])[0];
  }

  /**
   * Reads rows in key order until a bound of `range` is met, in one go: `range.limit` rows, or the row that
   * takes the bytes over `range.highWaterMarkBytes`. The rows are of one moment. The seek blocks this thread, the rest
   * runs on the thread pool.
   *
   * @throws SuError `store-unavailable`
   */
  async readRange(
    column: ColumnName,
    range: Omit<IteratorOptions, 'column'> & { readonly limit: number },
  ): Promise<readonly (readonly [key: Buffer, value: Buffer])[]> {
    const scan = this.scan(column, range);
    try {
      return await scan.next();
    } finally {
      await scan.close();
    }
  }

  /**
   * Begins to read rows in key order with one iterator, for those who want them piece by piece. The seek blocks this thread. It
   * must be closed.
   *
   * @throws SuError `store-unavailable`
   */
  scan(
    column: ColumnName,
    range: Omit<IteratorOptions, 'column'> & { readonly limit: number },
  ): RowScan {
    this.#assertOpen();
    let iterator: RocksIterator;
    try {
      iterator = this.#rocks.iterator({ ...range, column: this.#column(column) });
    } catch (cause) {
      throw toReadError(cause);
    }
    return {
      async next() {
        try {
          return await iterator.nextv(range.limit);
        } catch (cause) {
          throw toReadError(cause);
        }
      },
      close: () => iterator.close(),
    };
  }

  /**
   * Reads a few rows in key order; blocks this thread, as `read` does. For one or two rows, or off the event loop.
   *
   * @throws SuError `store-unavailable`
   */
  readFew(
    column: ColumnName,
    range: Omit<IteratorOptions, 'column'> & { readonly limit: number },
  ): readonly (readonly [key: Buffer, value: Buffer])[] {
    this.#assertOpen();
    try {
      const { rows } = this.#rocks.querySync({
        fillCache: true,
        ...range,
        column: this.#column(column),
        keyEncoding: 'buffer',
        valueEncoding: 'buffer',
      });
      return Array.from({ length: rows.length / 2 }, (_, index) => [
        rows[2 * index] as Buffer,
        rows[2 * index + 1] as Buffer,
      ]);
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /** A batch to fill; `column` names its columns. */
  batch(): RocksBatch {
    this.#assertOpen();
    return this.#rocks.batch();
  }

  /** The handle that a batch wants. */
  column(name: ColumnName): Column {
    this.#assertOpen();
    return this.#column(name);
  }

  /**
   * Closes the database; reads that are under way end first. Only on the thread that opened it. What RocksDB reports is
   * returned, not thrown: the database is closed and its lock free in any case.
   */
  async close(): Promise<unknown> {
    if (this.#rocks.status !== 'open') return undefined;
    try {
      await this.#rocks.close();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #column(name: ColumnName): Column {
    const column = this.#rocks.columns[name];
    if (column === undefined) {
      throw new SuError('invariant', `the database has no column ${name}`, {
        details: { known: COLUMN_NAMES },
      });
    }
    return column;
  }

  #assertOpen(): void {
    // The binding does not check: it would read freed memory.
    if (this.#rocks.status !== 'open') {
      throw new SuError('store-unavailable', 'the store is closed', { retryAfterSeconds: 1 });
    }
  }
}

/** An error of a read as the ports promise it; a SuError stays what it is. */
export function toReadError(cause: unknown): SuError {
  if (cause instanceof SuError) return cause;
  return new SuError('store-unavailable', 'the store could not be read', {
    cause,
    details: { reason: describeCause(cause) },
    retryAfterSeconds: 1,
  });
}

/** The innermost message of an error: abstract-level wraps what RocksDB says. */
export function describeCause(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : describeCause(error.cause);
}

/** The innermost `code` of an error. */
export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const inner = codeOf(error.cause);
  if (inner !== undefined) return inner;
  return 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function toOpenError(folder: string, cause: unknown): SuError {
  const details = { folder, reason: describeCause(cause) };
  if (codeOf(cause) === 'LEVEL_LOCKED') {
    return new SuError(
      'folder-in-use',
      `another program has the store ${folder} open: stop it first, or give this one a folder of its own`,
      { cause, details },
    );
  }
  return new SuError(
    'folder-refused',
    `RocksDB cannot open the store ${folder}: ${details.reason}`,
    {
      cause,
      details,
    },
  );
}
