import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  readv,
  rmSync,
  statSync,
  writeSync,
  writevSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { LRUCache } from 'lru-cache';
import { BufferPool, type LentBuffer } from '../../lent-buffer.js';

/*
 * Blob files: long values beside RocksDB, which would write each of them three to five times (log, memtable, compactions) and
 * give it out as a copy in an object of its own. A blob is appended to a file, and the database keeps a reference to it.
 *
 * Promises:
 * - the operating system has a blob before its reference is written, so a program that is killed loses none. The disk has those
 *   that are durable after `flush`; of the others a machine that stops may lose some, so they are of what can be made anew;
 * - what is read is what was written, or it is a failure: a reference has the checksum of its blob;
 * - a failed append leaves nothing behind that a reference names: the next one begins where it began;
 * - one thread appends, any number of threads read, each with at most FILES_OPEN files open.
 */

const FOLDER_NAME = 'blobs';
const SUFFIX = '.blob';
const NAME_DIGITS = 8;
const FILE_BYTES_MAX = 256 * 1024 * 1024;
const FILES_OPEN = 64;
/** Blobs that lie one behind the other and are read or written in one call of the system, which has a limit. */
const BLOBS_A_CALL = 256;

/** Bytes of a reference. */
export const BLOB_REF_BYTES = 18;

/** Where a blob is, and the CRC-32 of its bytes. */
export interface BlobRef {
  readonly file: number;
  readonly offset: number;
  readonly length: number;
  readonly checksum: number;
}

/** Writes a reference; returns the position behind it. */
export function writeBlobRef(into: Buffer, ref: BlobRef, begin: number): number {
  into.writeUInt32BE(ref.file, begin);
  into.writeUIntBE(ref.offset, begin + 4, 6);
  into.writeUInt32BE(ref.length, begin + 10);
  return into.writeUInt32BE(ref.checksum, begin + 14);
}

/** A reference as a value of its own. */
export function encodeBlobRef(ref: BlobRef): Buffer {
  const value = Buffer.allocUnsafe(BLOB_REF_BYTES);
  writeBlobRef(value, ref, 0);
  return value;
}

/** Reads what `writeBlobRef` wrote. */
export function readBlobRef(from: Buffer, begin: number): BlobRef {
  return {
    file: from.readUInt32BE(begin),
    offset: from.readUIntBE(begin + 4, 6),
    length: from.readUInt32BE(begin + 10),
    checksum: from.readUInt32BE(begin + 14),
  };
}

/** Removes all blobs of a database that is made anew. */
export function removeBlobs(databaseFolder: string): void {
  rmSync(join(databaseFolder, FOLDER_NAME), { recursive: true, force: true });
}

/** The files into which nothing goes any more. */
export function fullBlobFiles(databaseFolder: string): readonly number[] {
  const numbers = fileNumbers(join(databaseFolder, FOLDER_NAME));
  const last = Math.max(0, ...numbers);
  return numbers.filter((number) => number < last);
}

/** Removes files; returns how many bytes they had. Those who are reading them read on. */
export function removeBlobFiles(databaseFolder: string, numbers: readonly number[]): number {
  let bytes = 0;
  for (const number of numbers) {
    const path = pathOf(join(databaseFolder, FOLDER_NAME), number);
    bytes += statSync(path).size;
    rmSync(path);
  }
  return bytes;
}

interface AppendedFile {
  readonly number: number;
  readonly fd: number;
  /** Where the next blob begins. */
  end: number;
}

/** The end that appends: in the thread that writes the database, once. */
export class BlobWriter {
  readonly #folder: string;
  readonly #fileBytesMax: number;
  #file: AppendedFile | undefined;
  #mustFlush = false;

  /**
   * @param databaseFolder in which nothing is made before the first append
   * @param options.fileBytesMax a file takes blobs until it is this large
   */
  constructor(databaseFolder: string, options: { readonly fileBytesMax?: number } = {}) {
    this.#folder = join(databaseFolder, FOLDER_NAME);
    this.#fileBytesMax = options.fileBytesMax ?? FILE_BYTES_MAX;
  }

  /**
   * Appends blobs, one behind the other; blocks this thread until the operating system has them.
   *
   * @param options.durable true: `flush` waits for them
   * @returns their references, in order
   * @throws whatever the file system says
   */
  append(blobs: readonly Uint8Array[], options: { readonly durable: boolean }): readonly BlobRef[] {
    if (blobs.length === 0) return [];
    const file = this.#fileWithRoom();
    let end = file.end;
    const refs = blobs.map((blob) => {
      const offset = end;
      end += blob.length;
      return { file: file.number, offset, length: blob.length, checksum: crc32(blob) };
    });
    this.#mustFlush ||= options.durable;
    let offset = file.end;
    for (let at = 0; at < blobs.length; at += BLOBS_A_CALL) {
      offset += writeAll(file.fd, blobs.slice(at, at + BLOBS_A_CALL), offset);
    }
    file.end = end;
    return refs;
  }

  /**
   * Blocks this thread until the disk has every durable blob.
   *
   * @throws whatever the file system says
   */
  flush(): void {
    if (this.#file !== undefined && this.#mustFlush) fdatasyncSync(this.#file.fd);
    this.#mustFlush = false;
  }

  /**
   * The next blob goes into a new file, so that what is in the others may be removed as a whole once nothing names it.
   *
   * @throws whatever the file system says
   */
  beginFile(): void {
    const last = this.#file ?? this.#openLast();
    if (last !== undefined) this.#beginFile(last);
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  #fileWithRoom(): AppendedFile {
    const last = this.#file ?? this.#openLast();
    if (last !== undefined && last.end < this.#fileBytesMax) return (this.#file = last);
    return this.#beginFile(last);
  }

  #beginFile(last: AppendedFile | undefined): AppendedFile {
    this.#file = last;
    this.flush();
    this.close();
    if (last === undefined) mkdirSync(this.#folder, { recursive: true });
    this.#file = this.#openFile((last?.number ?? 0) + 1);
    // A new name is durable only once its folder is flushed.
    const folder = openSync(this.#folder, 'r');
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
    return this.#file;
  }

  #openLast(): AppendedFile | undefined {
    const number = Math.max(0, ...fileNumbers(this.#folder));
    return number === 0 ? undefined : this.#openFile(number);
  }

  #openFile(number: number): AppendedFile {
    const fd = openSync(pathOf(this.#folder, number), constants.O_WRONLY | constants.O_CREAT);
    return { number, fd, end: fstatSync(fd).size };
  }
}

/** Writes everything to a place; returns how many bytes it was. */
function writeAll(fd: number, parts: readonly Uint8Array[], offset: number): number {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  let done = writevSync(fd, parts, offset);
  if (done === size) return size;
  // What the system takes only a part of is what is too large, or more than the disk has room for: then the next call says so.
  const rest = Buffer.concat(parts).subarray(done);
  for (let at = 0; at < rest.length; at += done) {
    done = writeSync(fd, rest, at, rest.length - at, offset + size - rest.length + at);
  }
  return size;
}

interface ReadFile {
  readonly fd: number;
  readers: number;
  isDropped: boolean;
}

const readInto = promisify(readv);

/** The end that reads. */
export class BlobReader {
  readonly #folder: string;
  readonly #pool = new BufferPool();
  readonly #files = new LRUCache<number, ReadFile>({
    max: FILES_OPEN,
    dispose: (file) => {
      file.isDropped = true;
      if (file.readers === 0) closeSync(file.fd);
    },
  });
  #isClosed = false;

  constructor(databaseFolder: string) {
    this.#folder = join(databaseFolder, FOLDER_NAME);
  }

  /**
   * Reads blobs on the thread pool; neighbours at one go. Each is a buffer of its own, which may be given back.
   *
   * @throws whatever the file system says, and when a blob is not what was written
   */
  async read(refs: readonly BlobRef[]): Promise<readonly LentBuffer[]> {
    const runs = await Promise.all(runsOf(refs).map((run) => this.#readRun(run)));
    return runs.flat();
  }

  /** Reads a blob, blocking this thread. @throws as `read` does */
  readSync(ref: BlobRef): Buffer {
    const { fd } = this.#open(ref.file);
    const blob = Buffer.allocUnsafeSlow(ref.length);
    assertBlob(ref, blob, readSync(fd, blob, 0, ref.length, ref.offset));
    return blob;
  }

  /** Closes the files as soon as nobody reads them. */
  close(): void {
    this.#isClosed = true;
    this.#files.clear();
  }

  async #readRun(run: readonly BlobRef[]): Promise<readonly LentBuffer[]> {
    const [first] = run;
    if (first === undefined) return [];
    const file = this.#open(first.file);
    file.readers += 1;
    try {
      const blobs = run.map((ref) => ({ ref, lent: this.#pool.lend(ref.length) }));
      const buffers = blobs.map(({ lent }) => lent.bytes);
      const { bytesRead } = await readInto(file.fd, buffers, first.offset);
      let left = bytesRead;
      return blobs.map(({ ref, lent }) => {
        assertBlob(ref, lent.bytes, Math.min(left, ref.length));
        left -= ref.length;
        return lent;
      });
    } finally {
      file.readers -= 1;
      if (file.isDropped && file.readers === 0) closeSync(file.fd);
    }
  }

  #open(number: number): ReadFile {
    if (this.#isClosed) throw new Error('the store is closed');
    const known = this.#files.get(number);
    if (known !== undefined) return known;
    const fd = openSync(pathOf(this.#folder, number), 'r');
    const file = { fd, readers: 0, isDropped: false };
    this.#files.set(number, file);
    return file;
  }
}

/** Neighbours together, in order. */
function runsOf(refs: readonly BlobRef[]): readonly (readonly BlobRef[])[] {
  const runs: BlobRef[][] = [];
  let last: BlobRef | undefined;
  for (const ref of refs) {
    const run = runs.at(-1);
    const isNext = last?.file === ref.file && last.offset + last.length === ref.offset;
    if (run !== undefined && isNext && run.length < BLOBS_A_CALL) run.push(ref);
    else runs.push([ref]);
    last = ref;
  }
  return runs;
}

function assertBlob(ref: BlobRef, blob: Buffer, read: number): void {
  if (read === ref.length && crc32(blob) === ref.checksum) return;
  throw new Error(
    `the blob of ${ref.length} bytes at ${ref.offset} of ${nameOf(ref.file)} is ` +
      (read < ref.length ? 'cut short' : 'not what was written (its checksum differs)'),
  );
}

/** The numbers of the files there are. */
function fileNumbers(folder: string): readonly number[] {
  let names: readonly string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => Number(name.slice(0, -SUFFIX.length)))
    .filter((number) => Number.isSafeInteger(number));
}

function pathOf(folder: string, number: number): string {
  return join(folder, nameOf(number));
}

function nameOf(number: number): string {
  return `${String(number).padStart(NAME_DIGITS, '0')}${SUFFIX}`;
}
