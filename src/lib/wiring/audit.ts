import { CheckThreads } from '../audit/check-threads.js';
import type { Finding } from '../audit/findings.js';
import type { AuditSource, Checkpoint, LogPages } from '../audit/ports.js';
import { sourceOfStore } from '../audit/store-source.js';
import { sourceOfPages } from '../audit/url-source.js';
import { verifyLogs, type AuditCounts, type AuditSummary } from '../audit/verify-logs.js';
import type { OperatorConfig } from '../config/config.js';
import { redactUrl } from '../config/redact-url.js';
import { SuError } from '../errors.js';
import { openLog } from '../observability/log.js';
import { outboxOverCalls } from '../operator/outbox-calls.js';
import { rowsOverCalls } from '../operator/raw-log-calls.js';
import { isId, type Id } from '../protocol/ids.js';
import { clock } from './clocks.js';
import { callsOfServer, requireMigrated } from './operator.js';
import { openStore } from './store.js';

/** Where the logs are that are to be audited. */
export type AuditTarget =
  | { readonly kind: 'store'; readonly config: OperatorConfig }
  /** Any Scheduler Unit. */
  | { readonly kind: 'url'; readonly url: string };

export interface AuditRun {
  /** Ids; empty: all. */
  readonly processes: readonly string[];
  readonly since: number | undefined;
  readonly sinceAsGiven: string | undefined;
  readonly signatures: boolean;
  readonly report: (finding: Finding) => Promise<void>;
  readonly onProgress: (progress: AuditCounts) => void;
  readonly checkpoint: Checkpoint | undefined;
  readonly signal: AbortSignal;
}

export interface OpenAudit {
  /** @throws SuError `interrupted`, `store-unavailable`, `invalid-config` (an id, or the checkpoint) */
  run(run: AuditRun): Promise<AuditSummary>;
  close(): Promise<void>;
}

const CONNECTIONS = 4;
const CHECKPOINT_MS = 2000;
const PAGE_ENTRIES = 200;
const PAGE_TIMEOUT_MS = 60_000;

interface OpenSource {
  readonly source: AuditSource;
  close(): Promise<void> | void;
}

/**
 * Opens what `su verify` reads.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function openAudit(target: AuditTarget): Promise<OpenAudit> {
  const opened = await openSource(target);
  const checks = new CheckThreads();
  return {
    run: async ({ processes, since, sinceAsGiven, signatures, ...parts }) =>
      verifyLogs(
        { processes: readIds(processes), since, sinceAsGiven, signatures },
        { ...parts, source: opened.source, checks, every },
      ),
    close: async () => {
      await checks.close();
      await opened.close();
    },
  };
}

async function openSource(target: AuditTarget): Promise<OpenSource> {
  if (target.kind === 'url') return openUrl(target.url);
  const { store } = target.config;
  if (store.kind === 'postgres') return openPostgres(store.writerUrl);
  const name = `RocksDB ${store.folder}`;
  const call = await callsOfServer(store);
  if (call !== undefined) {
    const counts = outboxOverCalls(call).counts;
    const rows = { ...rowsOverCalls(call), countOutstanding: counts };
    return { source: sourceOfStore(rows, name), close: () => undefined };
  }
  const opened = await openStore(store, { log: openLog({ level: 'warn' }) });
  const { rows } = opened;
  if (rows === undefined) throw new SuError('invariant', 'the embedded store shows its rows');
  return { source: sourceOfStore(rows, name), close: () => opened.close() };
}

/** Read at the writer: a replica's missing rows would look like holes. */
async function openPostgres(url: string): Promise<OpenSource> {
  await requireMigrated(url);
  const { openPostgresRawLog } = await import('../storage/postgres/raw-log.js');
  const log = openLog({ level: 'warn' });
  const raw = openPostgresRawLog({ url, connections: CONNECTIONS, json: true, clock, log });
  return { source: sourceOfStore(raw.reader, redactUrl(url)), close: () => raw.close() };
}

async function openUrl(url: string): Promise<OpenSource> {
  const { makeLogClient } = await import('../arweave/log-client.js');
  const client: LogPages & { close(): void } = makeLogClient({
    url,
    timeoutMs: PAGE_TIMEOUT_MS,
    connectionsMax: CONNECTIONS,
    pageEntries: PAGE_ENTRIES,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
  return { source: sourceOfPages(client, redactUrl(url)), close: () => client.close() };
}

function readIds(texts: readonly string[]): readonly Id[] {
  const ids = [...new Set(texts)];
  return ids.map((text) => {
    if (isId(text)) return text;
    const shown = JSON.stringify(text.slice(0, 60));
    throw new SuError('invalid-config', `${shown} is no process id (43 characters of base64url)`);
  });
}

/** Runs `save` every few seconds, one at a time, and reports the first failure at the end. */
function every(save: () => Promise<void>): { stop(): Promise<void> } {
  let running = Promise.resolve();
  const timer = setInterval(() => {
    // After a failure nothing is saved any more, and whoever stops gets it.
    running = running.then(save);
    running.catch(() => undefined);
  }, CHECKPOINT_MS);
  return {
    stop: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
