import type { WalletDescription } from './arweave/wallet.js';
import type { MigrationConfig, OperatorConfig, SchedulerConfig } from './config/config.js';
import type { RouterConfig, RoutesCheckConfig } from './config/router-config.js';
import type { CopyConfig, SealConfig } from './config/migrator-config.js';
import type { CopyOptions, CopyReport } from './migrator/copy-store.js';
import type { RequeueCounts, RequeueOptions } from './migrator/requeue.js';
import type { SealCounts, SealOptions } from './migrator/seal-bundles.js';
import type { OperatorOutbox } from './operator/outbox-calls.js';
import type { AuditTarget, OpenAudit } from './wiring/audit.js';
import type { OpenRouter } from './wiring/router.js';
import type { OpenRoutesCheck } from './wiring/routes-check.js';
import type {
  checkDiskCopy as CheckDiskCopy,
  migrateToDisk as MigrateToDisk,
} from './wiring/disk-commands.js';
import type { OpenScheduler } from './wiring/scheduler.js';

/*
 * The only place where both sides of a port meet, and the only one that commands ask: each function loads what it
 * needs when it is called, so that a small command does not wait for a server's code.
 */

/**
 * Opens everything that `su serve su` needs and listens.
 *
 * @throws SuError `invalid-wallet`, `folder-refused`, `folder-in-use`, `schema-damaged`, `invalid-config`
 */
export async function openScheduler(config: SchedulerConfig): Promise<OpenScheduler> {
  const scheduler = await import('./wiring/scheduler.js');
  return scheduler.openScheduler(config);
}

/**
 * Opens everything that `su serve router` needs and listens.
 *
 * @throws SuError `invalid-config`, `invalid-wallet`, `folder-refused`, `folder-in-use`
 */
export async function openRouter(config: RouterConfig): Promise<OpenRouter> {
  const router = await import('./wiring/router.js');
  return router.openRouter(config);
}

/**
 * Opens what `su routers:check` looks at.
 *
 * @throws SuError `invalid-config`, `invalid-wallet`, `folder-refused`, `store-unavailable`, `schema-damaged`
 */
export async function openRoutesCheck(config: RoutesCheckConfig): Promise<OpenRoutesCheck> {
  const check = await import('./wiring/routes-check.js');
  return check.openRoutesCheck(config);
}

/**
 * The store for the operator's commands: over the socket of the server that holds it, else opened here.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function openOperator(
  config: OperatorConfig,
): Promise<{ readonly outbox: OperatorOutbox; close(): Promise<void> }> {
  const operator = await import('./wiring/operator.js');
  return operator.openOperator(config);
}

/**
 * Opens what `su verify` reads: the configured store, through the server that holds it when one runs, or the logs of any
 * Scheduler Unit over HTTP.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function openAudit(target: AuditTarget): Promise<OpenAudit> {
  const audit = await import('./wiring/audit.js');
  return audit.openAudit(target);
}

/** A version of the schema and whether the database has it. */
export interface MigrationVersion {
  readonly version: string;
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
  /** As the database wrote it down, to the second. */
  readonly appliedAt: string | undefined;
}

/** A version that is pending and the SQL that applying it would run. */
export interface PlannedMigration {
  readonly version: string;
  readonly name: string;
  readonly sql: string;
}

/** The schema of the database, for `su db:migrate`. */
export interface Migrator {
  /** @throws SuError `store-unavailable`, `schema-damaged` */
  migrate(): Promise<readonly string[]>;
  /** @throws SuError `store-unavailable` */
  status(): Promise<readonly MigrationVersion[]>;
  /** What is wrong with the schema; changes nothing. @throws SuError `store-unavailable` */
  inspect(): Promise<{ readonly faults: readonly string[]; readonly warnings: readonly string[] }>;
  /** What `migrate` would run; changes nothing. @throws SuError `store-unavailable` */
  plan(): Promise<readonly PlannedMigration[]>;
  close(): Promise<void>;
}

/** Opens the migrator; nothing is changed until it is told to. */
export async function openMigrator(config: MigrationConfig): Promise<Migrator> {
  const { migrate, migrationStatus, inspectSchema, planMigrations } =
    await import('./storage/postgres/migrations.js');
  const { openLog } = await import('./observability/log.js');
  const log = openLog();
  return {
    migrate: () => migrate({ url: config.databaseUrl, log }),
    status: () => migrationStatus(config.databaseUrl),
    inspect: () => inspectSchema(config.databaseUrl),
    plan: () => planMigrations(config.databaseUrl),
    close: () => Promise.resolve(),
  };
}

/**
 * Address, key size and file of the wallet.
 *
 * @throws SuError `invalid-wallet`
 */
export async function describeWallet(file: string): Promise<WalletDescription> {
  const wallet = await import('./arweave/wallet.js');
  return wallet.describeWallet(file);
}

/**
 * Copies every log of one store into another.
 *
 * @throws SuError `refused-by-store`, `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export async function copyBetweenStores(
  config: CopyConfig,
  options: Pick<CopyOptions, 'parallel' | 'signal' | 'onProgress'>,
): Promise<CopyReport> {
  const migrator = await import('./wiring/migrator.js');
  return migrator.copyBetweenStores(config, options);
}

/**
 * Signs the wrappers of a store that were never signed.
 *
 * @throws SuError `invalid-wallet`, `folder-refused`, `store-unavailable`, `schema-damaged`
 */
export async function sealStoredBundles(
  config: SealConfig,
  options: Pick<SealOptions, 'since' | 'signal' | 'onProgress'>,
): Promise<SealCounts> {
  const migrator = await import('./wiring/migrator.js');
  return migrator.sealStoredBundles(config, options);
}

/**
 * Queues the uploads of stored entries once more.
 *
 * @throws SuError `unknown-process`, `invalid-config` (an id), `folder-refused`, `store-unavailable`, `schema-damaged`
 */
export async function requeueStoredUploads(
  config: OperatorConfig,
  options: Pick<RequeueOptions, 'since' | 'signal' | 'onProgress'> & {
    readonly processes: readonly string[];
  },
): Promise<RequeueCounts> {
  const migrator = await import('./wiring/migrator.js');
  return migrator.requeueStoredUploads(config, options);
}

/**
 * Copies a range of the database's messages to the disk.
 *
 * @throws SuError `invalid-config`, `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`,
 *   `interrupted`, `refused-by-store`
 */
export const migrateToDisk: typeof MigrateToDisk = async (...args) => {
  const commands = await import('./wiring/disk-commands.js');
  return commands.migrateToDisk(...args);
};

/**
 * Compares the disk copy with the database, by the running server or on its own.
 *
 * @throws SuError `folder-refused`, `folder-in-use`, `store-unavailable`, `schema-damaged`
 */
export const checkDiskCopy: typeof CheckDiskCopy = async (...args) => {
  const commands = await import('./wiring/disk-commands.js');
  return commands.checkDiskCopy(...args);
};
