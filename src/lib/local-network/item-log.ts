import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { SuError, invariant } from '../errors.js';

/** What a record holds: a data item's bytes, or a transaction in the form of `transaction.ts`. */
export type RecordKind = 'item' | 'transaction';

export interface LogRecord {
  readonly kind: RecordKind;
  /** The block it lies in. */
  readonly height: number;
  /** Of the payload, in the file. */
  readonly position: number;
  readonly length: number;
}

/** A record to append. */
export interface NewRecord {
  readonly kind: RecordKind;
  readonly height: number;
  readonly payload: Uint8Array;
}

/** `SUN1`, kind, payload length, height; little-endian, 16 bytes. */
const HEAD_BYTES = 16;
const MAGIC = 0x314e_5553;
const KINDS: readonly RecordKind[] = ['item', 'transaction'];
const WINDOW_BYTES = 1_048_576;
const BATCH_RECORDS = 256;
const BATCH_BYTES = 33_554_432;

interface Waiting {
  readonly record: NewRecord;
  readonly resolve: (record: LogRecord) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * All that was uploaded, one record after the other in one file. One write takes everything that arrived during
 * the write before: next to a file of its own for each item this costs a fraction of the system calls, which
 * matters because the thread pool they run on also makes the SU's signatures.
 *
 * What was answered for is with the operating system: it outlives the program, also a killed one, but not
 * a power cut. This is a development network, and a flush for each upload would compete with those of the store.
 */
export class ItemLog {
  readonly #file: string;
  readonly #handle: FileHandle;
  #end: number;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #closed = false;

  private constructor(file: string, handle: FileHandle, end: number) {
    this.#file = file;
    this.#handle = handle;
    this.#end = end;
  }

  /** @throws the file system's own errors */
  static async open(file: string): Promise<ItemLog> {
    const handle = await open(file, 'a+').then(async (made) => {
      await made.close();
      // Not in append mode, which ignores the positions that are written to.
      return open(file, 'r+');
    });
    const { size } = await handle.stat();
    return new ItemLog(file, handle, size);
  }

  /**
   * Visits all records in order, with up to `prefixBytes` of each payload. A record that was cut short by the end
   * of the program is removed: nobody was answered for it.
   *
   * @returns the bytes that were removed
   * @throws SuError `folder-refused` when the file is damaged
   */
  async scan(
    prefixBytes: number,
    visit: (record: LogRecord, prefix: Buffer) => Promise<void> | void,
  ): Promise<number> {
    let position = 0;
    const window = new ReadWindow(this.#handle);
    while (position + HEAD_BYTES <= this.#end) {
      const head = window.held(position, HEAD_BYTES) ?? (await window.read(position, HEAD_BYTES));
      const kind = KINDS[head.readUInt32LE(4)];
      if (head.readUInt32LE(0) !== MAGIC || kind === undefined) {
        throw new SuError(
          'folder-refused',
          `${this.#file} is damaged at byte ${position}: move it away to begin an empty local network`,
        );
      }
      const record = {
        kind,
        height: head.readUInt32LE(12),
        position: position + HEAD_BYTES,
        length: head.readUInt32LE(8),
      };
      if (record.position + record.length > this.#end) break;
      const wanted = Math.min(prefixBytes, record.length);
      const prefix =
        window.held(record.position, wanted) ?? (await window.read(record.position, wanted));
      const visited = visit(record, prefix);
      if (visited !== undefined) await visited;
      position = record.position + record.length;
    }
    const removed = this.#end - position;
    if (removed > 0) await this.#handle.truncate(position);
    this.#end = position;
    return removed;
  }

  /**
   * Appends a record; it can be read when the promise resolves.
   *
   * @throws SuError `store-unavailable` when the file cannot be written; nothing of the record remains then
   */
  append(record: NewRecord): Promise<LogRecord> {
    if (this.#closed) {
      return Promise.reject(new SuError('store-unavailable', 'the local network is closed'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ record, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** A part of the file. */
  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position);
    invariant(
      bytesRead === length,
      'a record of the local network is shorter than when it was written',
    );
    return buffer;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    await this.#handle.close();
  }

  /** Never rejects: what fails is told to those who wait. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) await this.#writeBatch(this.#nextBatch());
    this.#writing = undefined;
  }

  #nextBatch(): readonly Waiting[] {
    let count = 0;
    let bytes = 0;
    for (const { record } of this.#waiting) {
      bytes += record.payload.byteLength;
      if (count > 0 && (count >= BATCH_RECORDS || bytes > BATCH_BYTES)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const buffers = batch.flatMap(({ record }) => [headOf(record), record.payload]);
    const total = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    let position = this.#end;
    try {
      const { bytesWritten } = await this.#handle.writev(buffers, position);
      if (bytesWritten !== total) throw new Error(`${bytesWritten} of ${total} bytes were written`);
    } catch (cause) {
      // What did reach the file would stand before the next record; if this fails too, that one overwrites it.
      await this.#handle.truncate(this.#end).catch(() => undefined);
      const error = new SuError('store-unavailable', 'the local network cannot write', { cause });
      for (const { reject } of batch) reject(error);
      return;
    }
    this.#end += total;
    for (const { record, resolve } of batch) {
      const { kind, height, payload } = record;
      resolve({ kind, height, position: position + HEAD_BYTES, length: payload.byteLength });
      position += HEAD_BYTES + payload.byteLength;
    }
  }
}

function headOf({ kind, height, payload }: NewRecord): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(KINDS.indexOf(kind), 4);
  head.writeUInt32LE(payload.byteLength, 8);
  head.writeUInt32LE(height, 12);
  return head;
}

/** Reads a file from front to back in large pieces. */
class ReadWindow {
  readonly #handle: FileHandle;
  #start = 0;
  #bytes = Buffer.alloc(0);

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** The bytes when they are in memory: no promise for each of 100,000 records. */
  held(position: number, length: number): Buffer | undefined {
    const from = position - this.#start;
    if (from < 0 || from + length > this.#bytes.length) return undefined;
    return this.#bytes.subarray(from, from + length);
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(Math.max(length, WINDOW_BYTES));
    const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, position);
    this.#start = position;
    this.#bytes = buffer.subarray(0, bytesRead);
    const held = this.held(position, length);
    invariant(held !== undefined, 'the file of the local network became shorter while it was read');
    return held;
  }
}
