import { makeSchedulerClient } from '../../src/lib/arweave/scheduler-client.js';
import { makeAddressSet } from '../../src/lib/http/client-address.js';
import { listen, type Listening } from '../../src/lib/http/listen.js';
import { makeProxy } from '../../src/lib/http/proxy.js';
import type { BodyLimits } from '../../src/lib/http/read-body.js';
import { makeRedirect } from '../../src/lib/http/redirect.js';
import { makeRouterApp, type RouterGuards } from '../../src/lib/http/router-app.js';
import { makeUpstream, UPSTREAM_LIMITS, type UpstreamLimits } from '../../src/lib/http/upstream.js';
import { openLog } from '../../src/lib/observability/log.js';
import { METRICS_OFF } from '../../src/lib/observability/metrics.js';
import { makeCarrySpawn } from '../../src/lib/router/carry-spawn.js';
import { makeCircuit, type Circuit } from '../../src/lib/router/circuit.js';
import { makeDirectory, type Directory } from '../../src/lib/router/directory.js';
import {
  DISCOVER_LIMITS,
  makeDiscover,
  type DiscoverLimits,
} from '../../src/lib/router/discover.js';
import { makeLocate } from '../../src/lib/router/locate.js';
import { makeFetchOwnHeight, shareHeight } from '../../src/lib/router/own-height.js';
import { makePlaceProcess } from '../../src/lib/router/place-process.js';
import type { ListedScheduler, RouteStore } from '../../src/lib/router/ports.js';
import { listOfUrls } from '../../src/lib/router/scheduler-list.js';
import { idOf } from './memory-store.js';
import { makeTempRocksdb } from './temp-rocksdb.js';

export interface RunningRouter {
  readonly url: string;
  readonly server: Listening;
  readonly routes: RouteStore;
  readonly directory: Directory;
  readonly circuit: Circuit;
  /** The lines of the program's log so far. */
  readonly lines: Record<string, unknown>[];
  close(): Promise<void>;
}

export interface RouterAppOptions {
  readonly schedulers: readonly string[] | readonly ListedScheduler[];
  /** The store of another router, which this one shares. */
  readonly routes?: RouteStore;
  readonly forward?: 'redirect' | 'proxy';
  readonly discover?: Partial<DiscoverLimits>;
  readonly trustProxy?: readonly string[];
  readonly upstream?: Partial<UpstreamLimits>;
  readonly body?: Partial<BodyLimits>;
  readonly guards?: Partial<RouterGuards>;
  /** Between two questions for an SU's health, ms: seldom unless told, so that tests decide what is known. */
  readonly lookMs?: number;
  readonly failuresMax?: number;
  /** Of the router's own questions. */
  readonly questionMs?: number;
  /** By which a height that was told to one stands for others, ms. */
  readonly heightClock?: () => number;
}

const monotonicMs = (): number => performance.now();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Serves a router on a free port of loopback, over a store of its own in a temporary folder unless it shares one. */
export async function startRouterApp(options: RouterAppOptions): Promise<RunningRouter> {
  const { lookMs = 60_000, failuresMax = 2, questionMs = 1000 } = options;
  const lines: Record<string, unknown>[] = [];
  const log = openLog({
    level: 'debug',
    destination: {
      write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>),
    },
  });
  const temp = await makeTempRocksdb(1000);
  const store = await temp.open();
  const routes = options.routes ?? store.routes;
  const client = makeSchedulerClient({ timeoutMs: questionMs, connectionsMax: 8 });
  const circuit = makeCircuit({
    client,
    log,
    failuresMax,
    intervalMs: lookMs,
    lostIntervalMs: lookMs,
    schedule: (callback, ms) => {
      const timer = setTimeout(callback, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  });
  const directory = makeDirectory({
    store: routes,
    log,
    pause,
    retryMs: 20,
    onChange: (urls) => circuit.watch(urls),
  });
  const place = async (request: Parameters<RouteStore['place']>[0][number]) =>
    (await routes.place([request]))[0];
  const discover =
    options.discover === undefined
      ? undefined
      : makeDiscover({
          client,
          directory,
          health: circuit,
          place,
          log,
          monotonicMs,
          limits: { ...DISCOVER_LIMITS, ...options.discover },
        });
  const locate = makeLocate({
    store: routes,
    directory,
    discover,
    cacheSize: 100,
    cacheMs: 60_000,
    monotonicMs,
  });
  const isProxy = options.forward === 'proxy';
  const placeProcess = makePlaceProcess({
    locate,
    directory,
    health: circuit,
    whenAllAreDown: isProxy ? 'refuse' : 'choose',
    discover,
    place,
  });
  const upstream = makeUpstream({
    health: circuit,
    limits: { ...UPSTREAM_LIMITS, ...options.upstream },
  });
  const forward = isProxy
    ? makeProxy({
        upstream,
        carrySpawn: makeCarrySpawn({ placeProcess, store: routes, locate, client, log }),
        trusted: makeAddressSet(options.trustProxy ?? []),
      })
    : makeRedirect(placeProcess);
  const fetchHeight = makeFetchOwnHeight({
    gateway: undefined,
    client,
    directory,
    health: circuit,
  });
  const app = makeRouterApp({
    locate,
    forward,
    height: {
      blockClock: { current: () => undefined, isStale: () => false },
      fetchHeight: shareHeight(() => fetchHeight(), options.heightClock ?? monotonicMs),
    },
    address: idOf('router'),
    clock: () => 1_700_000_000_000,
    health: () => (directory.isReady() ? undefined : 'the list'),
    metrics: METRICS_OFF,
    log,
    ...(options.body === undefined ? {} : { limits: options.body }),
    guards: { checkAddress: undefined, processes: undefined, lists: () => [], ...options.guards },
  });
  const [first] = options.schedulers;
  await directory.use(
    typeof first === 'object'
      ? (options.schedulers as readonly ListedScheduler[])
      : listOfUrls(options.schedulers as readonly string[]),
  );
  await circuit.firstLook();
  const server = await listen(app, {
    host: '127.0.0.1',
    port: 0,
    log,
    timeouts: { quietMs: 5, graceMs: 50 },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    server,
    routes,
    directory,
    circuit,
    lines,
    async close() {
      await server.close(1000);
      upstream.close();
      directory.close();
      circuit.close();
      client.close();
      await store.close();
      await temp.destroy();
    },
  };
}
