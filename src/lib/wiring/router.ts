import { existsSync } from 'node:fs';
import { makeGateway } from '../arweave/gateway.js';
import { makeSchedulerClient } from '../arweave/scheduler-client.js';
import { openSigner } from '../arweave/signer.js';
import { createWallet, readWallet, type Wallet } from '../arweave/wallet.js';
import { redactUrl } from '../config/redact-url.js';
import type { RouterConfig } from '../config/router-config.js';
import { SuError } from '../errors.js';
import { makeAddressSet } from '../http/client-address.js';
import type { Forward } from '../http/forward.js';
import { listen } from '../http/listen.js';
import { makeProxy } from '../http/proxy.js';
import { makeRedirect } from '../http/redirect.js';
import { makeRouterApp } from '../http/router-app.js';
import { makeUpstream, UPSTREAM_LIMITS } from '../http/upstream.js';
import { openLog, SERVER_LOG, type Log } from '../observability/log.js';
import { openMetrics, type Metrics } from '../observability/metrics.js';
import { routeCalls } from '../operator/route-calls.js';
import { openOperatorSocket } from '../operator/socket-server.js';
import { makeCarrySpawn } from '../router/carry-spawn.js';
import { makeCircuit, type Circuit } from '../router/circuit.js';
import { makeDirectory, type Directory } from '../router/directory.js';
import { DISCOVER_LIMITS, makeDiscover, type Discover } from '../router/discover.js';
import { makeLocate, type Locate } from '../router/locate.js';
import { makeFetchOwnHeight, shareHeight } from '../router/own-height.js';
import { makePlaceProcess } from '../router/place-process.js';
import type { Placed, PlaceRequest, SchedulerClient } from '../router/ports.js';
import { batchPerTick } from '../batch-per-tick.js';
import { openBlockClock } from '../scheduler/block-clock.js';
import { prepareDataFolder } from '../storage/rocksdb/data-folder.js';
import { delayByTimer } from '../uploader/delay.js';
import { clock, monotonicMs } from './clocks.js';
import { ClosingStack, closeOnce } from './closing-stack.js';
import { openLists, openRouterGuards } from './guards.js';
import type { OpenScheduler } from './scheduler.js';
import { readSchedulerList } from './scheduler-list.js';
import { openStore, type OpenStore } from './store.js';

/*
 * Everything of a router that has a lifetime is opened here, in the order in which it is needed, and closed in reverse.
 */

/** A router that runs. */
export interface OpenRouter extends OpenScheduler {
  /** Reads the list of SUs again and brings it into force; a list that is wrong is logged and changes nothing. */
  reload(): Promise<void>;
}

const HTTP_DRAIN_MS = 15_000;
const GATEWAY_TIMEOUT_MS = 10_000;
const BLOCK_HEIGHT_INTERVAL_MS = 5_000;
/** For the questions of the router's own; what it carries for clients has other limits. */
const QUESTION_TIMEOUT_MS = 2_000;
const QUESTION_CONNECTIONS = 16;
const PLACEMENT_CACHE_MS = 60_000;
const LIST_RETRY_MS = 1_000;
const PLACED_TOGETHER_MAX = 200;
const CIRCUIT = { failuresMax: 2, intervalMs: 2_000, lostIntervalMs: 500 } as const;

/**
 * Opens everything that `su serve router` needs and listens. A list that is wrong is refused here; a database that is
 * away is waited for in the background.
 *
 * @throws SuError `invalid-config`, `invalid-wallet`, `folder-refused`, `folder-in-use`
 */
export async function openRouter(config: RouterConfig): Promise<OpenRouter> {
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
  config: RouterConfig,
  log: Log,
  closing: ClosingStack,
): Promise<OpenRouter> {
  for (const warning of config.warnings) log.warn({ event: 'config', warning });
  const metrics = await openMetrics({ enabled: config.metricsEnabled });
  const list = await readSchedulerList(config.schedulers);
  const guards = openRouterGuards(config, { lists: openLists(config, { log, closing }), metrics });
  const opened = closing.add(await openStore(config.store, { log }));
  const { address } = await openSigner(await openWallet(config, log));
  const routing = openRouting(config, { opened, log, closing });
  const inForce = routing.directory.use(list);
  // A database that is away may come later; whatever else is wrong ends the start.
  await Promise.race([inForce, waitUntilAsked(opened)]);
  inForce.catch((err: unknown) => log.error({ event: 'scheduler-list-failed', err }));
  const height = openOwnHeight(config, routing, { log, closing });
  await openRouteSocket(config, { opened, log, closing });

  const missing = (): string | undefined =>
    opened.missing() ??
    (routing.directory.isReady() ? undefined : 'the list of Scheduler Units is not stored yet');
  const app = makeRouterApp({
    locate: routing.locate,
    forward: routing.forward,
    height,
    address,
    clock,
    health: missing,
    metrics,
    log,
    guards,
  });
  const listening = await listen(app, { host: config.host, port: config.port, log });
  closing.add({ close: () => listening.close(HTTP_DRAIN_MS) });
  watchHeight(metrics, height);

  const host = config.host === '0.0.0.0' || config.host === '::' ? '127.0.0.1' : config.host;
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${listening.port}`;
  log.info({ event: 'serving', url, address });
  const { closed, close } = closeOnce(closing);
  return {
    url,
    describe: describe(config, { url, address, schedulers: list.length }),
    closed,
    close,
    reload: makeReload(config, routing.directory, log),
  };
}

/** An embedded store takes the list at once; PostgreSQL gets its chance, and then the server listens without it. */
async function waitUntilAsked(opened: OpenStore): Promise<void> {
  if (opened.missing() === undefined) return new Promise(() => undefined);
  await delayByTimer(2_000, new AbortController().signal);
}

interface Routing {
  readonly directory: Directory;
  readonly circuit: Circuit;
  readonly client: SchedulerClient;
  readonly locate: Locate;
  readonly forward: Forward;
}

function openRouting(
  config: RouterConfig,
  { opened, log, closing }: { opened: OpenStore; log: Log; closing: ClosingStack },
): Routing {
  const { routes } = opened;
  const client = closing.add(
    makeSchedulerClient({ timeoutMs: QUESTION_TIMEOUT_MS, connectionsMax: QUESTION_CONNECTIONS }),
  );
  const circuit = closing.add(makeCircuit({ client, log, ...CIRCUIT, schedule: scheduleByTimer }));
  const directory = closing.add(
    makeDirectory({
      store: routes,
      log,
      pause: delayByTimer,
      retryMs: LIST_RETRY_MS,
      onChange: (urls) => circuit.watch(urls),
    }),
  );
  const place = batchPerTick<PlaceRequest, Placed | undefined>(
    (requests) => routes.place(requests),
    PLACED_TOGETHER_MAX,
  );
  const discover: Discover | undefined = config.discover
    ? makeDiscover({
        client,
        directory,
        health: circuit,
        place,
        log,
        monotonicMs,
        limits: DISCOVER_LIMITS,
      })
    : undefined;
  const locate = makeLocate({
    store: routes,
    directory,
    discover,
    cacheSize: config.processCacheSize,
    cacheMs: PLACEMENT_CACHE_MS,
    monotonicMs,
  });
  const isProxy = config.forward === 'proxy';
  const placeProcess = makePlaceProcess({
    locate,
    directory,
    health: circuit,
    whenAllAreDown: isProxy ? 'refuse' : 'choose',
    discover,
    place,
  });
  if (!isProxy) return { directory, circuit, client, locate, forward: makeRedirect(placeProcess) };
  const upstream = closing.add(makeUpstream({ health: circuit, limits: UPSTREAM_LIMITS }));
  const carrySpawn = makeCarrySpawn({ placeProcess, store: routes, locate, client, log });
  const trusted = makeAddressSet(config.trustProxy);
  const forward = makeProxy({ upstream, carrySpawn, trusted });
  return { directory, circuit, client, locate, forward };
}

function openOwnHeight(
  config: RouterConfig,
  { client, directory, circuit }: Routing,
  { log, closing }: { log: Log; closing: ClosingStack },
): OwnHeight {
  const { gatewayUrl } = config;
  const gateway =
    gatewayUrl === undefined
      ? undefined
      : closing.add(
          makeGateway({
            graphqlUrl: gatewayUrl,
            arweaveUrl: gatewayUrl,
            arweaveUrls: [gatewayUrl],
            timeoutMs: GATEWAY_TIMEOUT_MS,
          }),
        );
  const fetchHeight = makeFetchOwnHeight({ gateway, client, directory, health: circuit });
  const blockClock = closing.add(
    openBlockClock({
      gateway: { fetchBlockHeight: fetchHeight },
      monotonicMs,
      intervalMs: BLOCK_HEIGHT_INTERVAL_MS,
      pause: delayByTimer,
      staleMs: config.blockHeightStaleMs,
      ageMaxMs: config.blockHeightMaxAgeMs,
      // At the start no SU may be known yet, and `/timestamp` says so itself: no line of the log is worth that.
      onWarning: (message, details) => {
        if (directory.isReady()) log.warn({ event: 'block-height', ...details }, message);
      },
      onRecovered: (details) => log.info({ event: 'block-height', ...details }),
    }),
  );
  return { blockClock, fetchHeight: shareHeight(() => fetchHeight(), monotonicMs) };
}

interface OwnHeight {
  readonly blockClock: ReturnType<typeof openBlockClock>;
  readonly fetchHeight: () => Promise<number>;
}

function watchHeight(metrics: Metrics, { blockClock }: OwnHeight): void {
  metrics.watch({ blockHeight: () => blockClock.current() });
}

/** The wallet is the SUs' own: a router signs nothing, it only says whose cluster this is. */
async function openWallet(config: RouterConfig, log: Log): Promise<Wallet> {
  if (!config.local || existsSync(config.walletPath)) return readWallet(config.walletPath);
  await prepareDataFolder(config.dataDir);
  log.info({ event: 'wallet', file: config.walletPath }, 'making a wallet, this takes seconds');
  return createWallet(config.walletPath);
}

async function openRouteSocket(
  { store }: RouterConfig,
  { opened, log, closing }: { opened: OpenStore; log: Log; closing: ClosingStack },
): Promise<void> {
  if (store.kind !== 'embedded') return;
  closing.add(
    await openOperatorSocket({
      path: store.socketPath,
      calls: routeCalls(opened.routes),
      onError: (err) => log.error({ event: 'operator-socket', err }),
    }),
  );
}

/** Signals may come faster than lists are read: each reads the file anew, and the last one read is in force. */
function makeReload(config: RouterConfig, directory: Directory, log: Log): () => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  const read = async (): Promise<void> => {
    try {
      const list = await readSchedulerList(config.schedulers);
      // Not waited for: with the store away it may take long, and a later list takes its place.
      directory
        .use(list)
        .catch((err: unknown) => log.error({ event: 'scheduler-list-failed', err }));
    } catch (error) {
      const reason = error instanceof SuError ? error.message : String(error);
      log.error(
        { event: 'scheduler-list-refused', reason },
        'the list is wrong: the one before stays in force',
      );
    }
  };
  return () => (last = last.then(read));
}

function scheduleByTimer(callback: () => void, ms: number): { cancel(): void } {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return { cancel: () => clearTimeout(timer) };
}

function describe(
  config: RouterConfig,
  parts: { url: string; address: string; schedulers: number },
): readonly string[] {
  const { url, address, schedulers } = parts;
  const { store } = config;
  const units = `${schedulers} Scheduler Unit${schedulers === 1 ? '' : 's'}`;
  const source = config.schedulers.kind === 'file' ? ` listed in ${config.schedulers.path}` : '';
  return [
    `Router of ${address}`,
    `  serving   ${url}`,
    `  for       ${units}${source}`,
    `  forwards  by ${config.forward}${config.discover ? ', and asks the SUs for unknown processes' : ''}`,
    store.kind === 'embedded'
      ? `  store     RocksDB in ${store.folder}`
      : `  store     PostgreSQL at ${redactUrl(store.writerUrl)}`,
  ];
}
