import { openSync, readSync, readv } from 'node:fs';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { LRUCache } from 'lru-cache';
import { BufferPool, type LentBuffer } from '../../lent-buffer.js';
import { BLOBS_A_CALL, blobFileName, blobPath, type BlobRef } from './blob-files.js';
import { OpenFile } from './open-file.js';

const FILES_OPEN = 64;

const readInto = promisify(readv);

/** The end that reads. */
export class BlobReader {
  readonly #folder: string;
  readonly #pool = new BufferPool();
  readonly #files = new LRUCache<number, OpenFile>({
    max: FILES_OPEN,
    dispose: (file) => file.close(),
  });
  #isClosed = false;

  constructor(databaseFolder: string) {
    this.#folder = databaseFolder;
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

  /** Closes files that are removed, as soon as nobody reads them. */
  drop(numbers: readonly number[]): void {
    for (const number of numbers) this.#files.delete(number);
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
    const blobs = run.map((ref) => ({ ref, lent: this.#pool.lend(ref.length) }));
    const buffers = blobs.map(({ lent }) => lent.bytes);
    const { bytesRead } = await file.use(() => readInto(file.fd, buffers, first.offset));
    let left = bytesRead;
    return blobs.map(({ ref, lent }) => {
      assertBlob(ref, lent.bytes, Math.min(left, ref.length));
      left -= ref.length;
      return lent;
    });
  }

  #open(number: number): OpenFile {
    if (this.#isClosed) throw new Error('the store is closed');
    const known = this.#files.get(number);
    if (known !== undefined) return known;
    const file = new OpenFile(openSync(blobPath(this.#folder, number), 'r'));
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
    `the blob of ${ref.length} bytes at ${ref.offset} of ${blobFileName(ref.file)} is ` +
      (read < ref.length ? 'cut short' : 'not what was written (its checksum differs)'),
  );
}
