import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { makeGateway } from './arweave/gateway.js';
import { openSigner } from './arweave/signer.js';
import { makeCacheClient, makeUploaderClient } from './arweave/uploader-client.js';
import { createWallet, readWallet, type Wallet } from './arweave/wallet.js';
import type { MigrationConfig, OperatorConfig, SchedulerConfig } from './config/config.js';
import { redactUrl } from './config/redact-url.js';
import type { StoreConfig } from './config/store-config.js';
import { invariant } from './errors.js';
import { listen } from './http/listen.js';
import { makeSchedulerApp } from './http/scheduler-app.js';
import { openLocalNetwork } from './local-network/local-network.js';
import { openLog, type Log } from './observability/log.js';
import { makeMetrics, type Metrics } from './observability/metrics.js';
import { outboxCalls, outboxOverCalls, type OperatorOutbox } from './operator/outbox-calls.js';
import { callOperatorSocket, NO_SERVER } from './operator/socket-client.js';
import { openOperatorSocket } from './operator/socket-server.js';
import { openBlockClock, type BlockClock } from './scheduler/block-clock.js';
import type { Committed } from './scheduler/committer.js';
import { openWritePath, WRITE_LIMITS, type WritePath } from './scheduler/open-write-path.js';
import { UPLOAD_ASSIGNMENT, UPLOAD_BUNDLE, UPLOAD_ITEM } from './scheduler/ports.js';
import type { Gateway, LogReader, NewEntry, ScheduleStore, Signer } from './scheduler/ports.js';
import { delayByTimer } from './uploader/delay.js';
import { OUTBOX_LIMITS } from './uploader/outbox-limits.js';
import { OutboxWorker, type FreshRow } from './uploader/outbox-worker.js';
import type { Outbox, Upload } from './uploader/ports.js';

/*
 * The only place where both sides of a port meet. Everything with a lifetime is opened here, in the order in which it is
 * needed, and closed in reverse: intake first, then what drains, the store last.
 */

/** A server that runs. */
export interface OpenScheduler {
  readonly url: string;
  /** Lines for the operator's eyes: what was opened, where it listens, what to try. */
  readonly describe: readonly string[];
  /** Resolves when it has closed. */
  readonly closed: Promise<void>;
  /** Stops intake, finishes what was taken, closes. */
  close(): Promise<void>;
}

/** What all stores offer. */
interface OpenStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
  /** What the store still waits for, undefined when it is open and migrated. */
  missing(): string | undefined;
  close(): Promise<void>;
}

const GATEWAY_TIMEOUT_MS = 10_000;
const UPLOAD_TIMEOUT_MS = 60_000;
const CACHE_TIMEOUT_MS = 10_000;
const BLOCK_HEIGHT_INTERVAL_MS = 5_000;
/** Longer than an upload may wait in memory: a row is given to another server only when its own is gone. */
const OUTBOX_LEASE_MS = 45_000;
const HTTP_DRAIN_MS = 15_000;
const UPLOAD_DRAIN_MS = 5_000;

const clock = (): number => Date.now();
const monotonicMs = (): number => performance.now();

/**
 * Opens everything that `su serve su` needs and listens.
 *
 * @throws SuError `invalid-wallet`, `folder-refused`, `folder-in-use`, `schema-damaged`, `invalid-config`
 */
export async function openScheduler(config: SchedulerConfig): Promise<OpenScheduler> {
  const log = openLog();
  const closing = new ClosingStack();
  try {
    return await assemble(config, log, closing);
  } catch (error) {
    await closing.closeAll();
    throw error;
  }
}

async function assemble(
  config: SchedulerConfig,
  log: Log,
  closing: ClosingStack,
): Promise<OpenScheduler> {
  for (const warning of config.warnings) log.warn({ event: 'config', warning });
  const metrics = makeMetrics({ enabled: config.metricsEnabled });
  const opened = closing.add(await openStore(config.store, log));
  const wallet = await openWallet(config, log);
  const signer = await openSigner(wallet);
  const network = await openNetwork(config, log, closing);
  const blockClock = closing.add(openHeights(config, network.gateway, log));
  const worker = openWorker(opened.outbox, network, log);
  closing.add({ close: () => worker.close(UPLOAD_DRAIN_MS) });
  worker.start();

  const missing = (): string | undefined =>
    opened.missing() ??
    (blockClock.current() === undefined ? 'no block height is known yet' : undefined);
  const write = openWrites(config, {
    opened,
    signer,
    gateway: network.gateway,
    blockClock,
    metrics,
    log,
    worker,
  });
  watch(metrics, { write, blockClock, outbox: opened.outbox });
  await openSocket(config.store, { outbox: opened.outbox, log, closing });

  const app = makeSchedulerApp({
    submit: write.submit,
    reader: opened.reader,
    blockClock,
    address: signer.address,
    clock,
    health: stickyHealth(missing),
    metrics,
    log,
    limits: { pageBytesMax: config.maxReadMemoryBytes },
  });
  const listening = await listen(app, { host: config.host, port: config.port, log });
  closing.add({ close: () => listening.close(HTTP_DRAIN_MS) });

  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
  log.info({ event: 'serving', url, address: signer.address });
  const { closed, close } = closeOnce(closing);
  return {
    url,
    describe: describe(config, { url, address: signer.address, networkUrl: network.url }),
    closed,
    close,
  };
}

async function openStore(config: StoreConfig, log: Log): Promise<OpenStore> {
  if (config.kind === 'embedded') {
    const { openRocksdbStore } = await import('./storage/rocksdb/open-store.js');
    const store = await openRocksdbStore({
      folder: config.folder,
      leaseMs: OUTBOX_LEASE_MS,
      clock,
      log,
    });
    return { ...store, missing: () => undefined };
  }
  const { openPostgresStore } = await import('./storage/postgres/open-store.js');
  const store = openPostgresStore({
    writerUrl: config.writerUrl,
    readerUrl: config.readerUrl === config.writerUrl ? undefined : config.readerUrl,
    writeConnections: config.writeConnections,
    readConnections: config.readConnections,
    leaseMs: OUTBOX_LEASE_MS,
    clock,
    log,
  });
  return {
    ...store,
    missing: () =>
      store.isReady() ? undefined : 'the database is not reached or not migrated yet',
  };
}

async function openWallet(config: SchedulerConfig, log: Log): Promise<Wallet> {
  if (!config.local || existsSync(config.walletPath)) return readWallet(config.walletPath);
  log.info({ event: 'wallet', file: config.walletPath }, 'making a wallet, this takes seconds');
  return createWallet(config.walletPath);
}

interface Network {
  readonly gateway: Gateway;
  readonly uploadUrl: string;
  readonly cacheUrl: string | undefined;
  /** The local network's, undefined in production. */
  readonly url: string | undefined;
}

/** The same adapters over real HTTP whether the gateway is Arweave's or this program's own. */
async function openNetwork(
  config: SchedulerConfig,
  log: Log,
  closing: ClosingStack,
): Promise<Network> {
  let addresses = config.gateway;
  let uploadUrl = config.uploadUrl;
  let localUrl: string | undefined;
  if (config.local) {
    const folder = join(config.dataDir, 'network');
    const { url } = closing.add(
      await openLocalNetwork({ folder, host: '127.0.0.1', port: 0, clock, log }),
    );
    addresses = { graphqlUrl: url, arweaveUrl: url, arweaveUrlList: [url] };
    uploadUrl = url;
    localUrl = url;
  }
  invariant(
    addresses !== undefined && uploadUrl !== undefined,
    'the configuration has addresses in every mode but --local',
  );
  const gateway = closing.add(
    makeGateway({
      graphqlUrl: addresses.graphqlUrl,
      arweaveUrl: addresses.arweaveUrl,
      arweaveUrls: addresses.arweaveUrlList,
      timeoutMs: GATEWAY_TIMEOUT_MS,
    }),
  );
  return { gateway, uploadUrl, cacheUrl: config.cacheUrl, url: localUrl };
}

function openHeights(config: SchedulerConfig, gateway: Gateway, log: Log): BlockClock {
  return openBlockClock({
    gateway,
    clock,
    intervalMs: BLOCK_HEIGHT_INTERVAL_MS,
    pause: delayByTimer,
    staleMs: config.blockHeightStaleMs,
    ageMaxMs: config.blockHeightMaxAgeMs,
    onWarning: (message, details) => log.warn({ event: 'block-height', ...details }, message),
    onRecovered: (details) =>
      log.info({ event: 'block-height', ...details }, 'the gateway tells the block height again'),
  });
}

function openWorker(outbox: Outbox, network: Network, log: Log): OutboxWorker {
  const client = makeUploaderClient({
    url: network.uploadUrl,
    timeoutMs: UPLOAD_TIMEOUT_MS,
    connectionsMax: OUTBOX_LIMITS.uploadsMax,
  });
  const cache =
    network.cacheUrl === undefined
      ? undefined
      : makeCacheClient({
          url: network.cacheUrl,
          timeoutMs: CACHE_TIMEOUT_MS,
          connectionsMax: OUTBOX_LIMITS.cacheUploadsMax,
        });
  return new OutboxWorker({
    outbox,
    client,
    cache,
    clock,
    random: Math.random,
    delay: delayByTimer,
    limits: OUTBOX_LIMITS,
    log,
  });
}

interface WriteParts {
  readonly opened: OpenStore;
  readonly signer: Signer;
  readonly gateway: Gateway;
  readonly blockClock: BlockClock;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly worker: OutboxWorker;
}

function openWrites(config: SchedulerConfig, parts: WriteParts): WritePath {
  const { opened, metrics, log, worker } = parts;
  return openWritePath({
    store: opened.store,
    gateway: parts.gateway,
    signer: parts.signer,
    blockClock: parts.blockClock,
    clock,
    monotonicMs,
    random: (length) => randomBytes(length),
    missing: () => opened.missing(),
    processAssignment: config.processAssignment,
    assignRetryWindowMs: config.assignRetryWindowMs,
    processCacheSize: config.processCacheSize,
    readyAt: clock() + config.warmupDelayMs,
    limits: { ...WRITE_LIMITS, signaturesAtOnce: availableParallelism() },
    observe: {
      signed: (durationMs) => metrics.observeSign(durationMs),
      waited: (durationMs) => metrics.observeCore('acquire_write_lock', durationMs),
      committed(committed) {
        metrics.observeCommit(entriesOf(committed), committed.durationMs);
        reportLosses(committed, log);
        worker.offer(freshRows(committed));
      },
    },
  });
}

function entriesOf({ runs }: Committed): number {
  return runs.reduce((sum, { entries }) => sum + entries.length, 0);
}

/** A run that was not written is worth a line each time: another server on the database, or a database in trouble. */
function reportLosses({ runs, outcomes }: Committed, log: Log): void {
  outcomes.forEach((outcome, index) => {
    if (outcome.status === 'appended') return;
    const processId = runs[index]?.processId;
    const entries = runs[index]?.entries.length;
    const cause = outcome.status === 'moved' ? undefined : outcome.error;
    log.warn({ event: 'commit', outcome: outcome.status, processId, entries, err: cause });
  });
}

/** What was just committed, with its bytes, for the shortcut past the outbox's table. */
function freshRows({ runs, outcomes }: Committed): readonly FreshRow[] {
  return runs.flatMap((run, index) => {
    const outcome = outcomes[index];
    if (outcome?.status !== 'appended') return [];
    return run.entries.map((entry, place) => ({
      row: {
        key: outcome.outboxKeys[place] ?? '',
        processId: entry.processId,
        messageId: entry.messageId,
        assignmentId: entry.kind === 'process' ? undefined : entry.assignment?.id,
        parts: entry.uploads,
        attempts: 0,
      },
      uploads: uploadsOf(entry),
    }));
  });
}

function uploadsOf(entry: NewEntry): readonly Upload[] {
  const uploads: Upload[] = [];
  const { item, assignment, bundle } = entry;
  if ((entry.uploads & UPLOAD_ITEM) !== 0 && item !== undefined) {
    uploads.push({ part: UPLOAD_ITEM, id: item.id, bytes: item.bytes });
  }
  if ((entry.uploads & UPLOAD_ASSIGNMENT) !== 0 && assignment !== undefined) {
    uploads.push({ part: UPLOAD_ASSIGNMENT, id: assignment.id, bytes: assignment.bytes });
  }
  if ((entry.uploads & UPLOAD_BUNDLE) !== 0) {
    uploads.push({ part: UPLOAD_BUNDLE, id: entry.messageId, bytes: bundle });
  }
  return uploads;
}

function watch(
  metrics: Metrics,
  parts: { write: WritePath; blockClock: BlockClock; outbox: Outbox },
): void {
  const { write, blockClock, outbox } = parts;
  metrics.watch({
    lanes: () => ({ busy: write.lanes.count(), waiting: write.lanes.depth() }),
    committer: write.commitDepth,
    signing: write.signing,
    outbox: () => outbox.counts(),
    blockHeight: () => blockClock.current(),
  });
}

async function openSocket(
  config: StoreConfig,
  parts: { outbox: Outbox; log: Log; closing: ClosingStack },
): Promise<void> {
  if (config.kind !== 'embedded') return;
  parts.closing.add(
    await openOperatorSocket({
      path: config.socketPath,
      calls: outboxCalls(parts.outbox),
      onError: (err) => parts.log.error({ event: 'operator-socket', err }),
    }),
  );
}

/** Once ready, always healthy while the program lives: reads go on when the store or the gateway go away. */
function stickyHealth(missing: () => string | undefined): () => string | undefined {
  let wasReady = false;
  return () => {
    if (wasReady) return undefined;
    const lacking = missing();
    wasReady = lacking === undefined;
    return lacking;
  };
}

function describe(
  config: SchedulerConfig,
  parts: { url: string; address: string; networkUrl: string | undefined },
): readonly string[] {
  const { url, address, networkUrl } = parts;
  const lines = [
    `Scheduler Unit ${address}`,
    `  serving   ${url}`,
    config.store.kind === 'embedded'
      ? `  store     RocksDB in ${config.store.folder}`
      : `  store     PostgreSQL at ${redactUrl(config.store.writerUrl)}`,
    `  wallet    ${config.walletPath}`,
  ];
  if (networkUrl === undefined) return lines;
  return [
    ...lines,
    `  gateway   ${networkUrl}  (and bundler; kept in ${join(config.dataDir, 'network')})`,
    `Try: curl ${url}/timestamp`,
  ];
}

/** What must be closed, in the order it was opened. */
class ClosingStack {
  readonly #parts: { close(): unknown }[] = [];

  add<Part extends { close(): unknown }>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  /** Closes everything, last opened first; goes on after a failure and reports the first. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (let part = this.#parts.pop(); part !== undefined; part = this.#parts.pop()) {
      try {
        await part.close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

function closeOnce(closing: ClosingStack): { closed: Promise<void>; close(): Promise<void> } {
  let ended = (): void => undefined;
  const closed = new Promise<void>((resolve) => (ended = resolve));
  let running: Promise<void> | undefined;
  return {
    closed,
    close: () => (running ??= closing.closeAll().finally(ended)),
  };
}

/**
 * The store for the operator's commands: over the socket of the server that holds it, else opened here.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`
 */
export async function openOperator(
  config: OperatorConfig,
): Promise<{ readonly outbox: OperatorOutbox; close(): Promise<void> }> {
  const { store } = config;
  if (store.kind === 'embedded') {
    const call = async (name: string, params: unknown): Promise<unknown> =>
      callOperatorSocket(store.socketPath, name, params);
    const outbox = outboxOverCalls(call);
    if ((await call('outbox.counts', {})) !== NO_SERVER) {
      return { outbox, close: () => Promise.resolve() };
    }
  }
  return openStore(store, openLog({ level: 'warn' }));
}

export { describeWallet } from './arweave/wallet.js';

/** The database's schema, for `su db:migrate`. */
export async function openMigrator(config: MigrationConfig): Promise<{
  migrate(): Promise<readonly string[]>;
  status(): Promise<readonly MigrationVersion[]>;
  close(): Promise<void>;
}> {
  const { migrate, migrationStatus } = await import('./storage/postgres/migrations.js');
  const log = openLog();
  return {
    migrate: () => migrate({ url: config.databaseUrl, log }),
    status: () => migrationStatus(config.databaseUrl),
    close: () => Promise.resolve(),
  };
}

interface MigrationVersion {
  readonly version: string;
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
}
