/** How a variable's text is read; the parser of each kind is in `parse-variable.ts`. */
export type VariableKind =
  | 'path'
  | 'text'
  | 'boolean'
  | 'integer'
  | 'mode'
  | 'http-url'
  | 'postgres-url'
  | 'list'
  | 'http-url-list'
  | 'address-list';

export interface Variable {
  readonly kind: VariableKind;
  /** What holds when the variable is unset, as its own text would be; absent: nothing. */
  readonly default?: string;
  /** What the README says of the default when it is not a fixed text. */
  readonly defaultNote?: string;
  readonly min?: number;
  readonly max?: number;
  readonly meaning: string;
  /** Names a part of the program that does not exist yet: switching it on is refused, never ignored. */
  readonly notBuilt?: string;
}

const CONNECTIONS = { kind: 'integer', default: '10', min: 1, max: 1000 } as const;
const DAY_MS = 86_400_000;

/**
 * Every environment variable the program reads. The configuration table of the README is made from this one
 * and compared with it by a test.
 */
export const VARIABLES = {
  SU_WALLET_PATH: {
    kind: 'path',
    defaultNote: 'required; with `--local` `wallet.json` in `SU_DATA_DIR`',
    meaning: "file of the SU's wallet: the JWK of an RSA-4096 key",
  },
  DATABASE_URL: {
    kind: 'postgres-url',
    meaning: 'PostgreSQL that holds the log (`postgres://…`); unset: the embedded store',
  },
  DATABASE_READ_URL: {
    kind: 'postgres-url',
    defaultNote: '`DATABASE_URL`',
    meaning: 'read replica for pages; it may lag',
  },
  DB_WRITE_CONNECTIONS: { ...CONNECTIONS, meaning: 'connections to the writer at most' },
  DB_READ_CONNECTIONS: { ...CONNECTIONS, meaning: 'connections to the reader at most' },
  USE_LOCAL_STORE: {
    kind: 'boolean',
    defaultNote: 'true when `DATABASE_URL` is unset',
    meaning: 'keep the log in the embedded store; `true` wins over `DATABASE_URL`',
  },
  SU_DATA_DIR: {
    kind: 'path',
    default: './su-data',
    meaning: 'folder of the embedded store and of what `--local` keeps',
  },
  SU_FILE_DB_DIR: {
    kind: 'path',
    meaning:
      'folder of the Rust implementation, which this one cannot read: refused for an embedded store without `SU_DATA_DIR`',
  },
  SU_INDEX_DB_DIR: { kind: 'path', meaning: 'the same as `SU_FILE_DB_DIR`' },
  USE_DISK: {
    kind: 'boolean',
    default: 'false',
    meaning: 'a disk copy beside PostgreSQL, in `SU_DATA_DIR`',
    notBuilt: 'the disk copy beside PostgreSQL',
  },
  GATEWAY_URL: {
    kind: 'http-url',
    defaultNote: 'required unless `GRAPHQL_URL` and `ARWEAVE_URL` are set',
    meaning: 'Arweave gateway: the fallback of the next two',
  },
  GRAPHQL_URL: {
    kind: 'http-url',
    defaultNote: '`GATEWAY_URL`',
    meaning: 'GraphQL; `/graphql` is appended when it is not there',
  },
  ARWEAVE_URL: {
    kind: 'http-url',
    defaultNote: '`GATEWAY_URL`',
    meaning: 'node access: `/info`, `/tx/{id}/status`, `/raw/{id}`',
  },
  ARWEAVE_URL_LIST: {
    kind: 'http-url-list',
    default: 'https://arweave.net,https://g8way.io',
    meaning: "gateways one of which must know a process's `On-Boot` transaction",
  },
  UPLOAD_NODE_URL: {
    kind: 'http-url',
    defaultNote: 'required',
    meaning: 'bundler that what is scheduled is published to (`/tx/arweave`)',
  },
  CACHE_URL: {
    kind: 'http-url',
    meaning: 'second place to upload to, best effort',
  },
  MODE: {
    kind: 'mode',
    default: 'su',
    meaning: '`su` or `router`, when the command line does not say',
  },
  PORT: {
    kind: 'integer',
    default: '9000',
    min: 0,
    max: 65_535,
    meaning: 'port to listen on, when the command line does not say; 0: any free one',
  },
  ENABLE_PROCESS_ASSIGNMENT: {
    kind: 'boolean',
    default: 'false',
    defaultNote: 'false; with `--local` true',
    meaning: 'a new process takes nonce 0 itself',
  },
  ENABLE_METRICS: { kind: 'boolean', default: 'false', meaning: 'serve `/metrics`' },
  MAX_READ_MEMORY: {
    kind: 'integer',
    default: '67108864',
    min: 1,
    max: 17_179_869_184,
    meaning: 'bytes of JSON in a page at most',
  },
  ASSIGN_RETRY_WINDOW_MS: {
    kind: 'integer',
    default: '20000',
    min: 0,
    max: DAY_MS,
    meaning: 'ms in which the same assign again gives the first assignment; 0: off',
  },
  PROCESS_CACHE_SIZE: {
    kind: 'integer',
    default: '20000',
    min: 1,
    max: 10_000_000,
    meaning: 'processes held in memory at most',
  },
  WARMUP_DELAY: {
    kind: 'integer',
    default: '0',
    min: 0,
    max: 86_400,
    meaning: 'seconds after the start during which writes get 503 with `Retry-After`',
  },
  BLOCK_HEIGHT_STALE_MS: {
    kind: 'integer',
    default: '60000',
    min: 1,
    max: 7 * DAY_MS,
    meaning: 'age in ms of the block height from which `/timestamp` and the log say so',
  },
  BLOCK_HEIGHT_MAX_AGE_MS: {
    kind: 'integer',
    default: '3600000',
    min: 1,
    max: 7 * DAY_MS,
    meaning: 'age in ms of the block height from which writes get 503',
  },
  TRUST_PROXY: {
    kind: 'address-list',
    meaning: 'addresses or CIDRs of proxies whose `X-Real-IP` and `X-Forwarded-For` are believed',
  },
  SCHEDULER_LIST_PATH: {
    kind: 'path',
    meaning: "the router's list of SUs; not used in `su` mode",
  },
  ROUTER_FORWARD: {
    kind: 'text',
    default: 'redirect',
    meaning: '`redirect` or `proxy`, router mode; not used in `su` mode',
  },
  ROUTER_DISCOVER: {
    kind: 'boolean',
    default: 'false',
    meaning: 'router mode; not used in `su` mode',
  },
  MIGRATION_BATCH_SIZE: {
    kind: 'integer',
    default: '1000',
    min: 1,
    max: 1_000_000,
    meaning: 'rows a fetch of `migrate-disk`, which is not built yet',
  },
  ENABLE_DEEP_HASH_CHECKS: {
    kind: 'boolean',
    default: 'false',
    meaning: 'refuse a message of the same content as an earlier one',
    notBuilt: 'de-duplication by deep hash',
  },
  CURRENT_DEEPHASH_VERSION: {
    kind: 'text',
    default: '1.0',
    meaning: 'only with `ENABLE_DEEP_HASH_CHECKS`',
  },
  DEEPHASH_RECALC_LIMIT: {
    kind: 'integer',
    default: '400',
    min: 0,
    max: 1_000_000,
    meaning: 'only with `ENABLE_DEEP_HASH_CHECKS`',
  },
  ENABLE_ROUTER_CHECK: {
    kind: 'boolean',
    default: 'false',
    meaning: 'refuse to spawn what the router has placed on another SU',
    notBuilt: 'the check with the router',
  },
  ROUTER_URL: { kind: 'http-url', meaning: 'only with `ENABLE_ROUTER_CHECK`' },
  ASSIGNMENT: { kind: 'text', meaning: 'only with `ENABLE_ROUTER_CHECK`' },
  ENABLE_MESSAGE_MAX_SIZE: {
    kind: 'boolean',
    default: 'false',
    meaning: 'limit the size of messages',
    notBuilt: 'the size limit for messages',
  },
  MAX_MESSAGE_SIZE_BYTES: {
    kind: 'integer',
    default: '102400',
    min: 1,
    max: 10_485_760,
    meaning: 'only with `ENABLE_MESSAGE_MAX_SIZE`',
  },
  MAX_SIZE_OWNER_WHITELIST: { kind: 'list', meaning: 'only with `ENABLE_MESSAGE_MAX_SIZE`' },
  MAX_SIZE_FROM_WHITELIST: { kind: 'list', meaning: 'only with `ENABLE_MESSAGE_MAX_SIZE`' },
  MAX_SIZE_FROM_OWNER_WHITELIST: { kind: 'list', meaning: 'only with `ENABLE_MESSAGE_MAX_SIZE`' },
  IP_WHITELIST_URL: {
    kind: 'http-url',
    meaning: 'JSON list of the addresses that may write',
    notBuilt: 'the list of addresses that may write',
  },
  PROCESS_WHITELIST_URL: {
    kind: 'http-url',
    meaning: 'JSON list of the processes that are served',
    notBuilt: 'the list of processes that are served',
  },
  URL: { kind: 'http-url', meaning: 'our own URL; only with `PROCESS_WHITELIST_URL`' },
  MULTI_TENANT_BASE_CONN: {
    kind: 'postgres-url',
    meaning: 'one database per tenant',
    notBuilt: 'one database per tenant',
  },
  MULTI_TENANT_BASE_READ_CONN: {
    kind: 'postgres-url',
    meaning: 'read replicas of the tenants',
    notBuilt: 'one database per tenant',
  },
  MULTI_TENANT_BASE_DATA_DIR: {
    kind: 'path',
    meaning: 'disk folders of the tenants',
    notBuilt: 'one database per tenant',
  },
} as const satisfies Record<string, Variable>;

export type VariableName = keyof typeof VARIABLES;

/** The names of the variables of one kind. */
export type NameOfKind<Kind extends VariableKind> = {
  [Name in VariableName]: (typeof VARIABLES)[Name]['kind'] extends Kind ? Name : never;
}[VariableName];
