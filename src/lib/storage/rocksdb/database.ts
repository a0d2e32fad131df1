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
import type { LentBuffer } from '../../lent-buffer.js';
import {
  BLOB_REF_BYTES,
  fullBlobFiles,
  readBlobRef,
  removeBlobFiles,
  removeBlobs,
  type BlobRef,
} from './blob-files.js';
import { BlobReader } from './blob-reader.js';
import { toOpenError, toReadError } from './database-errors.js';
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

/** What a look at a column reads, and at most how many rows. */
export type Range = Omit<IteratorOptions, 'column'> & { readonly limit: number };
export type Row = readonly [key: Buffer, value: Buffer];

/**
 * The RocksDB of a store, as one thread sees it. Point reads are synchronous: they cost 10 to 30 µs, less than the way
 * through libuv's pool and back, where they would wait behind signatures. (And the binding's asynchronous `getMany`
 * ends the program at a damaged block.) A database must not be held over an await: after a failed write it is closed
 * and replaced. Used after its end it throws instead of touching freed memory.
 */
export class Database {
  readonly #rocks: RocksLevel;
  readonly #blobs: BlobReader;
  /** Where it lies. */
  readonly folder: string;

  private constructor(rocks: RocksLevel, folder: string) {
    this.#rocks = rocks;
    this.#blobs = new BlobReader(folder);
    this.folder = folder;
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
      const database = new Database(rocks, folder);
      if (options.createIfMissing) database.#removeOldBlobs();
      return database;
    } catch (cause) {
      await rocks.close().catch(() => undefined);
      throw toOpenError(folder, cause);
    }
  }

  /**
   * The same database in another thread, which must be done with it before the first one closes it.
   *
   * @param folder where it lies
   */
  static async attach(handle: bigint, folder: string): Promise<Database> {
    const rocks = new RocksLevel(handle, { ...OPEN, createIfMissing: false });
    await rocks.open();
    return new Database(rocks, folder);
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
      const values = this.#rocks._getManySync(keys, {
        column: this.#column(column),
        valueEncoding: 'buffer',
      });
      return column === 'bundles' ? values.map((value) => value && this.#bundleOf(value)) : values;
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /**
   * Reads bundles as `readMany` does, for those who go on without what cannot be read.
   *
   * @returns in the order of the keys, undefined also for those that are damaged
   */
  readReadable(keys: readonly Uint8Array[]): readonly (Buffer | undefined)[] {
    try {
      return this.readMany('bundles', keys);
    } catch {
      return keys.map((key) => {
        try {
          return this.read('bundles', key);
        } catch {
          // Intended, see above.
          return undefined;
        }
      });
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
  async readRange(column: ColumnName, range: Range): Promise<readonly Row[]> {
    const rows = await this.readStored(column, range);
    return column === 'bundles' ? this.#readBundles(rows, range) : rows;
  }

  /**
   * As `readRange`, but values of the column `bundles` are given as they are stored: they may be references to blobs.
   *
   * @throws SuError `store-unavailable`
   */
  async readStored(column: ColumnName, range: Range): Promise<readonly Row[]> {
    this.#assertOpen();
    let iterator: RocksIterator | undefined;
    try {
      iterator = this.#rocks.iterator({ ...range, column: this.#column(column) });
      return await iterator.nextv(range.limit);
    } catch (cause) {
      throw toReadError(cause);
    } finally {
      await iterator?.close();
    }
  }

  /**
   * Reads a few rows in key order; blocks this thread, as `read` does. For one or two rows, or off the event loop.
   *
   * @throws SuError `store-unavailable`
   */
  readFew(column: ColumnName, range: Range): readonly Row[] {
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

  /**
   * Reads blobs on the thread pool.
   *
   * @returns in the order of the references, undefined where there is none
   * @throws SuError `store-unavailable`, also when one is not what was written
   */
  async readBlobs(
    refs: readonly (BlobRef | undefined)[],
  ): Promise<readonly (LentBuffer | undefined)[]> {
    try {
      const blobs = (await this.#blobs.read(refs.filter((ref) => ref !== undefined))).values();
      return refs.map((ref) => ref && blobs.next().value);
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /** Reads a blob; blocks this thread. @throws SuError as `readBlobs` does */
  readBlob(ref: BlobRef): Buffer {
    try {
      return this.#blobs.readSync(ref);
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /** The blob that a value of the column `bundles` stands for: no bundle is as short as a reference. */
  blobOf(value: Buffer): BlobRef | undefined {
    return value.length === BLOB_REF_BYTES ? readBlobRef(value, 0) : undefined;
  }

  /** Blob files into which nothing goes any more. @throws SuError `store-unavailable` */
  fullBlobFiles(): readonly number[] {
    this.#assertOpen();
    try {
      return fullBlobFiles(this.folder);
    } catch (cause) {
      throw toReadError(cause);
    }
  }

  /** Removes blob files that nothing names; returns their bytes. @throws SuError `store-unavailable` */
  removeBlobFiles(numbers: readonly number[]): number {
    this.#assertOpen();
    this.#blobs.drop(numbers);
    try {
      return removeBlobFiles(this.folder, numbers);
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
    this.#blobs.close();
    try {
      await this.#rocks.close();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** The bundles of rows, up to the one that takes the bytes over the limit. */
  async #readBundles(
    rows: readonly Row[],
    { highWaterMarkBytes = Number.POSITIVE_INFINITY }: Range,
  ): Promise<readonly Row[]> {
    let bytes = 0;
    const last = rows.findIndex(([, value]) => {
      bytes += this.blobOf(value)?.length ?? value.length;
      return bytes > highWaterMarkBytes;
    });
    const taken = last < 0 ? rows : rows.slice(0, last + 1);
    const blobs = await this.readBlobs(taken.map(([, value]) => this.blobOf(value)));
    return taken.map(([key, value], index) => [key, blobs[index]?.bytes ?? value] as const);
  }

  #bundleOf(value: Buffer): Buffer {
    const ref = this.blobOf(value);
    return ref === undefined ? value : this.#blobs.readSync(ref);
  }

  /** What an earlier database left in the folder of a new one. */
  #removeOldBlobs(): void {
    const isEmpty = this.readFew('default', { limit: 1, values: false }).length === 0;
    if (isEmpty) removeBlobs(this.folder);
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
