import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
  writev,
} from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import {
  BLOBS_A_CALL,
  blobFileNumbers,
  blobFolder,
  blobPath,
  type BlobEnd,
  type BlobRef,
} from './blob-files.js';
import { OpenFile } from './open-file.js';

const FILE_BYTES_MAX = 256 * 1024 * 1024;

interface AppendedFile {
  readonly number: number;
  readonly open: OpenFile;
  /** Where the next blob begins. */
  end: number;
}

const writeFrom = promisify(writev);
const flushFile = promisify(fdatasync);

/** The end that appends: in the thread that writes the database, once. */
export class BlobWriter {
  readonly #folder: string;
  readonly #fileBytesMax: number;
  #file: AppendedFile | undefined;
  /** Behind what counts. */
  #kept: BlobEnd;
  #isKeptKnown: boolean;
  readonly #pending: Promise<void>[] = [];

  /**
   * @param databaseFolder in which nothing is made before the first append
   * @param options.fileBytesMax a file takes blobs until it is this large
   * @param options.end behind the last one that counts: what lies there is written over; left out: the end of the files
   * @throws whatever the file system says
   */
  constructor(
    databaseFolder: string,
    options: { readonly fileBytesMax?: number; readonly end?: BlobEnd | undefined } = {},
  ) {
    this.#folder = databaseFolder;
    this.#fileBytesMax = options.fileBytesMax ?? FILE_BYTES_MAX;
    this.#kept = options.end ?? endOfFiles(databaseFolder);
    this.#isKeptKnown = options.end !== undefined;
  }

  /** Behind all blobs, to be stored with their references; undefined when that is known there. */
  get newEnd(): BlobEnd | undefined {
    const kept = this.#kept;
    const { number: file, end: offset } = this.#file ?? { number: kept.file, end: kept.offset };
    const isSame = file === kept.file && offset === kept.offset;
    return isSame && this.#isKeptKnown ? undefined : { file, offset };
  }

  /** What was appended counts: its references are stored, and `newEnd` with them. */
  keep(): void {
    this.#kept = this.newEnd ?? this.#kept;
    this.#isKeptKnown = true;
  }

  /**
   * Gives back the room of what was appended since `keep`, once what was begun has ended: on a full disk the database needs it to be
   * opened again. Fails of nothing: what stays is written over.
   */
  async cutOff(): Promise<void> {
    await Promise.allSettled(this.#pending.splice(0));
    const last = this.#file;
    const kept = this.#kept;
    if (last === undefined) return;
    for (let number = kept.file; number <= last.number; number += 1) {
      const path = blobPath(this.#folder, number);
      saveRoom(() => truncateSync(path, number === kept.file ? kept.offset : 0));
    }
    last.end = last.number === kept.file ? kept.offset : 0;
  }

  /**
   * Appends a blob; blocks this thread until the operating system has it, which need not be the disk.
   *
   * @throws whatever the file system says
   */
  append(blob: Uint8Array): BlobRef {
    const file = this.#fileWithRoom();
    const ref = refOf(blob, file);
    try {
      writeAll(file.open.fd, blob, ref.offset);
    } catch (error) {
      // Whoever goes on without it may need the room.
      saveRoom(() => ftruncateSync(file.open.fd, ref.offset));
      throw error;
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
    const written = file.open.use(() => writeAndFlush(file.open.fd, blobs, begin));
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
    const ends = await Promise.allSettled(this.#pending.splice(0));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
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

  /** Closes the file, once what was begun has ended: whoever appends next begins behind it. Fails of nothing. */
  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await Promise.allSettled(this.#pending.splice(0));
    file?.open.close();
  }

  #fileWithRoom(): AppendedFile {
    const last = this.#file ?? this.#openLast();
    if (last !== undefined && last.end < this.#fileBytesMax) return (this.#file = last);
    return this.#beginFile(last);
  }

  /** When it fails, what comes goes on in the last file: its end is known here and nowhere else while writes are under way. */
  #beginFile(last: AppendedFile | undefined): AppendedFile {
    this.#file = last;
    if (last === undefined) mkdirSync(blobFolder(this.#folder), { recursive: true });
    const next = this.#openFile((last?.number ?? 0) + 1);
    try {
      // A new name is durable only once its folder is flushed.
      if (last === undefined) flushFolder(this.#folder);
      flushFolder(blobFolder(this.#folder));
    } catch (error) {
      next.open.close();
      // The last file is only full once there is another one.
      rmSync(blobPath(this.#folder, next.number), { force: true });
      throw error;
    }
    last?.open.close();
    this.#file = next;
    return next;
  }

  #openLast(): AppendedFile | undefined {
    const number = Math.max(0, ...blobFileNumbers(this.#folder));
    // When files are gone, or a machine that stopped took their end, what is left counts.
    if (number < this.#kept.file) this.#kept = endOfFiles(this.#folder);
    if (number === 0) return undefined;
    const last = this.#openFile(number);
    const { file, offset } = this.#kept;
    if (file < number) {
      last.end = 0;
    } else {
      last.end = Math.min(last.end, offset);
      this.#kept = { file, offset: last.end };
    }
    return last;
  }

  #openFile(number: number): AppendedFile {
    const fd = openSync(blobPath(this.#folder, number), constants.O_WRONLY | constants.O_CREAT);
    return { number, open: new OpenFile(fd), end: fstatSync(fd).size };
  }
}

/** Does what is for nothing else. */
function saveRoom(work: () => void): void {
  try {
    work();
  } catch {
    // Intended: what led here is the failure to be told, and what is appended next takes the same room.
  }
}

function endOfFiles(databaseFolder: string): BlobEnd {
  const file = Math.max(0, ...blobFileNumbers(databaseFolder));
  return { file, offset: file === 0 ? 0 : statSync(blobPath(databaseFolder, file)).size };
}

function refOf(blob: Uint8Array, { number, end }: AppendedFile): BlobRef {
  return { file: number, offset: end, length: blob.length, checksum: crc32(blob) };
}

function flushFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

async function writeAndFlush(
  fd: number,
  blobs: readonly Uint8Array[],
  begin: number,
): Promise<void> {
  let offset = begin;
  for (let at = 0; at < blobs.length; at += BLOBS_A_CALL) {
    const parts = blobs.slice(at, at + BLOBS_A_CALL);
    const size = parts.reduce((sum, { length }) => sum + length, 0);
    const { bytesWritten } = await writeFrom(fd, parts, offset);
    // The system takes a part when there is no room for the rest, and says why when it is asked once more.
    if (bytesWritten < size) {
      writeAll(fd, Buffer.concat(parts).subarray(bytesWritten), offset + bytesWritten);
    }
    offset += size;
  }
  await flushFile(fd);
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let done = 0; done < bytes.length;) {
    done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
  }
}
