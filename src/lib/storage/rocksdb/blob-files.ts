import { readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf } from './database-errors.js';

/*
 * Blob files: long values beside RocksDB, which would write each of them three to five times (log, memtable, compactions) and
 * give it out as a copy in an object of its own. A blob is appended to a file, and the database keeps a reference to it.
 *
 * Promises:
 * - the operating system has a blob before its reference is written, so a program that is killed loses none. The disk has what
 *   was flushed; of the rest a machine that stops may lose some, so that is of what can be made anew;
 * - what is read is what was written, or it is a failure: a reference has the checksum of its blob;
 * - a failed append leaves nothing behind that a reference names, and nothing that grows: what was appended for a batch that was
 *   not written is cut off, or written over by the next one;
 * - one thread appends, any number of threads read, each with a bounded number of files open.
 */

const FOLDER_NAME = 'blobs';
const SUFFIX = '.blob';
const NAME_DIGITS = 8;
/** Blobs that lie one behind the other and are read or written in one call of the system, which has a limit. */
export const BLOBS_A_CALL = 256;

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

/** A place between two blobs: behind it nothing is named. */
export interface BlobEnd {
  readonly file: number;
  readonly offset: number;
}

/** An end as a value of its own. */
export function encodeBlobEnd({ file, offset }: BlobEnd): Buffer {
  const value = Buffer.allocUnsafe(10);
  value.writeUIntBE(offset, value.writeUInt32BE(file, 0), 6);
  return value;
}

/** Reads what `encodeBlobEnd` made. */
export function decodeBlobEnd(value: Buffer): BlobEnd {
  return { file: value.readUInt32BE(0), offset: value.readUIntBE(4, 6) };
}

/** Removes all blobs of a database that is made anew. */
export function removeBlobs(databaseFolder: string): void {
  rmSync(blobFolder(databaseFolder), { recursive: true, force: true });
}

/** The files into which nothing goes any more. */
export function fullBlobFiles(databaseFolder: string): readonly number[] {
  const numbers = blobFileNumbers(databaseFolder);
  const last = Math.max(0, ...numbers);
  return numbers.filter((number) => number < last);
}

/** Removes files; returns how many bytes they had. Those who are reading them read on. */
export function removeBlobFiles(databaseFolder: string, numbers: readonly number[]): number {
  let bytes = 0;
  for (const number of numbers) {
    const path = blobPath(databaseFolder, number);
    bytes += statSync(path).size;
    rmSync(path);
  }
  return bytes;
}

/** The numbers of the files there are. @throws whatever the file system says */
export function blobFileNumbers(databaseFolder: string): readonly number[] {
  let names: readonly string[];
  try {
    names = readdirSync(blobFolder(databaseFolder));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter((name) => name.endsWith(SUFFIX))
    .map((name) => Number(name.slice(0, -SUFFIX.length)))
    .filter((number) => Number.isSafeInteger(number));
}

/** Where the files of a database are. */
export function blobFolder(databaseFolder: string): string {
  return join(databaseFolder, FOLDER_NAME);
}

/** Where the file of this number is. */
export function blobPath(databaseFolder: string, number: number): string {
  return join(blobFolder(databaseFolder), blobFileName(number));
}

/** What the file of this number is called. */
export function blobFileName(number: number): string {
  return `${String(number).padStart(NAME_DIGITS, '0')}${SUFFIX}`;
}
