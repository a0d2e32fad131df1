import { resolve } from 'node:path';
import { SuError } from '../errors.js';
import {
  freeze,
  isOn,
  readDataDir,
  readSchedulerConfig,
  readWalletPath,
  refuseProblems,
  type SchedulerConfig,
  type ServeOptions,
} from './config.js';
import { readRouterLists, type ListsConfig } from './guards-config.js';
import { parseHttpUrl } from './parse-variable.js';
import { readStore, type StoreConfig } from './store-config.js';
import { type Environment, makeVariableReader, type VariableReader } from './variable-reader.js';

/** Where the router learns its Scheduler Units: from a file, or from the command line. */
export type SchedulerSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'urls'; readonly urls: readonly string[] };

/** All that `su serve router` needs to know; frozen. */
export interface RouterConfig {
  readonly mode: 'router';
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Own wallet, made when it is missing; SUs by URL. */
  readonly local: boolean;
  /** Absolute. With `local` the file need not exist yet. */
  readonly walletPath: string;
  readonly store: StoreConfig;
  /** Absolute. */
  readonly dataDir: string;
  readonly schedulers: SchedulerSource;
  readonly forward: 'redirect' | 'proxy';
  readonly discover: boolean;
  /** Base URL of the gateway that tells the block height; undefined: the SUs are asked. */
  readonly gatewayUrl: string | undefined;
  readonly metricsEnabled: boolean;
  readonly processCacheSize: number;
  readonly blockHeightStaleMs: number;
  readonly blockHeightMaxAgeMs: number;
  /** Addresses and CIDR ranges. */
  readonly trustProxy: readonly string[];
  /** The lists that say who may write and which processes are served. */
  readonly guards: ListsConfig;
  /** Sentences about variables that are set and have no effect. */
  readonly warnings: readonly string[];
}

/** What `su routers:check` needs. */
export interface RoutesCheckConfig {
  readonly store: StoreConfig;
  readonly schedulers: SchedulerSource;
  /** Absolute. */
  readonly walletPath: string;
  readonly warnings: readonly string[];
}

/** What the command line of a router may say besides. */
export interface RouterOptions extends ServeOptions {
  /** URLs of SUs, instead of a list. */
  readonly su?: readonly string[] | undefined;
}

const LOCAL_HINT =
  'To try a router: su serve su 9001 --local, then su serve router 9000 --local --su http://127.0.0.1:9001';

/** A router and an SU that are tried out in one folder must not want the same data folder. */
const LOCAL_DATA_DIR = 'su-router-data';

/**
 * The configuration of `su serve`, of whichever mode the command line or MODE names.
 *
 * @throws SuError `invalid-config` that lists every problem found, by variable name
 */
export function readServeConfig(
  env: Environment,
  given: RouterOptions,
): SchedulerConfig | RouterConfig {
  const options = readPortAlone(given);
  const mode = (options.mode ?? env['MODE'])?.trim();
  if (mode === 'router') return readRouterConfig(env, options);
  if ((options.su ?? []).length > 0) {
    throw new SuError('invalid-config', '--su names the SUs of a router: su serve router --local');
  }
  return readSchedulerConfig(env, options);
}

/** `su serve 9000` names a port, and leaves the mode to MODE. */
function readPortAlone(options: RouterOptions): RouterOptions {
  const { mode, port } = options;
  if (port !== undefined || mode === undefined || !/^\d+$/.test(mode.trim())) return options;
  return { ...options, mode: undefined, port: mode };
}

/**
 * The configuration of `su serve router`. What concerns only a Scheduler Unit is not looked at, so that both may share
 * one environment.
 *
 * @throws SuError `invalid-config` that lists every problem found, by variable name
 */
export function readRouterConfig(env: Environment, options: RouterOptions): RouterConfig {
  const { local } = options;
  const reader = makeVariableReader({
    ...env,
    ...(local && (env['SU_DATA_DIR'] ?? '').trim() === '' ? { SU_DATA_DIR: LOCAL_DATA_DIR } : {}),
    ...(options.port === undefined ? {} : { PORT: options.port }),
  });
  const warnings: string[] = [];
  const dataDir = readDataDir(reader);
  const config: RouterConfig = {
    mode: 'router',
    host: options.host ?? (local ? '127.0.0.1' : '0.0.0.0'),
    port: reader.integer('PORT'),
    local,
    walletPath: readWalletPath(reader, local ? dataDir : undefined),
    store: readStore(reader, dataDir, warnings),
    dataDir,
    schedulers: readSource(reader, options),
    forward: readForward(reader),
    discover: isOn(reader, 'ROUTER_DISCOVER'),
    gatewayUrl: local ? undefined : readGatewayUrl(reader),
    metricsEnabled: isOn(reader, 'ENABLE_METRICS'),
    processCacheSize: reader.integer('PROCESS_CACHE_SIZE'),
    blockHeightStaleMs: reader.integer('BLOCK_HEIGHT_STALE_MS'),
    blockHeightMaxAgeMs: reader.integer('BLOCK_HEIGHT_MAX_AGE_MS'),
    trustProxy: reader.list('TRUST_PROXY'),
    guards: readRouterLists(reader, warnings),
    warnings,
  };
  refuseProblems(reader, LOCAL_HINT);
  return freeze(config);
}

/**
 * The configuration of `su routers:check`: store, list and wallet.
 *
 * @throws SuError `invalid-config`
 */
export function readRoutesCheckConfig(env: Environment): RoutesCheckConfig {
  const reader = makeVariableReader(env);
  const warnings: string[] = [];
  const config: RoutesCheckConfig = {
    store: readStore(reader, readDataDir(reader), warnings),
    schedulers: readSource(reader, { local: false }),
    walletPath: readWalletPath(reader, undefined),
    warnings,
  };
  refuseProblems(reader, undefined);
  return freeze(config);
}

function readSource(reader: VariableReader, options: RouterOptions): SchedulerSource {
  const { local, su = [] } = options;
  const path = reader.text('SCHEDULER_LIST_PATH');
  if (su.length === 0) {
    if (path === undefined) {
      const orUrls = local ? ', or --su URL for each of them' : '';
      reader.report(`SCHEDULER_LIST_PATH is not set: the file that lists the SUs${orUrls}`);
    }
    return { kind: 'file', path: resolve(path ?? '') };
  }
  if (!local) reader.report('--su is for --local: a router in production has SCHEDULER_LIST_PATH');
  if (path !== undefined) reader.report('SCHEDULER_LIST_PATH and --su both name the SUs: use one');
  const urls = su.map((text) => {
    const parsed = parseHttpUrl(text.trim());
    if ('value' in parsed) return parsed.value;
    reader.report(`--su: ${JSON.stringify(text.slice(0, 80))} is not ${parsed.expected}`);
    return '';
  });
  return { kind: 'urls', urls };
}

function readForward(reader: VariableReader): RouterConfig['forward'] {
  const text = reader.text('ROUTER_FORWARD') ?? '';
  if (text === 'redirect' || text === 'proxy') return text;
  reader.report(`ROUTER_FORWARD: ${JSON.stringify(text.slice(0, 80))} is not redirect or proxy`);
  return 'redirect';
}

function readGatewayUrl(reader: VariableReader): string | undefined {
  return reader.httpUrl('ARWEAVE_URL') ?? reader.httpUrl('GATEWAY_URL');
}
