import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import type { Id } from '../../src/lib/protocol/ids.js';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import { openRocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import {
  generateIntoDatabase,
  generateIntoStore,
  type GeneratedLogs,
  type LogPlan,
} from '../support/generate-log.js';
import { silentLog, startPostgres, type TestServer } from '../support/postgres.js';
import type { StoreName } from './bench-case.js';
import type { StorePlace } from './bench.js';

/** A store with one long log and many processes. */
export interface LargeLog extends StorePlace {
  /** Of the long log; its messages have the nonces from 1 to `entries`. */
  readonly processId: Id;
  readonly entries: number;
  readonly others: readonly Id[];
  close(): Promise<void>;
}

export interface LargeLogOptions {
  readonly store: StoreName;
  readonly plan: LogPlan;
  readonly node: string;
  readonly folder: string;
  /** Whether the folder stays for the next run. */
  readonly isKept: boolean;
  readonly note: (line: string) => void;
}

const ENTRY = fileURLToPath(new URL('../../bin/run.js', import.meta.url));

/** Opens the log that is kept in the folder, or makes it. */
export async function openLargeLog(options: LargeLogOptions): Promise<LargeLog> {
  const { store, plan, folder } = options;
  await mkdir(folder, { recursive: true });
  if (store === 'embedded') {
    const data = join(folder, `embedded-${plan.entries}`);
    const logs = await keptOrMade(data, options, () => makeEmbedded(data, plan));
    return {
      ...logs,
      entries: plan.entries,
      env: { SU_DATA_DIR: data },
      databaseUrl: undefined,
      close: () => Promise.resolve(),
    };
  }
  const data = join(folder, `postgres-${plan.entries}`);
  const isMade = existsSync(`${data}.json`);
  const server = options.isKept ? await startOn(data, isMade) : await startPostgres('on');
  try {
    const url = server.url('postgres');
    const logs = await keptOrMade(data, options, async () => {
      await migrate({ url, log: silentLog });
      return generateIntoDatabase(url, plan);
    });
    await readAll(url);
    const disk = store === 'disk' ? await copyToDisk(url, options) : {};
    return {
      ...logs,
      entries: plan.entries,
      env: { DATABASE_URL: url, ...disk },
      databaseUrl: url,
      close: async () => {
        // What is kept is stopped in order, so that the next run need not recover it.
        if (options.isKept) await server.stop('fast');
        server.destroy();
      },
    };
  } catch (error) {
    server.destroy();
    throw error;
  }
}

/** The file beside the data says that they are complete, and what is in them. */
async function keptOrMade(
  data: string,
  { plan, note, isKept }: LargeLogOptions,
  make: () => Promise<GeneratedLogs>,
): Promise<GeneratedLogs> {
  const mark = `${data}.json`;
  if (existsSync(mark)) return JSON.parse(await readFile(mark, 'utf8')) as GeneratedLogs;
  note(`writing a log of ${plan.entries} entries and ${plan.processes} processes`);
  const begun = performance.now();
  const logs = await make();
  if (isKept) await writeFile(mark, JSON.stringify(logs));
  note(`written in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
  return logs;
}

async function makeEmbedded(folder: string, plan: LogPlan): Promise<GeneratedLogs> {
  await rm(folder, { recursive: true, force: true });
  const store = await openRocksdbStore({
    folder,
    leaseMs: 45_000,
    clock: Date.now,
    monotonicMs: () => performance.now(),
    log: silentLog,
  });
  try {
    return await generateIntoStore(store.store, plan);
  } finally {
    await store.close();
  }
}

/** A PostgreSQL of which the data are in `data`: those that are there, or new ones. */
async function startOn(data: string, isMade: boolean): Promise<TestServer> {
  const server = await startPostgres('on');
  const own = await query<{ data_directory: string }>(
    server.url('postgres'),
    'show data_directory',
  );
  const ownFolder = own[0]?.data_directory ?? '';
  await server.stop('fast');
  if (!isMade) {
    await rm(data, { recursive: true, force: true });
    await promisify(execFile)('cp', ['-a', ownFolder, data]);
  }
  await rm(ownFolder, { recursive: true });
  await symlink(data, ownFolder);
  await server.start();
  return server;
}

/** So that the pages of the tables are where a server that has been running has them: in memory, as far as they fit. */
async function readAll(url: string): Promise<void> {
  await query(url, 'select sum(length(bundle)) from messages');
}

async function copyToDisk(
  url: string,
  { plan, node, folder, isKept, note }: LargeLogOptions,
): Promise<Readonly<Record<string, string>>> {
  const data = join(folder, `disk-${plan.entries}`);
  const env = { USE_DISK: 'true', SU_DATA_DIR: data };
  if (existsSync(`${data}.json`)) return env;
  await rm(data, { recursive: true, force: true });
  note('copying it to the disk: su migrate-disk 0');
  await promisify(execFile)(node, [ENTRY, 'migrate-disk', '0', '--json'], {
    env: { PATH: process.env['PATH'], DATABASE_URL: url, SU_DATA_DIR: data },
    maxBuffer: 64 * 1024 * 1024,
  });
  if (isKept) await writeFile(`${data}.json`, '{}');
  return env;
}

async function query<Row extends pg.QueryResultRow>(url: string, text: string): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(text)).rows;
  } finally {
    await client.end();
  }
}
