import { join } from 'node:path';
import type { VariableReader } from './variable-reader.js';

/** A copy of the database's logs in a folder. */
export interface DiskConfig {
  /** Absolute. */
  readonly folder: string;
  /** Where a running server answers the operator's commands. */
  readonly socketPath: string;
}

/** Which store holds the truth, and how to reach it. */
export type StoreConfig =
  | {
      readonly kind: 'embedded';
      /** Absolute. */
      readonly folder: string;
      /** Where a running server answers the operator's commands. */
      readonly socketPath: string;
    }
  | {
      readonly kind: 'postgres';
      /** Holds a password: never logged, shown only through `redactUrl`. */
      readonly writerUrl: string;
      /** The writer's own URL when there is no replica. */
      readonly readerUrl: string;
      readonly writeConnections: number;
      readonly readConnections: number;
      /** A copy beside it, which only a server opens. */
      readonly disk?: DiskConfig | undefined;
    };

/** A unix socket's address holds 108 bytes, the last of which is zero. */
const SOCKET_PATH_BYTES_MAX = 107;
const SOCKET_NAME = 'su.sock';

/** Reports the contradictions among the store's variables to the reader; adds to `warnings` what has no effect. */
export function readStore(
  reader: VariableReader,
  dataDir: string,
  warnings: string[],
): StoreConfig {
  const writerUrl = reader.postgresUrl('DATABASE_URL');
  const readerUrl = reader.postgresUrl('DATABASE_READ_URL');
  const local = reader.boolean('USE_LOCAL_STORE');
  const disk = reader.boolean('USE_DISK') === true;
  const databaseSet = reader.isSet('DATABASE_URL');
  checkDisk(reader, { disk, local: local === true, databaseSet });
  const connections = {
    writeConnections: reader.integer('DB_WRITE_CONNECTIONS'),
    readConnections: reader.integer('DB_READ_CONNECTIONS'),
  };
  if (local === true || !databaseSet) {
    if (local === false) {
      reader.report(
        'USE_LOCAL_STORE: false needs DATABASE_URL, which is not set: there would be no store',
      );
    }
    if (local === true) warnIgnored(reader, warnings);
    else if (reader.isSet('DATABASE_READ_URL')) {
      reader.report(
        'DATABASE_READ_URL is set without DATABASE_URL: a replica alone cannot be written to',
      );
    }
    return readEmbedded(reader, dataDir);
  }
  const writer = writerUrl ?? '';
  const urls = { writerUrl: writer, readerUrl: readerUrl ?? writer };
  return {
    kind: 'postgres',
    ...urls,
    ...connections,
    ...(disk ? { disk: readFolder(reader, dataDir) } : {}),
  };
}

function checkDisk(
  reader: VariableReader,
  {
    disk,
    local,
    databaseSet,
  }: { readonly disk: boolean; readonly local: boolean; readonly databaseSet: boolean },
): void {
  if (!disk) return;
  if (local) {
    reader.report(
      'USE_DISK and USE_LOCAL_STORE are both on: a disk copy stands beside PostgreSQL, not beside itself',
    );
  } else if (!databaseSet) {
    reader.report(
      'USE_DISK needs DATABASE_URL, which is not set: a disk copy stands beside PostgreSQL',
    );
  }
}

function warnIgnored(reader: VariableReader, warnings: string[]): void {
  const unused = (['DATABASE_URL', 'DATABASE_READ_URL'] as const).filter((name) =>
    reader.isSet(name),
  );
  if (unused.length > 0)
    warnings.push(`USE_LOCAL_STORE is on: ${unused.join(', ')} set and not used`);
}

function readEmbedded(reader: VariableReader, folder: string): StoreConfig {
  const foreign = (['SU_FILE_DB_DIR', 'SU_INDEX_DB_DIR'] as const).filter((name) =>
    reader.isSet(name),
  );
  if (foreign.length > 0 && !reader.isSet('SU_DATA_DIR')) {
    // An empty log in place of theirs would give out their nonces a second time.
    reader.report(
      `${foreign.join(', ')}: these folders are the Rust implementation's, which this one cannot read; ` +
        'an empty log in their place would fork every process: set SU_DATA_DIR to the folder of this one',
    );
  }
  return { kind: 'embedded', ...readFolder(reader, folder) };
}

/** A folder that a server holds, with the socket in it. */
function readFolder(reader: VariableReader, folder: string): DiskConfig {
  const socketPath = socketPathOf(folder);
  const bytes = Buffer.byteLength(socketPath);
  if (bytes > SOCKET_PATH_BYTES_MAX) {
    reader.report(
      `SU_DATA_DIR: the path of its socket, ${socketPath}, has ${bytes} bytes, and ${SOCKET_PATH_BYTES_MAX} is the most: use a shorter one`,
    );
  }
  return { folder, socketPath };
}

/** Where the server that holds a folder answers the operator's commands. */
export function socketPathOf(folder: string): string {
  return join(folder, SOCKET_NAME);
}
