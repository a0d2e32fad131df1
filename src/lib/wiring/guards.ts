import { makeListClient } from '../arweave/list-client.js';
import { makeRouterClient } from '../arweave/router-client.js';
import type { SchedulerConfig } from '../config/config.js';
import type { ListsConfig } from '../config/guards-config.js';
import {
  makeAddressGuard,
  makeAddressSet,
  makeClientAddress,
  parseAddressList,
  type AddressGuard,
  type AddressSet,
} from '../http/client-address.js';
import type { RouterGuards } from '../http/router-app.js';
import type { HttpGuards } from '../http/scheduler-app.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import { makeDeepHashGuard, type DeepHashGuard } from '../scheduler/deep-hash-guard.js';
import { makeFairShares } from '../scheduler/fair-shares.js';
import { makeGuardedReader } from '../scheduler/guarded-reader.js';
import type { Guards } from '../scheduler/guards.js';
import type { Gateway, LogReader } from '../scheduler/ports.js';
import {
  makeProcessGuard,
  parseProcessWhitelist,
  type ProcessWhitelist,
} from '../scheduler/process-whitelist.js';
import { openRecompute } from '../scheduler/recompute-deep-hashes.js';
import {
  openRefreshedList,
  type ListState,
  type RefreshedList,
} from '../scheduler/refreshed-list.js';
import { makeRouterCheck } from '../scheduler/router-check.js';
import { makeSizeLimit } from '../scheduler/size-limit.js';
import { delayByTimer } from '../uploader/delay.js';
import { monotonicMs } from './clocks.js';
import type { ClosingStack } from './closing-stack.js';
import type { SchedulerStore } from './store.js';

const MIB = 1024 * 1024;
const ADDRESSES = { intervalMs: 30_000, timeoutMs: 5_000, bytesMax: 16 * MIB } as const;
const PROCESSES = { intervalMs: 10_000, timeoutMs: 8_000, bytesMax: 64 * MIB } as const;
const ROUTER_TIMEOUT_MS = 10_000;
const LOOK_UPS_AT_ONCE = 256;
const RECOMPUTE_RETRY_MS = 60_000;

interface ListOptions<Value> {
  readonly name: string;
  readonly what: string;
  readonly parse: (bytes: Uint8Array) => Value;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

/** The lists that are fetched; undefined: not configured. */
export interface OpenLists {
  readonly addresses: RefreshedList<AddressSet> | undefined;
  readonly processes: RefreshedList<ProcessWhitelist> | undefined;
  readonly states: () => readonly ListState[];
}

/** Begins to fetch the lists; comes before the store, which the list of processes may be about. */
export function openLists(
  { guards }: { readonly guards: ListsConfig },
  { log, closing }: { readonly log: Log; readonly closing: ClosingStack },
): OpenLists {
  const open = <Value>(url: string, list: ListOptions<Value>): RefreshedList<Value> => {
    const client = closing.add(makeListClient({ url, ...list }));
    const report =
      (level: 'warn' | 'info') =>
      (message: string, details: Readonly<Record<string, unknown>>): void =>
        log[level]({ event: 'list', ...details }, message);
    return closing.add(
      openRefreshedList({
        ...list,
        fetch: (signal) => client.fetch(signal),
        monotonicMs,
        pause: delayByTimer,
        onWarning: report('warn'),
        onLoaded: report('info'),
      }),
    );
  };
  const { addressWhitelistUrl, processWhitelist } = guards;
  const addresses =
    addressWhitelistUrl === undefined
      ? undefined
      : open(addressWhitelistUrl, {
          name: 'IP_WHITELIST_URL',
          what: 'the list of addresses that may write',
          parse: parseAddressList,
          ...ADDRESSES,
        });
  const processes =
    processWhitelist === undefined
      ? undefined
      : open(processWhitelist.url, {
          name: 'PROCESS_WHITELIST_URL',
          what: 'the list of processes that are served',
          parse: (bytes) => parseProcessWhitelist(bytes, processWhitelist.ownUrl),
          ...PROCESSES,
        });
  const lists = [addresses, processes].filter((list) => list !== undefined);
  return { addresses, processes, states: () => lists.map((list) => list.state()) };
}

/** What stands before writes and reads. */
export interface OpenGuards {
  readonly write: Guards;
  readonly http: HttpGuards;
  /** Finds nothing of processes that are not served. */
  readonly reader: LogReader;
}

export interface GuardParts {
  readonly lists: OpenLists;
  readonly opened: Pick<SchedulerStore, 'reader' | 'deepHashes' | 'groupOf'>;
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly closing: ClosingStack;
}

/** Opens what is configured. */
export function openGuards(config: SchedulerConfig, parts: GuardParts): OpenGuards {
  const { lists, opened, metrics, closing } = parts;
  const { routerCheck, sizeLimit, queueMaxPerProcess, queueMaxPerOwner } = config.guards;
  const processes = lists.processes && makeProcessGuard(lists.processes);
  const router =
    routerCheck &&
    closing.add(makeRouterClient({ url: routerCheck.routerUrl, timeoutMs: ROUTER_TIMEOUT_MS }));
  metrics.watch({ lists: lists.states });
  return {
    write: {
      processes,
      checkSize: sizeLimit && makeSizeLimit(sizeLimit),
      checkPlace: router && routerCheck && makeRouterCheck(router, routerCheck.assignment),
      deepHashes: openDeepHashes(config, parts),
      shares: makeFairShares({ perProcess: queueMaxPerProcess, perOwner: queueMaxPerOwner }),
    },
    http: {
      checkAddress: openAddressGuard(config, lists),
      checkRead: processes && ((processId) => processes.checkRead(processId)),
      lists: lists.states,
    },
    reader: lists.processes ? makeGuardedReader(opened.reader, lists.processes) : opened.reader,
  };
}

/** What stands before the requests of a router. */
export function openRouterGuards(
  config: { readonly trustProxy: readonly string[] },
  { lists, metrics }: { readonly lists: OpenLists; readonly metrics: Metrics },
): RouterGuards {
  metrics.watch({ lists: lists.states });
  return {
    checkAddress: openAddressGuard(config, lists),
    processes: lists.processes && makeProcessGuard(lists.processes, 'router'),
    lists: lists.states,
  };
}

function openAddressGuard(
  { trustProxy }: { readonly trustProxy: readonly string[] },
  { addresses }: OpenLists,
): AddressGuard | undefined {
  return addresses && makeAddressGuard(addresses, makeClientAddress(makeAddressSet(trustProxy)));
}

function openDeepHashes(
  { guards, processCacheSize }: SchedulerConfig,
  { opened, gateway, log, closing }: GuardParts,
): DeepHashGuard | undefined {
  if (guards.deepHashes === undefined) return undefined;
  const { version, recalcLimit } = guards.deepHashes;
  const store = opened.deepHashes;
  const guard: DeepHashGuard = makeDeepHashGuard({
    store,
    groupOf: opened.groupOf,
    version,
    lookUpsAtOnce: LOOK_UPS_AT_ONCE,
    onProcess: (processId) => recompute.touch(processId),
  });
  const recompute = closing.add(
    openRecompute({
      store,
      hash: (content) => guard.hash(content),
      gateway,
      version,
      entriesMax: recalcLimit,
      processesMax: processCacheSize,
      retryMs: RECOMPUTE_RETRY_MS,
      monotonicMs,
      onDone: (processId, details) =>
        log.debug({ event: 'deep-hashes-recomputed', processId, ...details }),
      onFailed: (processId, err) =>
        log.warn({ event: 'deep-hashes-not-recomputed', processId, err }),
    }),
  );
  return guard;
}
