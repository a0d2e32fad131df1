import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openSigner } from '../arweave/signer.js';
import { createWallet, readWallet, type Wallet } from '../arweave/wallet.js';
import type { SchedulerConfig } from '../config/config.js';
import { redactUrl } from '../config/redact-url.js';
import { listen } from '../http/listen.js';
import { makeSchedulerApp } from '../http/scheduler-app.js';
import { openLog, SERVER_LOG, type Log } from '../observability/log.js';
import { openMetrics, type Metrics } from '../observability/metrics.js';
import type { BlockClock } from '../scheduler/block-clock.js';
import { cacheLogReader } from '../scheduler/cached-log-reader.js';
import type { WritePath } from '../scheduler/open-write-path.js';
import { prepareDataFolder } from '../storage/rocksdb/data-folder.js';
import type { Outbox } from '../uploader/ports.js';
import { clock } from './clocks.js';
import { ClosingStack, closeOnce } from './closing-stack.js';
import { openGuards, openLists, type OpenLists } from './guards.js';
import { openHeights, openNetwork, openWorker } from './network.js';
import { openSocket } from './operator.js';
import { openStore, type SchedulerStore } from './store.js';
import { openTenants } from './tenants.js';
import { openWrites } from './writes.js';

/*
 * Everything with a lifetime is opened here, in the order in which it is needed, and closed in reverse: intake first,
 * then what drains, the store last.
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

const HTTP_DRAIN_MS = 15_000;
const MEBIBYTE = 1_048_576;
const READER_CACHE = { bytesMax: 2 * MEBIBYTE, entryBytesMax: MEBIBYTE };

/**
 * Opens everything that `su serve su` needs and listens.
 *
 * @throws SuError `invalid-wallet`, `folder-refused`, `folder-in-use`, `schema-damaged`, `invalid-config`
 */
export async function openScheduler(config: SchedulerConfig): Promise<OpenScheduler> {
  const log = openLog(SERVER_LOG);
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
  const metrics = await openMetrics({ enabled: config.metricsEnabled });
  const lists = openLists(config, { log, closing });
  const opened = closing.add(await openSchedulerStore(config, lists, { log, metrics }));
  if (config.local) await prepareDataFolder(config.dataDir);
  const wallet = await openWallet(config, log);
  const signer = await openSigner(wallet);
  const network = await openNetwork(config, log, closing);
  const blockClock = closing.add(openHeights(config, network.gateway, log));
  const worker = openWorker(opened.outbox, { network, metrics, log, closing });
  // Rows that were left are nobody's yet: they are looked for when there is somebody to ask.
  void opened.whenOpen().then(() => worker.start());

  const missing = (): string | undefined =>
    opened.missing() ??
    (blockClock.current() === undefined ? 'no block height is known yet' : undefined);
  const { gateway } = network;
  const guards = openGuards(config, {
    lists,
    opened: { ...opened, reader: cacheLogReader(opened.reader, READER_CACHE) },
    gateway,
    metrics,
    log,
    closing,
  });
  const write = openWrites(config, {
    opened,
    signer,
    gateway,
    guards: guards.write,
    blockClock,
    metrics,
    log,
    worker,
  });
  watch(metrics, { write, blockClock, outbox: opened.outbox });
  const { outbox, rows, repairs } = opened;
  await openSocket(config.store, { outbox, rows, repairs, log, closing });

  const app = makeSchedulerApp({
    submit: write.submit,
    reader: guards.reader,
    guards: guards.http,
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

function openSchedulerStore(
  config: SchedulerConfig,
  lists: OpenLists,
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
): Promise<SchedulerStore> | SchedulerStore {
  const { store, processCacheSize } = config;
  const { tenants } = config.guards;
  return tenants === undefined
    ? openStore(store, { log, processCacheSize, metrics })
    : openTenants({ store, tenants }, { list: lists.processes, log, metrics });
}

async function openWallet(config: SchedulerConfig, log: Log): Promise<Wallet> {
  if (!config.local || existsSync(config.walletPath)) return readWallet(config.walletPath);
  log.info({ event: 'wallet', file: config.walletPath }, 'making a wallet, this takes seconds');
  return createWallet(config.walletPath);
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
