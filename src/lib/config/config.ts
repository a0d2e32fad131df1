import { resolve } from 'node:path';
import { SuError } from '../errors.js';
import { readGuards, tenantStore, type GuardsConfig } from './guards-config.js';
import { readStore, type StoreConfig } from './store-config.js';
import { type Environment, makeVariableReader, type VariableReader } from './variable-reader.js';
import { type NameOfKind, type Variable, type VariableName, VARIABLES } from './variables.js';

/** Base URLs without a trailing slash. */
export interface GatewayConfig {
  /** As configured, with or without `/graphql` at its end. */
  readonly graphqlUrl: string;
  readonly arweaveUrl: string;
  readonly arweaveUrlList: readonly string[];
}

/** All that `su serve su` needs to know; frozen. */
export interface SchedulerConfig {
  readonly mode: 'su';
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Own gateway and bundler on loopback, kept in `dataDir`. */
  readonly local: boolean;
  /** Absolute. With `local` the file need not exist yet. */
  readonly walletPath: string;
  readonly store: StoreConfig;
  /** Absolute. Used by the embedded store and with `local`, else untouched. */
  readonly dataDir: string;
  /** Undefined with `local`. */
  readonly gateway: GatewayConfig | undefined;
  /** Undefined with `local`. */
  readonly uploadUrl: string | undefined;
  readonly cacheUrl: string | undefined;
  readonly processAssignment: boolean;
  readonly metricsEnabled: boolean;
  readonly maxReadMemoryBytes: number;
  readonly assignRetryWindowMs: number;
  readonly processCacheSize: number;
  readonly warmupDelayMs: number;
  readonly blockHeightStaleMs: number;
  readonly blockHeightMaxAgeMs: number;
  /** Addresses and CIDR ranges. */
  readonly trustProxy: readonly string[];
  readonly guards: GuardsConfig;
  /** Sentences about variables that are set and have no effect. */
  readonly warnings: readonly string[];
}

/** What the operator's commands need: the store alone. */
export interface OperatorConfig {
  readonly store: StoreConfig;
  readonly dataDir: string;
  readonly warnings: readonly string[];
}

export interface MigrationConfig {
  readonly databaseUrl: string;
}

export interface WalletConfig {
  /** Absolute. */
  readonly walletPath: string;
}

/** What the command line says; it wins over the environment. */
export interface ServeOptions {
  readonly mode?: string | undefined;
  readonly port?: string | undefined;
  readonly host?: string | undefined;
  readonly local: boolean;
}

const REPLACED_BY_LOCAL = [
  'GATEWAY_URL',
  'GRAPHQL_URL',
  'ARWEAVE_URL',
  'ARWEAVE_URL_LIST',
  'UPLOAD_NODE_URL',
  'CACHE_URL',
] as const satisfies readonly VariableName[];

const LOCAL_HINT = 'To run without any configuration: su serve su --local';

/**
 * The configuration of `su serve`, from the environment and the command line.
 *
 * @throws SuError `invalid-config` that lists every problem found, by variable name
 */
export function readSchedulerConfig(env: Environment, options: ServeOptions): SchedulerConfig {
  const reader = makeVariableReader({
    ...env,
    ...(options.mode === undefined ? {} : { MODE: options.mode }),
    ...(options.port === undefined ? {} : { PORT: options.port }),
  });
  const warnings: string[] = [];
  checkMode(reader);
  refuseWhatIsNotBuilt(reader);
  const { local } = options;
  const dataDir = readDataDir(reader);
  const processAssignment =
    local && !reader.isSet('ENABLE_PROCESS_ASSIGNMENT')
      ? true
      : isOn(reader, 'ENABLE_PROCESS_ASSIGNMENT');
  const guards = readGuards(reader, { warnings, processAssignment });
  const config: SchedulerConfig = {
    mode: 'su',
    host: options.host ?? (local ? '127.0.0.1' : '0.0.0.0'),
    port: reader.integer('PORT'),
    local,
    walletPath: readWalletPath(reader, local ? dataDir : undefined),
    store:
      guards.tenants === undefined
        ? readStore(reader, dataDir, warnings)
        : tenantStore(reader, guards.tenants),
    dataDir,
    ...(local ? localNetwork(reader, warnings) : readNetwork(reader)),
    processAssignment,
    metricsEnabled: isOn(reader, 'ENABLE_METRICS'),
    maxReadMemoryBytes: reader.integer('MAX_READ_MEMORY'),
    assignRetryWindowMs: reader.integer('ASSIGN_RETRY_WINDOW_MS'),
    processCacheSize: reader.integer('PROCESS_CACHE_SIZE'),
    warmupDelayMs: reader.integer('WARMUP_DELAY') * 1000,
    blockHeightStaleMs: reader.integer('BLOCK_HEIGHT_STALE_MS'),
    blockHeightMaxAgeMs: reader.integer('BLOCK_HEIGHT_MAX_AGE_MS'),
    trustProxy: reader.list('TRUST_PROXY'),
    guards,
    warnings,
  };
  checkAges(reader, config);
  refuseProblems(reader, LOCAL_HINT);
  return freeze(config);
}

/**
 * The configuration of the commands that work on the store alone.
 *
 * @throws SuError `invalid-config`
 */
export function readOperatorConfig(env: Environment): OperatorConfig {
  const reader = makeVariableReader(env);
  const warnings: string[] = [];
  const dataDir = readDataDir(reader);
  if (reader.isSet('MULTI_TENANT_BASE_CONN') && !reader.isSet('DATABASE_URL')) {
    reader.report(
      "DATABASE_URL is not set: with MULTI_TENANT_BASE_CONN a command works on one tenant's database, which DATABASE_URL names",
    );
  }
  const store = readStore(reader, dataDir, warnings);
  refuseProblems(reader, undefined);
  return freeze({ store, dataDir, warnings });
}

/**
 * The configuration of `su db:migrate`: the writer's database, whatever store the server uses.
 *
 * @throws SuError `invalid-config`
 */
export function readMigrationConfig(env: Environment): MigrationConfig {
  const reader = makeVariableReader(env);
  const databaseUrl = reader.postgresUrl('DATABASE_URL') ?? '';
  if (!reader.isSet('DATABASE_URL')) {
    reader.report(
      'DATABASE_URL is not set: the PostgreSQL to migrate (the embedded store needs no migration)',
    );
  }
  refuseProblems(reader, undefined);
  return freeze({ databaseUrl });
}

/**
 * The configuration of `su wallet:info`: the wallet's file alone.
 *
 * @throws SuError `invalid-config`
 */
export function readWalletConfig(
  env: Environment,
  options: { readonly local: boolean },
): WalletConfig {
  const reader = makeVariableReader(env);
  const walletPath = readWalletPath(reader, options.local ? readDataDir(reader) : undefined);
  refuseProblems(reader, 'For the wallet that su serve su --local made: su wallet:info --local');
  return freeze({ walletPath });
}

function checkMode(reader: VariableReader): void {
  const mode = reader.text('MODE') ?? '';
  if (mode !== 'su')
    reader.report(`MODE: ${JSON.stringify(mode.slice(0, 80))} is not su or router`);
}

/** What would change which writes are taken, or where they go, must never be switched on without effect. */
function refuseWhatIsNotBuilt(reader: VariableReader): void {
  const names = Object.keys(VARIABLES) as VariableName[];
  for (const name of names) {
    const { notBuilt, kind }: Variable = VARIABLES[name];
    if (notBuilt === undefined || !reader.isSet(name)) continue;
    const on = kind === 'boolean' ? reader.boolean(name as NameOfKind<'boolean'>) === true : true;
    if (on)
      reader.report(
        `${name}: ${notBuilt} is not built yet; leave it ${kind === 'boolean' ? 'off' : 'unset'}`,
      );
  }
}

/** @returns false also for what is unset or wrong; the latter is reported */
export function isOn(reader: VariableReader, name: NameOfKind<'boolean'>): boolean {
  return reader.boolean(name) === true;
}

/** Absolute. */
export function readDataDir(reader: VariableReader): string {
  return resolve(reader.text('SU_DATA_DIR') ?? '');
}

/** @param localFolder where `--local` keeps its wallet; undefined when the variable is required */
export function readWalletPath(reader: VariableReader, localFolder: string | undefined): string {
  const path = reader.text('SU_WALLET_PATH');
  if (path?.startsWith('{') === true) {
    reader.report(
      'SU_WALLET_PATH holds the wallet itself (not shown): it must name the file that holds it',
    );
  }
  if (path !== undefined) return resolve(path);
  if (localFolder !== undefined) return resolve(localFolder, 'wallet.json');
  reader.report("SU_WALLET_PATH is not set: the file of the SU's wallet (a JWK)");
  return '';
}

type NetworkConfig = Pick<SchedulerConfig, 'gateway' | 'uploadUrl' | 'cacheUrl'>;

function localNetwork(reader: VariableReader, warnings: string[]): NetworkConfig {
  const unused = REPLACED_BY_LOCAL.filter((name) => reader.isSet(name));
  if (unused.length > 0) {
    warnings.push(
      `--local uses its own gateway and bundler: ${unused.join(', ')} set and not used`,
    );
  }
  return { gateway: undefined, uploadUrl: undefined, cacheUrl: undefined };
}

function readNetwork(reader: VariableReader): NetworkConfig {
  const fallback = reader.httpUrl('GATEWAY_URL');
  const graphqlUrl = reader.httpUrl('GRAPHQL_URL') ?? fallback ?? '';
  const arweaveUrl = reader.httpUrl('ARWEAVE_URL') ?? fallback ?? '';
  if (!reader.isSet('GATEWAY_URL')) {
    const missing = (['GRAPHQL_URL', 'ARWEAVE_URL'] as const).filter((name) => !reader.isSet(name));
    if (missing.length > 0) {
      reader.report(
        `GATEWAY_URL is not set: the Arweave gateway (nor ${missing.join(' and ')}, which could stand in)`,
      );
    }
  }
  const uploadUrl = reader.httpUrl('UPLOAD_NODE_URL');
  if (!reader.isSet('UPLOAD_NODE_URL')) {
    reader.report('UPLOAD_NODE_URL is not set: the bundler that publishes what is scheduled');
  }
  return {
    gateway: { graphqlUrl, arweaveUrl, arweaveUrlList: reader.list('ARWEAVE_URL_LIST') },
    uploadUrl,
    cacheUrl: reader.httpUrl('CACHE_URL'),
  };
}

function checkAges(reader: VariableReader, config: SchedulerConfig): void {
  const { blockHeightStaleMs, blockHeightMaxAgeMs } = config;
  // Zero stands for a number that was refused already.
  if (blockHeightMaxAgeMs === 0 || blockHeightStaleMs <= blockHeightMaxAgeMs) return;
  reader.report(
    `BLOCK_HEIGHT_STALE_MS: "${blockHeightStaleMs}" must not exceed BLOCK_HEIGHT_MAX_AGE_MS, "${blockHeightMaxAgeMs}"`,
  );
}

/** One problem makes one line; several stand below a heading, so that none is read over. */
export function refuseProblems(reader: VariableReader, hint: string | undefined): void {
  const problems = [...reader.problems];
  if (problems.length === 0) return;
  const heading = `the configuration has ${problems.length} problems`;
  const lines =
    problems.length === 1 ? [...problems] : [heading, ...problems.map((problem) => `  ${problem}`)];
  if (hint !== undefined) lines.push(hint);
  throw new SuError('invalid-config', lines.join('\n'), { details: { problems } });
}

/** Freezes a configuration, parts included. */
export function freeze<Value extends object>(value: Value): Readonly<Value> {
  for (const part of Object.values(value)) {
    if (typeof part === 'object' && part !== null) freeze(part as object);
  }
  return Object.freeze(value);
}
