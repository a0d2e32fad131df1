import { readFileSync } from 'node:fs';
import pg from 'pg';
import { NegotiatedStream } from './negotiated-stream.js';

const CONNECT_TIMEOUT_MS = 5_000;
const STATEMENT_TIMEOUT_MS = 30_000;
const LOCK_TIMEOUT_MS = 10_000;
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000;

/**
 * What a connection must not inherit from the server's, the database's or the role's defaults: an answer that is
 * given before the disk has the commit, and an isolation in which a statement does not see what was committed
 * while it waited for a lock. A stronger setting (remote_apply) is kept. Every statement of ours walks an index in
 * order and stops early; on a table without fresh statistics the planner would rather collect all rows of a process
 * in a bitmap and sort them, so it must not.
 */
const SESSION_SETTINGS = `
  select
    set_config('synchronous_commit',
      case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false),
    set_config('default_transaction_isolation', 'read committed', false),
    set_config('default_transaction_read_only', 'off', false),
    set_config('bytea_output', 'hex', false),
    set_config('enable_bitmapscan', 'off', false),
    set_config('statement_timeout', '${STATEMENT_TIMEOUT_MS}', false),
    set_config('lock_timeout', '${LOCK_TIMEOUT_MS}', false),
    set_config('idle_in_transaction_session_timeout', '${IDLE_IN_TRANSACTION_TIMEOUT_MS}', false)`;

/**
 * A connection outside the pools, for work that may take long (migrations): no limits on its statements.
 * @throws the driver's errors
 */
export async function openLongConnection(url: string): Promise<pg.Client> {
  const client = new pg.Client(connectionOptions(url));
  client.on('error', ignoreConnectionError);
  try {
    await client.connect();
    await client.query(SESSION_SETTINGS);
    await client.query(
      'set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0',
    );
    return client;
  } catch (error) {
    await client.end().catch(ignoreConnectionError);
    throw error;
  }
}

/** How to reach the database. @param url `postgres://…` as libpq reads it */
export function connectionOptions(url: string): pg.ClientConfig {
  return {
    ...asLibpqReadsIt(url),
    fallback_application_name: 'su',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
  };
}

/**
 * The reference reads DATABASE_URL with libpq, for which `sslmode=require` encrypts without checking the certificate, and
 * `prefer` and `allow` go on without TLS where there is none; the driver would check it, and refuse databases that worked until
 * now. `sslmode=verify-full` checks it in both.
 */
function asLibpqReadsIt(url: string): pg.ClientConfig {
  const query = new URLSearchParams(url.split('?')[1]);
  // Of what comes twice the driver takes the last.
  const mode = query.getAll('sslmode').at(-1);
  if (mode === undefined || (query.get('uselibpqcompat') ?? 'true') !== 'true') {
    return { connectionString: url };
  }
  if (mode === 'prefer' || mode === 'allow') {
    const tls = readClientCertificate(query);
    return {
      connectionString: `${url}&sslmode=disable`,
      stream: () => new NegotiatedStream(mode, tls),
    };
  }
  return {
    connectionString: query.has('uselibpqcompat') ? url : `${url}&uselibpqcompat=true`,
  };
}

/** For a server that asks who we are; the driver uses it only where it encrypts by itself. */
function readClientCertificate(query: URLSearchParams): { cert?: string; key?: string } {
  const [cert, key] = ['sslcert', 'sslkey'].map((name) => query.getAll(name).at(-1));
  return {
    ...(cert && { cert: readFileSync(cert, 'utf8') }),
    ...(key && { key: readFileSync(key, 'utf8') }),
  };
}

/**
 * Sets what a session of a pool must not inherit. A plan that is kept must not be one that reads whole tables, which may have
 * been the best while they were almost empty.
 */
export async function prepareSession(client: pg.ClientBase): Promise<void> {
  await client.query(`${SESSION_SETTINGS}, set_config('enable_seqscan', 'off', false)`);
}

/** For connections that nobody is using. */
export function ignoreConnectionError(): void {
  // Intended: the query in flight, or the next one, reports the same failure to its caller.
}
