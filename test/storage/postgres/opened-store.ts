import {
  openPostgresStore,
  type PostgresStore,
} from '../../../src/lib/storage/postgres/open-store.js';
import type { StoreLog } from '../../../src/lib/storage/postgres/pool.js';
import { silentLog, type TestDatabase } from '../../support/postgres.js';

export interface OpenedFor {
  readonly reader?: TestDatabase;
  readonly log?: StoreLog;
}

/** A store on this database, reached and migrated. */
export async function openStoreOn(
  database: TestDatabase,
  options: OpenedFor = {},
): Promise<PostgresStore> {
  const opened = openPostgresStore({
    writerUrl: database.url,
    readerUrl: options.reader?.url,
    writeConnections: 4,
    readConnections: 4,
    leaseMs: 1000,
    clock: Date.now,
    log: options.log ?? silentLog,
  });
  await opened.ensureMigrated();
  return opened;
}

/** Asks again until it is so. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 20));
}
