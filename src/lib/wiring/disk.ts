import type { DiskConfig } from '../config/store-config.js';
import { isSuError, SuError } from '../errors.js';
import { claimIdentity } from '../migrator/claim-identity.js';
import { checkDiskPart } from '../migrator/check-disk.js';
import { FOLLOW_LIMITS, LogFollower } from '../migrator/follow-log.js';
import type { DiskCopy, LogPiece, LogSource, StoredMessage } from '../migrator/ports.js';
import type { Log } from '../observability/log.js';
import type { DiskMetrics } from '../observability/disk-metrics.js';
import { diskCalls } from '../operator/disk-calls.js';
import { openOperatorSocket } from '../operator/socket-server.js';
import { makeCopiedReader, type CopiedLog, type DatabaseLog } from '../scheduler/copied-reader.js';
import type { LogReader, Run, RunOutcome, ScheduleStore } from '../scheduler/ports.js';
import { delayByTimer } from '../uploader/delay.js';
import { clock, monotonicMs } from './clocks.js';
import { ClosingStack } from './closing-stack.js';

/** A store whose reads are answered from a disk copy as far as it goes. */
export interface DiskedStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  close(): Promise<void>;
}

export interface DiskParts {
  readonly store: ScheduleStore;
  readonly reader: DatabaseLog;
  readonly databaseUrl: string;
  /** True once the database is reached and migrated. */
  readonly isReady: () => boolean;
  readonly metrics: DiskMetrics;
  readonly log: Log;
}

const CONNECTIONS = 3;
const READY_POLL_MS = 250;
/** A folder that cannot be opened (a migration holds it, the disk is gone) is tried again after this, ms. */
const REOPEN_MS = 15_000;
/** The same trouble is logged once in this time, ms. */
const REPEAT_MS = 600_000;

/** What is there once the folder is open. */
interface Open {
  readonly copy: DiskCopy;
  readonly reader: LogReader;
  readonly findOwner: CopiedLog['findOwner'];
  readonly generation: CopiedLog['generation'];
  readonly follower: LogFollower;
}

/**
 * Puts the disk copy in a folder between the readers and a database. The folder is opened in the background: until it is
 * open, and when it cannot be used, the database answers everything.
 *
 * @throws SuError `folder-refused` when the folder holds something else than a copy
 */
export async function openDisk(config: DiskConfig, parts: DiskParts): Promise<DiskedStore> {
  await refuseForeignFolder(config.folder);
  const disk = new Disk(config, parts);
  disk.start();
  const { store } = parts;
  return {
    store: {
      append: async (runs) => {
        const outcomes = await store.append(runs);
        disk.offer(runs, outcomes);
        return outcomes;
      },
      readHeads: (ids) => store.readHeads(ids),
      findReceipts: (queries) => store.findReceipts(queries),
      findProcessTags: (id) => store.findProcessTags(id),
    },
    reader: disk.reader,
    close: () => disk.close(),
  };
}

/** What is somebody else's must be named at once; trouble with the disk itself is survived. */
async function refuseForeignFolder(folder: string): Promise<void> {
  const { prepareDataFolder } = await import('../storage/rocksdb/data-folder.js');
  try {
    await prepareDataFolder(folder, 'copy');
  } catch (error) {
    if (isSuError(error) && error.cause === undefined) throw error;
  }
}

class Disk {
  readonly reader: LogReader;
  readonly #config: DiskConfig;
  readonly #parts: DiskParts;
  readonly #abort = new AbortController();
  readonly #closing = new ClosingStack();
  readonly #loggedAt = new Map<string, number>();
  #open: Open | undefined;
  #opening: Promise<void> | undefined;
  #unwatch: (() => void) | undefined;

  constructor(config: DiskConfig, parts: DiskParts) {
    this.#config = config;
    this.#parts = parts;
    this.reader = makeCopiedReader({
      copy: this.#copiedLog(),
      database: parts.reader,
      onBehind: (processId) => this.#open?.follower.noteBehind(processId),
      onFailure: (error) => this.#noteFailure(error),
      onRead: (from) => parts.metrics.read(from),
    });
  }

  start(): void {
    this.#unwatch = this.#parts.metrics.watch(() => ({
      isOpen: this.#open !== undefined,
      ...this.#open?.follower.status(),
    }));
    this.#opening = this.#openUntilClosed();
  }

  /** Hands what was committed to the copy; nobody waits for it. */
  offer(runs: readonly Run[], outcomes: readonly RunOutcome[]): void {
    const follower = this.#open?.follower;
    if (follower === undefined) return;
    runs.forEach((run, index) => {
      const outcome = outcomes[index];
      if (outcome?.status !== 'appended') return;
      const piece = toPiece(run, outcome.rowIds ?? []);
      if (piece === undefined) follower.noteBehind(run.processId);
      else follower.offer(piece);
    });
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#unwatch?.();
    await this.#opening;
    this.#open = undefined;
    await this.#closing.closeAll();
  }

  /** Supervises itself: what goes wrong is told and tried again. */
  async #openUntilClosed(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#openFolder();
        return;
      } catch (error) {
        await this.#closing.closeAll().catch((err: unknown) => this.#noteFailure(err));
        if (signal.aborted) return;
        this.#noteFailure(error);
        await delayByTimer(REOPEN_MS, signal).catch(() => undefined);
      }
    }
  }

  async #openFolder(): Promise<void> {
    const { signal } = this.#abort;
    const { openDiskCopy } = await import('../storage/rocksdb/disk-copy.js');
    const { openCopySources } = await import('../storage/postgres/copy-source.js');
    const { log, databaseUrl: url } = this.#parts;
    const opened = this.#closing.add(
      await openDiskCopy({ folder: this.#config.folder, log: this.#limitedLog() }),
    );
    while (!this.#parts.isReady()) {
      if (signal.aborted) return;
      await delayByTimer(READY_POLL_MS, signal).catch(() => undefined);
    }
    const sources = this.#closing.add(
      openCopySources({ url, connections: CONNECTIONS, clock, log }),
    );
    await claimIdentity(opened.copy, sources.rows);
    const follower = this.#closing.add(this.#makeFollower(opened.copy, sources.logs));
    this.#open = { ...opened, follower };
    follower.start();
    await this.#offerCheck(opened.copy, sources.logs);
    log.info({ event: 'disk-open', folder: this.#config.folder }, 'the disk copy is open');
  }

  #makeFollower(copy: DiskCopy, source: LogSource): LogFollower {
    const { log } = this.#parts;
    let saidAt = Number.NEGATIVE_INFINITY;
    return new LogFollower({
      source,
      copy,
      ready: () => Promise.resolve(),
      delay: (ms, signal) => delayByTimer(ms, signal).catch(() => undefined),
      limits: FOLLOW_LIMITS,
      onFailure: (error) => this.#noteFailure(error),
      onProgress: (progress) => {
        const now = monotonicMs();
        if (progress.phase !== 'done' && now - saidAt < 10_000) return;
        saidAt = now;
        log.info({ event: 'disk-tail', ...progress }, 'copying what the disk lacks');
      },
    });
  }

  async #offerCheck(copy: DiskCopy, source: LogSource): Promise<void> {
    const { signal } = this.#abort;
    this.#closing.add(
      await openOperatorSocket({
        path: this.#config.socketPath,
        calls: diskCalls((options) => checkDiskPart(options, { source, copy, signal })),
        onError: (err) => this.#parts.log.error({ event: 'operator-socket', err }),
      }),
    );
  }

  /** The copy as its readers see it: nothing while the folder is not open. */
  #copiedLog(): CopiedLog {
    const find = async <T>(read: (open: Open) => Promise<T | undefined>): Promise<T | undefined> =>
      this.#open === undefined ? undefined : read(this.#open);
    return {
      findWatermark: (id) => find(({ copy }) => copy.findWatermark(id)),
      generation: (id) => this.#open?.generation(id),
      findOwner: (id, processId) => find(({ findOwner }) => findOwner(id, processId)),
      reader: {
        findProcess: (id, shown) => find(({ reader }) => reader.findProcess(id, shown)),
        findHeadPlace: (id) => find(({ reader }) => reader.findHeadPlace(id)),
        findLatest: (id, asked) => find(({ reader }) => reader.findLatest(id, asked)),
        findEntry: (id, processId, asked) =>
          find(({ reader }) => reader.findEntry(id, processId, asked)),
        readRange: (query) => {
          if (this.#open === undefined) throw notOpen();
          return this.#open.reader.readRange(query);
        },
      },
    };
  }

  /** Logged once in a while and counted always: reads go on from the database. */
  #noteFailure(error: unknown): void {
    this.#parts.metrics.failed();
    const reason = error instanceof Error ? error.message : String(error);
    if (!this.#isNews(`failed ${reason}`)) return;
    this.#parts.log.error(
      { event: 'disk-failed', folder: this.#config.folder, err: error },
      `the disk copy fails (${reason}); the database answers in its place`,
    );
  }

  #isNews(name: string): boolean {
    const now = monotonicMs();
    const isNews = now - (this.#loggedAt.get(name) ?? Number.NEGATIVE_INFINITY) > REPEAT_MS;
    if (isNews) this.#loggedAt.set(name, now);
    return isNews;
  }

  /** RocksDB tells of each batch that fails; on a full disk that is all of them. */
  #limitedLog(): Pick<Log, 'info' | 'warn' | 'error'> {
    const { log } = this.#parts;
    const limited =
      (level: 'info' | 'warn' | 'error') =>
      (fields: object, message?: string): void => {
        const name = `${level} ${'event' in fields ? String(fields.event) : ''}`;
        if (this.#isNews(name)) log[level](fields, message);
      };
    return { info: limited('info'), warn: limited('warn'), error: limited('error') };
  }
}

/** A run as the copy takes it; undefined when the store does not tell where its rows stand. */
function toPiece(run: Run, rowIds: readonly (number | undefined)[]): LogPiece | undefined {
  const { processId, onto, entries } = run;
  let process: LogPiece['process'];
  const messages: StoredMessage[] = [];
  for (const [index, entry] of entries.entries()) {
    const { epoch, nonce, timestamp, hashChain } = entry.head;
    const place = { processId, epoch, timestamp, bundle: entry.bundle, json: undefined };
    if (entry.kind === 'process') {
      process = { ...place, nonce, hashChain, rank: 0, isPlain: true };
      continue;
    }
    const rank = rowIds[index];
    if (rank === undefined || hashChain === undefined) return undefined;
    const { messageId, assignment } = entry;
    messages.push({ ...place, nonce, hashChain, rank, messageId, assignmentId: assignment?.id });
  }
  const last = entries.at(-1);
  if (last === undefined) return undefined;
  return {
    processId,
    process,
    messages,
    from: onto && { epoch: onto.epoch, nonce: onto.nonce },
    to: { epoch: last.head.epoch, nonce: last.head.nonce },
  };
}

function notOpen(): SuError {
  return new SuError('store-unavailable', 'the disk copy is not open');
}
