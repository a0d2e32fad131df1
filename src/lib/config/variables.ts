/** How a variable's text is read; the parser of each kind is in `parse-variable.ts`. */
export type VariableKind =
  | 'path'
  | 'text'
  | 'boolean'
  | 'integer'
  | 'mode'
  | 'http-url'
  | 'document-url'
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
    meaning:
      'PostgreSQL that holds the log (`postgres://…`, `sslmode` as libpq has it); unset: the embedded store',
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
    meaning: 'folder of the embedded store, of the disk copy, and of what `--local` keeps',
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
    meaning: 'answer reads from a disk copy beside PostgreSQL, in `SU_DATA_DIR`',
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
    meaning:
      "the router's list of SUs, a JSON file that is read again on SIGHUP; not used in `su` mode",
  },
  ROUTER_FORWARD: {
    kind: 'text',
    default: 'redirect',
    meaning:
      'how a router lets a request reach its SU: `redirect` (307) or `proxy`; not used in `su` mode',
  },
  ROUTER_DISCOVER: {
    kind: 'boolean',
    default: 'false',
    meaning:
      'a router asks its SUs once for a process that it does not know; not used in `su` mode',
  },
  MIGRATION_BATCH_SIZE: {
    kind: 'integer',
    default: '1000',
    min: 1,
    max: 1_000_000,
    meaning: 'rows a fetch of `migrate-disk` at most',
  },
  ENABLE_DEEP_HASH_CHECKS: {
    kind: 'boolean',
    default: 'false',
    meaning:
      'refuse what has the content of an earlier message under another signature: messages with `From-Process`, and assigned transactions',
  },
  CURRENT_DEEPHASH_VERSION: {
    kind: 'text',
    default: '1.0',
    meaning: 'with `ENABLE_DEEP_HASH_CHECKS`: hashes of other versions are computed anew',
  },
  DEEPHASH_RECALC_LIMIT: {
    kind: 'integer',
    default: '400',
    min: 0,
    max: 1_000_000,
    meaning:
      'with `ENABLE_DEEP_HASH_CHECKS`: the newest entries of a process that are looked at when they were stored without a hash',
  },
  ENABLE_ROUTER_CHECK: {
    kind: 'boolean',
    default: 'false',
    meaning:
      'refuse to spawn what the router has placed on another SU; only with `ENABLE_PROCESS_ASSIGNMENT`',
  },
  ROUTER_URL: { kind: 'http-url', meaning: 'the router that `ENABLE_ROUTER_CHECK` asks' },
  ASSIGNMENT: {
    kind: 'text',
    meaning:
      "this SU in the router's redirects: a number N for `https://suN.…`, or its URL; with `ENABLE_ROUTER_CHECK`",
  },
  ENABLE_MESSAGE_MAX_SIZE: {
    kind: 'boolean',
    default: 'false',
    meaning: 'limit the size of messages; processes are exempt',
  },
  MAX_MESSAGE_SIZE_BYTES: {
    kind: 'integer',
    default: '102400',
    min: 1,
    max: 10_485_760,
    meaning: 'bytes of a message at most, with `ENABLE_MESSAGE_MAX_SIZE`',
  },
  MAX_SIZE_OWNER_WHITELIST: {
    kind: 'list',
    meaning: 'addresses whose messages may have any size',
  },
  MAX_SIZE_FROM_WHITELIST: {
    kind: 'list',
    meaning: 'processes whose messages may have any size, when their owner is on the next list',
  },
  MAX_SIZE_FROM_OWNER_WHITELIST: {
    kind: 'list',
    meaning: 'owners of messages from the processes of the list before',
  },
  IP_WHITELIST_URL: {
    kind: 'document-url',
    meaning:
      'JSON list of the addresses and CIDRs that may write, fetched every 30 s; see `TRUST_PROXY`',
  },
  PROCESS_WHITELIST_URL: {
    kind: 'document-url',
    meaning: 'JSON list of the processes that are served, fetched every 10 s; spawns are refused',
  },
  URL: {
    kind: 'http-url',
    meaning:
      'our own URL as the list of processes has it; needed with `PROCESS_WHITELIST_URL`, but for a router',
  },
  MULTI_TENANT_BASE_CONN: {
    kind: 'postgres-url',
    meaning:
      'PostgreSQL without the name of a database: each tenant has its own, as the list of processes says',
  },
  MULTI_TENANT_BASE_READ_CONN: {
    kind: 'postgres-url',
    defaultNote: '`MULTI_TENANT_BASE_CONN`',
    meaning: 'read replicas of the tenants',
  },
  MULTI_TENANT_BASE_DATA_DIR: {
    kind: 'path',
    meaning: 'the disk copies of the tenants are below this folder, with `USE_DISK`',
  },
  MULTI_TENANT_OPEN_MAX: {
    kind: 'integer',
    default: '16',
    min: 1,
    max: 1000,
    meaning: 'tenants open at once at most; each has connections of its own',
  },
  QUEUE_MAX_PER_PROCESS: {
    kind: 'integer',
    default: '0',
    min: 0,
    max: 1_000_000,
    meaning:
      'messages of one process under way at most, assigns at most half as many; more get 429; 0: no limit',
  },
  QUEUE_MAX_PER_OWNER: {
    kind: 'integer',
    default: '0',
    min: 0,
    max: 1_000_000,
    meaning: 'messages of one owner under way at most, more get 429; 0: no limit',
  },
} as const satisfies Record<string, Variable>;

export type VariableName = keyof typeof VARIABLES;

/** The names of the variables of one kind. */
export type NameOfKind<Kind extends VariableKind> = {
  [Name in VariableName]: (typeof VARIABLES)[Name]['kind'] extends Kind ? Name : never;
}[VariableName];
