import type { WalletDescription } from './arweave/wallet.js';
import type { MigrationConfig, OperatorConfig, SchedulerConfig } from './config/config.js';
import type { OperatorOutbox } from './operator/outbox-calls.js';
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

/** A version of the schema and whether the database has it. */
export interface MigrationVersion {
  readonly version: string;
  readonly name: string | undefined;
  readonly state: 'applied' | 'pending' | 'unknown';
}

/** The schema of the database, for `su db:migrate`. */
export interface Migrator {
  /** @throws SuError `store-unavailable`, `schema-damaged` */
  migrate(): Promise<readonly string[]>;
  /** @throws SuError `store-unavailable` */
  status(): Promise<readonly MigrationVersion[]>;
  close(): Promise<void>;
}

/** Opens the migrator; nothing is changed until it is told to. */
export async function openMigrator(config: MigrationConfig): Promise<Migrator> {
  const { migrate, migrationStatus } = await import('./storage/postgres/migrations.js');
  const { openLog } = await import('./observability/log.js');
  const log = openLog();
  return {
    migrate: () => migrate({ url: config.databaseUrl, log }),
    status: () => migrationStatus(config.databaseUrl),
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
