/**
 * The part of @nxtedition/rocksdb 12 that this folder uses; the package comes without types. Read beside its
 * index.js, iterator.js, chained-batch.js and binding.cc.
 */
declare module 'rocksdb' {
  /** A native handle of a column family; valid while the database is open. */
  export interface Column {
    readonly __brand: 'Column';
  }

  export interface ColumnOptions {
    /** 'level' sets buffers and file sizes from `memtableMemoryBudget` and compresses from level 2 down (zstd). */
    readonly compaction?: 'level' | 'universal';
    /** Bytes; a memtable has a quarter of it, and six of them may exist. */
    readonly memtableMemoryBudget?: number;
    /** False: Snappy where `compaction` names no algorithm for a level, and no trained dictionaries. */
    readonly compression?: boolean;
    /** Bytes of the column's own block cache. */
    readonly cacheSize?: number;
    readonly blockSize?: number;
  }

  export interface OpenOptions {
    readonly keyEncoding: 'buffer';
    readonly valueEncoding: 'buffer';
    /** True when left out. */
    readonly createIfMissing?: boolean;
    readonly walCompression?: boolean;
    readonly parallelism?: number;
    readonly columns?: Readonly<Record<string, ColumnOptions>>;
  }

  export interface IteratorOptions {
    readonly column: Column;
    readonly gt?: Uint8Array;
    readonly gte?: Uint8Array;
    readonly lt?: Uint8Array;
    readonly lte?: Uint8Array;
    readonly reverse?: boolean;
    readonly limit?: number;
    readonly keys?: boolean;
    readonly values?: boolean;
    readonly fillCache?: boolean;
    /** A call of nextv ends with the row that takes it over this. */
    readonly highWaterMarkBytes?: number;
  }

  export interface RocksIterator {
    /** Reads on the thread pool; only the seek, when the iterator is made, is synchronous. Empty at the end. */
    nextv(size: number): Promise<[key: Buffer, value: Buffer][]>;
    close(): Promise<void>;
  }

  export interface RocksBatch {
    /**
     * Copies key and value. What `put` does besides (encodings, a record of every operation) costs as much again and
     * keeps all values in memory until the batch is written.
     */
    _put(key: Uint8Array, value: Uint8Array, options: { readonly column: Column }): void;
    put(key: Uint8Array, value: Uint8Array, options: { readonly column: Column }): this;
    del(key: Uint8Array, options: { readonly column: Column }): this;
    /** Blocks the calling thread until the batch is written, and flushed with `sync`. */
    write(options: { readonly sync: boolean }): Promise<void>;
    close(): Promise<void>;
    readonly length: number;
  }

  export class RocksLevel {
    /** @param location a folder, or the `handle` of a database that another thread has opened */
    constructor(location: string | bigint, options: OpenOptions);
    open(): Promise<void>;
    /** Only on the thread that opened the folder. */
    close(): Promise<void>;
    readonly status: 'opening' | 'open' | 'closing' | 'closed';
    readonly handle: bigint;
    readonly columns: Readonly<Record<string, Column>>;
    batch(): RocksBatch;
    iterator(options: IteratorOptions): RocksIterator;
    /** All rows of a range, keys and values in turn; synchronous. The encodings have no default here. */
    querySync(
      options: IteratorOptions & {
        readonly keyEncoding: 'buffer';
        readonly valueEncoding: 'buffer';
      },
    ): { readonly rows: readonly (Buffer | undefined)[]; readonly finished: boolean };
    getProperty(name: string): string;
    /**
     * Values in the order of the keys, undefined where there is none. Throws what RocksDB reports. Its
     * asynchronous sister must not be used: a damaged block makes it throw out of a native callback, which ends
     * the program, and its promise is never settled.
     */
    _getManySync(
      keys: readonly Uint8Array[],
      options: {
        readonly column: Column;
        readonly valueEncoding: 'buffer';
        readonly fillCache?: boolean;
      },
    ): (Buffer | undefined)[];
  }
}
