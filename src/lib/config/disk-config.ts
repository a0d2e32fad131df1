import { freeze, readDataDir, refuseProblems } from './config.js';
import { socketPathOf, type DiskConfig } from './store-config.js';
import { makeVariableReader, type Environment } from './variable-reader.js';

/** What `su migrate-disk` and `su disk:check` need. */
export interface DiskCommandConfig extends DiskConfig {
  readonly databaseUrl: string;
  /** Rows a fetch. */
  readonly batchRows: number;
}

/**
 * The configuration of the commands that look after a disk copy: database and folder.
 *
 * @throws SuError `invalid-config`
 */
export function readDiskCommandConfig(env: Environment): DiskCommandConfig {
  const reader = makeVariableReader(env);
  const databaseUrl = reader.postgresUrl('DATABASE_URL') ?? '';
  if (!reader.isSet('DATABASE_URL')) {
    reader.report('DATABASE_URL is not set: the PostgreSQL whose logs the disk copies');
  }
  if (reader.boolean('USE_LOCAL_STORE') === true) {
    reader.report(
      'USE_LOCAL_STORE is on: the folder is a store of its own, and a disk copy stands beside PostgreSQL',
    );
  }
  const folder = readDataDir(reader);
  const batchRows = reader.integer('MIGRATION_BATCH_SIZE');
  refuseProblems(reader, undefined);
  return freeze({ databaseUrl, folder, socketPath: socketPathOf(folder), batchRows });
}
