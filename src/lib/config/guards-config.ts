import { resolve } from 'node:path';
import type { StoreConfig } from './store-config.js';
import type { VariableReader } from './variable-reader.js';
import type { VariableName } from './variables.js';

/** The lists that a server fetches; undefined: not switched on. */
export interface ListsConfig {
  readonly processWhitelist:
    | {
        readonly url: string;
        /** Our own on the list; undefined for a router, which serves the whole list. */
        readonly ownUrl: string | undefined;
      }
    | undefined;
  readonly addressWhitelistUrl: string | undefined;
}

/** What may be put before the writes and reads of `su serve su`; undefined: not switched on. */
export interface GuardsConfig extends ListsConfig {
  readonly routerCheck:
    | {
        readonly routerUrl: string;
        /** A number, or a URL. */
        readonly assignment: string;
      }
    | undefined;
  readonly sizeLimit:
    | {
        readonly bytesMax: number;
        readonly owners: readonly string[];
        readonly fromProcesses: readonly string[];
        readonly fromOwners: readonly string[];
      }
    | undefined;
  readonly deepHashes: { readonly version: string; readonly recalcLimit: number } | undefined;
  /** 0: no limit. */
  readonly queueMaxPerProcess: number;
  /** 0: no limit. */
  readonly queueMaxPerOwner: number;
  /** One database for each tenant in place of the one store; the connection URLs lack its name. */
  readonly tenants: TenantsConfig | undefined;
}

export interface TenantsConfig {
  readonly baseUrl: string;
  readonly baseReaderUrl: string;
  /** Absolute; the disk copies of the tenants are below it. Undefined: there are none. */
  readonly baseDataDir: string | undefined;
  /** Stores open at once at most. */
  readonly openMax: number;
}

/** Reports contradictions among the guards' variables to the reader; adds to `warnings` what has no effect. */
export function readGuards(
  reader: VariableReader,
  { warnings, processAssignment }: { warnings: string[]; readonly processAssignment: boolean },
): GuardsConfig {
  const processWhitelist = readProcessWhitelist(reader);
  const guards: GuardsConfig = {
    routerCheck: readRouterCheck(reader),
    processWhitelist,
    addressWhitelistUrl: reader.documentUrl('IP_WHITELIST_URL'),
    sizeLimit: readSizeLimit(reader),
    deepHashes: readDeepHashes(reader),
    queueMaxPerProcess: reader.integer('QUEUE_MAX_PER_PROCESS'),
    queueMaxPerOwner: reader.integer('QUEUE_MAX_PER_OWNER'),
    tenants: readTenants(reader, warnings, processWhitelist !== undefined),
  };
  if (guards.routerCheck !== undefined && !processAssignment) {
    warnings.push(
      'ENABLE_ROUTER_CHECK is on and has no effect: it holds with ENABLE_PROCESS_ASSIGNMENT',
    );
  }
  warnOfSockets(reader, guards, warnings);
  return guards;
}

/** The lists of a router: who may write, and which processes it serves. */
export function readRouterLists(reader: VariableReader, warnings: string[]): ListsConfig {
  const url = reader.documentUrl('PROCESS_WHITELIST_URL');
  const lists = {
    processWhitelist: url === undefined ? undefined : { url, ownUrl: undefined },
    addressWhitelistUrl: reader.documentUrl('IP_WHITELIST_URL'),
  };
  warnOfSockets(reader, lists, warnings);
  return lists;
}

function warnOfSockets(
  reader: VariableReader,
  { addressWhitelistUrl }: ListsConfig,
  warnings: string[],
): void {
  if (addressWhitelistUrl === undefined || reader.isSet('TRUST_PROXY')) return;
  warnings.push(
    'IP_WHITELIST_URL is set without TRUST_PROXY: the addresses of sockets are compared, and headers such as ' +
      'X-Real-IP are not believed; behind a proxy, name it in TRUST_PROXY',
  );
}

/** The store that stands for all tenants: where connections go, but for the name of a database. */
export function tenantStore(reader: VariableReader, tenants: TenantsConfig): StoreConfig {
  return {
    kind: 'postgres',
    writerUrl: tenants.baseUrl,
    readerUrl: tenants.baseReaderUrl,
    writeConnections: reader.integer('DB_WRITE_CONNECTIONS'),
    readConnections: reader.integer('DB_READ_CONNECTIONS'),
  };
}

function readRouterCheck(reader: VariableReader): GuardsConfig['routerCheck'] {
  const routerUrl = reader.httpUrl('ROUTER_URL');
  const assignment = reader.text('ASSIGNMENT');
  if (reader.boolean('ENABLE_ROUTER_CHECK') !== true) return undefined;
  requireSet(reader, 'ENABLE_ROUTER_CHECK', ['ROUTER_URL', 'ASSIGNMENT']);
  if (assignment !== undefined && !/^\d{1,9}$/.test(assignment) && !isHttpUrl(assignment)) {
    reader.report(
      `ASSIGNMENT: ${JSON.stringify(assignment.slice(0, 80))} is neither a number N, for https://suN.…, nor a URL`,
    );
  }
  if (routerUrl === undefined || assignment === undefined) return undefined;
  return { routerUrl, assignment };
}

function readProcessWhitelist(reader: VariableReader): GuardsConfig['processWhitelist'] {
  const url = reader.documentUrl('PROCESS_WHITELIST_URL');
  const ownUrl = reader.httpUrl('URL');
  if (!reader.isSet('PROCESS_WHITELIST_URL')) return undefined;
  requireSet(reader, 'PROCESS_WHITELIST_URL', ['URL']);
  return url === undefined || ownUrl === undefined ? undefined : { url, ownUrl };
}

function readSizeLimit(reader: VariableReader): GuardsConfig['sizeLimit'] {
  const limit = {
    bytesMax: reader.integer('MAX_MESSAGE_SIZE_BYTES'),
    owners: reader.list('MAX_SIZE_OWNER_WHITELIST'),
    fromProcesses: reader.list('MAX_SIZE_FROM_WHITELIST'),
    fromOwners: reader.list('MAX_SIZE_FROM_OWNER_WHITELIST'),
  };
  return reader.boolean('ENABLE_MESSAGE_MAX_SIZE') === true ? limit : undefined;
}

function readDeepHashes(reader: VariableReader): GuardsConfig['deepHashes'] {
  const version = reader.text('CURRENT_DEEPHASH_VERSION') ?? '';
  const recalcLimit = reader.integer('DEEPHASH_RECALC_LIMIT');
  return reader.boolean('ENABLE_DEEP_HASH_CHECKS') === true ? { version, recalcLimit } : undefined;
}

function readTenants(
  reader: VariableReader,
  warnings: string[],
  hasWhitelist: boolean,
): TenantsConfig | undefined {
  const baseUrl = reader.postgresUrl('MULTI_TENANT_BASE_CONN');
  const baseReaderUrl = reader.postgresUrl('MULTI_TENANT_BASE_READ_CONN');
  const dataDir = reader.text('MULTI_TENANT_BASE_DATA_DIR');
  const openMax = reader.integer('MULTI_TENANT_OPEN_MAX');
  if (!reader.isSet('MULTI_TENANT_BASE_CONN')) {
    const alone = (['MULTI_TENANT_BASE_READ_CONN', 'MULTI_TENANT_BASE_DATA_DIR'] as const).filter(
      (name) => reader.isSet(name),
    );
    for (const name of alone) {
      reader.report(`${name} is set without MULTI_TENANT_BASE_CONN: there are no tenants`);
    }
    return undefined;
  }
  if (!hasWhitelist && !reader.isSet('PROCESS_WHITELIST_URL')) {
    reader.report(
      'MULTI_TENANT_BASE_CONN needs PROCESS_WHITELIST_URL, which is not set: its list says which tenant a process has',
    );
  }
  if (reader.boolean('USE_LOCAL_STORE') === true) {
    reader.report(
      'USE_LOCAL_STORE and MULTI_TENANT_BASE_CONN are both set: tenants are kept in PostgreSQL',
    );
  }
  const unused = (['DATABASE_URL', 'DATABASE_READ_URL'] as const).filter((name) =>
    reader.isSet(name),
  );
  if (unused.length > 0) {
    warnings.push(`MULTI_TENANT_BASE_CONN is set: ${unused.join(', ')} set and not used`);
  }
  const disk = reader.boolean('USE_DISK') === true;
  if (dataDir !== undefined && !disk) {
    warnings.push('MULTI_TENANT_BASE_DATA_DIR is set and has no effect without USE_DISK');
  }
  if (dataDir === undefined && disk) {
    reader.report(
      'USE_DISK needs MULTI_TENANT_BASE_DATA_DIR, which is not set: each tenant has a disk copy in a folder below it',
    );
  }
  const base = baseUrl ?? '';
  return {
    baseUrl: base,
    baseReaderUrl: baseReaderUrl ?? base,
    baseDataDir: dataDir === undefined || !disk ? undefined : resolve(dataDir),
    openMax,
  };
}

function requireSet(
  reader: VariableReader,
  needing: VariableName,
  needed: readonly VariableName[],
): void {
  for (const name of needed) {
    if (!reader.isSet(name)) reader.report(`${needing} needs ${name}, which is not set`);
  }
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}
