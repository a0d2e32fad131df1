import { SuError } from '../errors.js';
import { isId, sha256, type Id } from '../protocol/ids.js';
import { findUploads } from './find-uploads.js';
import type {
  RawLogReader,
  RawLogWriter,
  StoredMessage,
  StoredProcess,
  UploadQueue,
} from './ports.js';
import { forEachBounded } from './bounded.js';

/** The store that is copied to. */
export interface CopyTarget extends UploadQueue {
  readonly reader: RawLogReader;
  readonly writer: RawLogWriter;
  /** Called before the first row is written whose place another row has: old logs hold such. */
  admitRepeatedPlaces?(): Promise<void>;
}

export interface CopyOptions {
  readonly source: RawLogReader;
  readonly target: CopyTarget;
  /** Processes copied at a time. */
  readonly parallel: number;
  /** Ends the copy between two batches. */
  readonly signal: AbortSignal;
  onProgress(progress: CopyProgress): void;
}

export interface CopyProgress {
  readonly processes: number;
  readonly processesTotal: number;
  /** Messages that were compared or written. */
  readonly messages: number;
  readonly written: number;
}

export interface CopyReport {
  readonly processes: number;
  readonly messages: number;
  /** Messages that the target did not have. */
  readonly written: number;
  /** Entries whose uploads were outstanding in the source and now are in the target. */
  readonly queued: number;
  /** Over the rolling hashes of all processes, in any order: equal stores have equal ones. Hex. */
  readonly digest: string;
  /** False: stopped by the signal. */
  readonly complete: boolean;
}

const BATCH_ROWS = 500;
const BATCH_BYTES = 8 * 1024 * 1024;

/**
 * Copies every log of one store into another, byte for byte and in order. The target may hold a beginning of each log, so an
 * interrupted copy is simply begun again: what is there is compared, what is missing written. Each process ends with a
 * comparison of counts and rolling hashes, for which the rows just written are read back.
 *
 * @throws SuError `refused-by-store` when the target holds what the source does not (it has diverged, or gone on),
 * `store-unavailable`, `invariant` when the rows read back are not those written
 */
export async function copyStore(options: CopyOptions): Promise<CopyReport> {
  const { source, target, signal } = options;
  const total = { processes: 0, messages: 0, written: 0, queued: 0 };
  const digest = new Uint8Array(32);
  const processesTotal = await source.countProcesses();
  const tell = (): void => options.onProgress({ ...total, processesTotal });
  const admit = admitOnce(target);
  await refuseForeign(source, target);
  await forEachBounded(processesOf(source), options.parallel, async (process) => {
    if (signal.aborted) return;
    const copied = await copyProcess(process, { source, target, signal, admit }, (step) => {
      total.messages += step.messages;
      total.written += step.written;
      tell();
    });
    if (!copied.complete) return;
    total.processes += 1;
    total.queued += copied.queued;
    copied.digest.forEach((byte, index) => (digest[index] = (digest[index] ?? 0) ^ byte));
    tell();
  });
  const complete = !signal.aborted;
  if (complete) await refuseForeign(source, target);
  return { ...total, digest: Buffer.from(digest).toString('hex'), complete };
}

async function* processesOf(source: RawLogReader): AsyncGenerator<StoredProcess> {
  for await (const piece of source.readProcesses(undefined)) yield* piece;
}

/** A target with processes that the source does not know is another store, not an earlier copy of this one. */
async function refuseForeign(source: RawLogReader, target: CopyTarget): Promise<void> {
  const [known, there] = await Promise.all([
    source.countProcesses(),
    target.reader.countProcesses(),
  ]);
  if (there <= known) return;
  throw new SuError(
    'refused-by-store',
    `the target holds ${there} processes and the source only ${known}: it is no copy of it`,
  );
}

function admitOnce(target: CopyTarget): () => Promise<void> {
  let admitted: Promise<void> | undefined;
  return () => (admitted ??= target.admitRepeatedPlaces?.() ?? Promise.resolve());
}

interface Step {
  readonly messages: number;
  readonly written: number;
}

interface Context {
  readonly source: RawLogReader;
  readonly target: CopyTarget;
  readonly signal: AbortSignal;
  admit(): Promise<void>;
}

interface CopiedProcess {
  readonly complete: boolean;
  readonly queued: number;
  readonly digest: Uint8Array;
}

async function copyProcess(
  process: StoredProcess,
  context: Context,
  onStep: (step: Step) => void,
): Promise<CopiedProcess> {
  const { source, target, signal } = context;
  const { processId } = process;
  refuseMisspelt(processId, 'a process');
  const there = new RowCursor(target.reader.readMessages(processId, undefined));
  const batch = new Batch(process, context);
  const sums = new RollingHash(process);
  const copySums = new RollingHash(process);
  try {
    for await (const piece of source.readMessages(processId, undefined)) {
      if (signal.aborted) return { complete: false, queued: 0, digest: sums.value };
      let compared = 0;
      for (const message of piece) {
        refuseMisspelt(message.messageId, `a message of process ${processId}`);
        sums.add(message);
        const copy = await there.next();
        if (copy === undefined) {
          await batch.add(message);
          continue;
        }
        refuseDiverged(message, copy);
        copySums.add(copy);
        batch.noteThere(message, copy);
        compared += 1;
      }
      onStep({ messages: piece.length, written: piece.length - compared });
    }
    const more = await there.next();
    if (more !== undefined) {
      throw new SuError(
        'refused-by-store',
        `the target has gone on: process ${processId} has nonce ${more.nonce} there, which the source does not have`,
      );
    }
  } finally {
    await there.close();
  }
  await batch.flush();
  for await (const piece of target.reader.readMessages(processId, batch.lastThere)) {
    for (const message of piece) copySums.add(message);
  }
  compareSums(processId, sums, copySums);
  const queued = await carryUploads(process, context);
  return { complete: true, queued, digest: sums.value };
}

/** What the source has still to publish, the target has to publish in its place. */
async function carryUploads(process: StoredProcess, { source, target }: Context): Promise<number> {
  const { processId } = process;
  const outstanding = await source.readOutstanding(processId);
  if (outstanding.size === 0) return 0;
  const known = await target.reader.readOutstanding(processId);
  let queued = 0;
  const queue = async (rows: readonly (StoredProcess | StoredMessage)[]): Promise<void> => {
    const uploads = rows.flatMap((row) => {
      const upload = findUploads(row);
      const parts = outstanding.get(upload?.messageId ?? processId) ?? 0;
      const missing = parts & ~(known.get(upload?.messageId ?? processId) ?? 0);
      return upload === undefined || missing === 0 ? [] : [{ ...upload, parts: missing }];
    });
    queued += uploads.length;
    if (uploads.length > 0) await target.queueUploads(uploads);
  };
  await queue([process]);
  for await (const piece of source.readMessages(processId, undefined)) await queue(piece);
  return queued;
}

/** Rows on their way to the target. Rows of one place go in one call: only together do they say what the place holds. */
class Batch {
  readonly #process: StoredProcess;
  readonly #context: Context;
  #rows: StoredMessage[] = [];
  #bytes = 0;
  #isWritten = false;
  /** The last row that both have, and those of the source that share its place. */
  lastThere: StoredMessage | undefined;
  #samePlace: StoredMessage[] = [];

  constructor(process: StoredProcess, context: Context) {
    this.#process = process;
    this.#context = context;
  }

  noteThere(message: StoredMessage, copy: StoredMessage): void {
    if (!isSamePlace(this.#samePlace[0], message)) this.#samePlace = [];
    this.#samePlace.push(message);
    this.lastThere = copy;
  }

  async add(message: StoredMessage): Promise<void> {
    const last = this.#rows.at(-1) ?? this.#samePlace.at(-1);
    const repeats = isSamePlace(last, message);
    const isFull = this.#rows.length >= BATCH_ROWS || this.#bytes >= BATCH_BYTES;
    if (isFull && !repeats) await this.#write();
    if (repeats) await this.#context.admit();
    if (repeats && this.#rows.length === 0) this.#rows.push(...this.#samePlace);
    this.#rows.push(message);
    this.#bytes += message.bundle.length;
  }

  /** Writes the rest; a process without messages too. */
  async flush(): Promise<void> {
    if (this.#rows.length > 0 || !this.#isWritten) await this.#write();
  }

  async #write(): Promise<void> {
    await this.#context.target.writer.writeRows(this.#process, this.#rows);
    this.#isWritten = true;
    this.#rows = [];
    this.#bytes = 0;
  }
}

/** One row after the other of a reading that comes in pieces. */
class RowCursor {
  readonly #pieces: AsyncIterator<readonly StoredMessage[], unknown>;
  #piece: readonly StoredMessage[] = [];
  #next = 0;

  constructor(pieces: AsyncIterable<readonly StoredMessage[]>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  async next(): Promise<StoredMessage | undefined> {
    while (this.#next >= this.#piece.length) {
      const result = await this.#pieces.next();
      if (result.done === true) return undefined;
      this.#piece = result.value;
      this.#next = 0;
    }
    return this.#piece[this.#next++];
  }

  async close(): Promise<void> {
    await this.#pieces.return?.();
  }
}

/** Over all rows of a process, each bound to those before it. What engines keep differently (ranks, JSON) is left out. */
class RollingHash {
  value: Uint8Array;
  count = 0;

  constructor({ processId, bundle }: StoredProcess) {
    this.value = sha256(Buffer.from(processId), bundle);
  }

  add({ epoch, nonce, timestamp, bundle }: StoredMessage): void {
    const place = Buffer.from(`${epoch}/${nonce}/${timestamp}/`);
    this.value = sha256(this.value, place, bundle);
    this.count += 1;
  }
}

function compareSums(processId: Id, source: RollingHash, target: RollingHash): void {
  const isSame = Buffer.compare(source.value, target.value) === 0;
  if (isSame && source.count === target.count) return;
  throw new SuError(
    'invariant',
    `process ${processId} read back from the target is not what was copied: ${target.count} messages there, ${source.count} in the source`,
    { details: { processId } },
  );
}

function refuseDiverged(message: StoredMessage, copy: StoredMessage): void {
  const isSame =
    isSamePlace(message, copy) &&
    message.timestamp === copy.timestamp &&
    Buffer.compare(message.bundle, copy.bundle) === 0;
  if (isSame) return;
  const here = `message ${message.messageId} at nonce ${message.nonce}`;
  const there = `message ${copy.messageId} at nonce ${copy.nonce}`;
  const difference =
    here === there
      ? `has ${here} in both, with other bytes (a wrapper that su bundles:seal signed on one side?)`
      : `has ${there} there, and ${here} in the source`;
  throw new SuError(
    'refused-by-store',
    `the target has diverged: process ${message.processId} ${difference}; copy into an empty store`,
  );
}

function isSamePlace(one: StoredMessage | undefined, other: StoredMessage): boolean {
  return one !== undefined && one.epoch === other.epoch && one.nonce === other.nonce;
}

/** Engines that keep ids as bytes would store another one. */
function refuseMisspelt(id: string, what: string): void {
  if (isId(id)) return;
  throw new SuError(
    'refused-by-store',
    `the source holds ${what} whose id is ${JSON.stringify(id.slice(0, 64))}: no 43 characters of base64url`,
  );
}
