import { availableParallelism } from 'node:os';
import { openSigner } from '../arweave/signer.js';
import { readWallet } from '../arweave/wallet.js';
import type { OperatorConfig } from '../config/config.js';
import type { CopyConfig, SealConfig } from '../config/migrator-config.js';
import type { StoreConfig } from '../config/store-config.js';
import { SuError } from '../errors.js';
import {
  copyStore,
  type CopyOptions,
  type CopyReport,
  type CopyTarget,
} from '../migrator/copy-store.js';
import type { BundleSealer, RawLogWriter, UploadQueue } from '../migrator/ports.js';
import { requeueUploads, type RequeueCounts, type RequeueOptions } from '../migrator/requeue.js';
import { sealBundles, type SealCounts, type SealOptions } from '../migrator/seal-bundles.js';
import { openLog } from '../observability/log.js';
import { migratorOverCalls } from '../operator/migrator-calls.js';
import { rowsOverCalls, type OperatorRows } from '../operator/raw-log-calls.js';
import { isId, type Id } from '../protocol/ids.js';
import { OUTBOX_LEASE_MS } from '../uploader/outbox-limits.js';
import { clock, monotonicMs } from './clocks.js';
import { callsOfServer, requireMigrated } from './operator.js';

/** The entries of a store that may be running. */
interface OpenEntries {
  readonly reader: OperatorRows;
  readonly queue: UploadQueue;
  readonly sealer: BundleSealer;
  close(): Promise<void>;
}

const CONNECTIONS = 8;

/**
 * Copies every log of one store into another.
 *
 * @throws SuError `refused-by-store`, `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function copyBetweenStores(
  config: CopyConfig,
  options: Pick<CopyOptions, 'parallel' | 'signal' | 'onProgress'>,
): Promise<CopyReport> {
  const source = await openEntries(config.from);
  try {
    const target = await openTarget(config.to);
    try {
      const report = await copyStore({ ...options, source: source.reader, target });
      await target.finish();
      return report;
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

/**
 * Signs the wrappers of a store that were never signed.
 *
 * @throws SuError `invalid-wallet`, `folder-refused`, `store-unavailable`, `schema-damaged`
 */
export async function sealStoredBundles(
  config: SealConfig,
  options: Pick<SealOptions, 'since' | 'signal' | 'onProgress'>,
): Promise<SealCounts> {
  const signer = await openSigner(await readWallet(config.walletPath));
  const entries = await openEntries(config.store);
  try {
    return await sealBundles({ ...options, ...entries, signer, parallel: availableParallelism() });
  } finally {
    await entries.close();
  }
}

/**
 * Queues the uploads of stored entries once more.
 *
 * @throws SuError `unknown-process`, `invalid-config` (an id), `folder-refused`, `store-unavailable`, `schema-damaged`
 */
export async function requeueStoredUploads(
  config: OperatorConfig,
  options: Pick<RequeueOptions, 'since' | 'signal' | 'onProgress'> & {
    readonly processes: readonly string[];
  },
): Promise<RequeueCounts> {
  const processes = options.processes.map(readProcessId);
  const entries = await openEntries(config.store);
  try {
    return await requeueUploads({ ...options, ...entries, processes });
  } finally {
    await entries.close();
  }
}

function readProcessId(text: string): Id {
  if (isId(text)) return text;
  const shown = JSON.stringify(text.slice(0, 60));
  throw new SuError('invalid-config', `${shown} is no process id (43 characters of base64url)`);
}

/** Over the socket of the server that holds the folder, else opened here. */
async function openEntries(store: StoreConfig): Promise<OpenEntries> {
  if (store.kind === 'postgres') return openDatabaseEntries(store.writerUrl);
  const call = await callsOfServer(store);
  if (call !== undefined) {
    return { reader: rowsOverCalls(call), ...migratorOverCalls(call), close: noClose };
  }
  const opened = await openFolder(store.folder);
  const { raw, outbox, sealer, close } = opened;
  return { reader: raw.reader, queue: outbox, sealer, close };
}

async function openDatabaseEntries(url: string): Promise<OpenEntries> {
  await requireMigrated(url);
  const raw = await openDatabaseRows(url);
  const { openPostgresStore } = await import('../storage/postgres/open-store.js');
  const store = openPostgresStore({
    writerUrl: url,
    writeConnections: 2,
    readConnections: 1,
    leaseMs: OUTBOX_LEASE_MS,
    clock,
    log: openLog({ level: 'warn' }),
  });
  await store.ensureMigrated();
  return {
    reader: raw.reader,
    queue: store.outbox,
    sealer: store.sealer,
    async close() {
      await store.close();
      await raw.close();
    },
  };
}

interface OpenTarget extends CopyTarget {
  readonly writer: RawLogWriter;
  /** Called when all is copied. */
  finish(): Promise<void>;
  close(): Promise<void>;
}

/** A server on the target would schedule onto half a log: a folder that one holds is refused, a database cannot tell. */
async function openTarget(store: StoreConfig): Promise<OpenTarget> {
  if (store.kind === 'embedded') {
    const { raw, outbox, close } = await openFolder(store.folder);
    return {
      ...raw,
      queueUploads: (rows) => outbox.queueUploads(rows),
      finish: () => Promise.resolve(),
      close,
    };
  }
  const url = store.writerUrl;
  const { migrate } = await import('../storage/postgres/migrations.js');
  const log = openLog({ level: 'warn' });
  await migrate({ url, log });
  const { reader, queue, close } = await openDatabaseEntries(url);
  const raw = await openDatabaseRows(url);
  return {
    reader,
    writer: raw.writer,
    admitRepeatedPlaces: () => raw.writer.admitRepeatedPlaces(),
    queueUploads: (rows) => queue.queueUploads(rows),
    async finish() {
      await migrate({ url, log });
    },
    async close() {
      await raw.close();
      await close();
    },
  };
}

async function openDatabaseRows(url: string) {
  const { openPostgresRawLog } = await import('../storage/postgres/raw-log.js');
  const log = openLog({ level: 'warn' });
  return openPostgresRawLog({ url, connections: CONNECTIONS, json: false, clock, log });
}

async function openFolder(folder: string) {
  const { openRocksdbStore } = await import('../storage/rocksdb/open-store.js');
  const log = openLog({ level: 'warn' });
  return openRocksdbStore({ folder, leaseMs: OUTBOX_LEASE_MS, clock, monotonicMs, log });
}

async function noClose(): Promise<void> {
  // Each call over the socket has its own connection.
}
