import {
  closeSync,
  constants,
  fdatasync,
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
  writev,
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
 * - the operating system has a blob before its reference is written, so a program that is killed loses none. The disk has what
 *   was flushed; of the rest a machine that stops may lose some, so that is of what can be made anew;
 * - what is read is what was written, or it is a failure: a reference has the checksum of its blob;
 * - a failed append leaves nothing behind that a reference names;
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
  /** Writes on the thread pool that have not ended. */
  writes: number;
  isClosed: boolean;
}

const writeFrom = promisify(writev);
const flushFile = promisify(fdatasync);

/** The end that appends: in the thread that writes the database, once. */
export class BlobWriter {
  readonly #folder: string;
  readonly #fileBytesMax: number;
  #file: AppendedFile | undefined;
  #pending: Promise<void>[] = [];

  /**
   * @param databaseFolder in which nothing is made before the first append
   * @param options.fileBytesMax a file takes blobs until it is this large
   */
  constructor(databaseFolder: string, options: { readonly fileBytesMax?: number } = {}) {
    this.#folder = join(databaseFolder, FOLDER_NAME);
    this.#fileBytesMax = options.fileBytesMax ?? FILE_BYTES_MAX;
  }

  /**
   * Appends a blob; blocks this thread until the operating system has it, which need not be the disk.
   *
   * @throws whatever the file system says
   */
  append(blob: Uint8Array): BlobRef {
    const file = this.#fileWithRoom();
    const ref = refOf(blob, file);
    for (let done = 0; done < blob.length;) {
      done += writeSync(file.fd, blob, done, blob.length - done, ref.offset + done);
    }
    file.end += blob.length;
    return ref;
  }

  /**
   * Begins to append blobs, one behind the other, on the thread pool: `flush` must be awaited before anything names them, and they
   * must not be changed until then.
   *
   * @returns their references, in order
   * @throws whatever the file system says
   */
  beginAppend(blobs: readonly Uint8Array[]): readonly BlobRef[] {
    if (blobs.length === 0) return [];
    const file = this.#fileWithRoom();
    const begin = file.end;
    const refs = blobs.map((blob) => {
      const ref = refOf(blob, file);
      file.end += blob.length;
      return ref;
    });
    const written = this.#write(file, blobs, begin);
    // Whoever flushes gets the failure.
    written.catch(() => undefined);
    this.#pending.push(written);
    return refs;
  }

  /**
   * Resolves when the disk has everything that `beginAppend` was given.
   *
   * @throws whatever the file system says
   */
  async flush(): Promise<void> {
    const pending = this.#pending;
    this.#pending = [];
    await Promise.all(pending);
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

  /** Closes the file, once what was begun has ended. */
  close(): void {
    if (this.#file !== undefined) closeFile(this.#file);
    this.#file = undefined;
  }

  async #write(file: AppendedFile, blobs: readonly Uint8Array[], begin: number): Promise<void> {
    file.writes += 1;
    try {
      let offset = begin;
      for (let at = 0; at < blobs.length; at += BLOBS_A_CALL) {
        const parts = blobs.slice(at, at + BLOBS_A_CALL);
        const size = parts.reduce((sum, { length }) => sum + length, 0);
        const { bytesWritten } = await writeFrom(file.fd, parts, offset);
        offset += bytesWritten;
        // The system takes a part when there is no room for the rest, and says why when it is asked once more.
        if (bytesWritten < size)
          writeRest(file.fd, Buffer.concat(parts).subarray(bytesWritten), offset);
        offset += size - bytesWritten;
      }
      await flushFile(file.fd);
    } finally {
      file.writes -= 1;
      if (file.isClosed && file.writes === 0) closeSync(file.fd);
    }
  }

  #fileWithRoom(): AppendedFile {
    const last = this.#file ?? this.#openLast();
    if (last !== undefined && last.end < this.#fileBytesMax) return (this.#file = last);
    return this.#beginFile(last);
  }

  #beginFile(last: AppendedFile | undefined): AppendedFile {
    this.#file = undefined;
    if (last === undefined) mkdirSync(this.#folder, { recursive: true });
    else closeFile(last);
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
    return { number, fd, end: fstatSync(fd).size, writes: 0, isClosed: false };
  }
}

function refOf(blob: Uint8Array, { number, end }: AppendedFile): BlobRef {
  return { file: number, offset: end, length: blob.length, checksum: crc32(blob) };
}

function closeFile(file: AppendedFile): void {
  file.isClosed = true;
  if (file.writes === 0) closeSync(file.fd);
}

function writeRest(fd: number, rest: Buffer, offset: number): void {
  for (let done = 0; done < rest.length;) {
    done += writeSync(fd, rest, done, rest.length - done, offset + done);
  }
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
