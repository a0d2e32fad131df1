import type { RocksBatch } from 'rocksdb';
import type { Database } from './database.js';
import type { ColumnName } from './keys.js';

/** A RocksDB batch that is being filled, by the names of its columns. */
export class BatchPuts {
  readonly #database: Database;
  readonly #batch: RocksBatch;

  constructor(database: Database) {
    this.#database = database;
    this.#batch = database.batch();
  }

  get isEmpty(): boolean {
    return this.#batch.length === 0;
  }

  /** Copies key and value into the batch. */
  put(column: ColumnName, key: Uint8Array, value: Uint8Array): void {
    this.#batch._put(key, value, { column: this.#database.column(column) });
  }

  /** Removes a key. */
  remove(column: ColumnName, key: Uint8Array): void {
    this.#batch.del(key, { column: this.#database.column(column) });
  }

  /** Writes the batch as one, blocking this thread; with `sync` until the disk has it. */
  write(options: { readonly sync: boolean }): Promise<void> {
    return this.#batch.write(options);
  }

  /** Frees the batch unwritten. */
  drop(): Promise<void> {
    return this.#batch.close();
  }
}
