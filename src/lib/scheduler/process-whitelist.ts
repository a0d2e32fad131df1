import { z } from 'zod';
import { SuError } from '../errors.js';
import { isId, type Id } from '../protocol/ids.js';

/** Names a database and a folder: they become parts of a URL and of a path. */
const NAME = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/);

const LIST = z.object({
  sus: z.record(
    z.string(),
    z.object({ dbs: z.array(z.object({ db_name: NAME, efs_name: NAME })).max(10_000) }),
  ),
  processes: z.record(
    z.string().refine(isId, 'a process has an id of 43 characters'),
    z.object({ su: z.string(), db_name: NAME, read_only: z.boolean().nullish() }),
  ),
});

/** A database that belongs to this SU. */
export interface TenantName {
  readonly database: string;
  /** The folder of its disk copy, below the base folder. */
  readonly folder: string;
}

/** A process that is served here. */
export interface ListedProcess {
  readonly database: string;
  readonly readOnly: boolean;
}

/** What a process whitelist says to one SU. */
export interface ProcessWhitelist {
  readonly databases: readonly TenantName[];
  find(processId: string): ListedProcess | undefined;
}

/**
 * Reads a list of processes: `{sus: {url: {dbs: [{db_name, efs_name}]}}, processes: {id: {su, db_name, read_only?}}}`.
 *
 * @param ownUrl what of the list is ours stands under this URL, with or without a trailing slash; undefined for a
 *   router, which serves every process on the list
 * @throws Error that says what is wrong with it
 */
export function parseProcessWhitelist(
  bytes: Uint8Array,
  ownUrl: string | undefined,
): ProcessWhitelist {
  const { sus, processes } = parseList(LIST, bytes);
  const own = ownUrl && trimSlash(ownUrl);
  const isOwn = (url: string): boolean => own === undefined || trimSlash(url) === own;
  const databases = Object.entries(sus)
    .filter(([url]) => isOwn(url))
    .flatMap(([, { dbs }]) => dbs)
    .map(({ db_name, efs_name }) => ({ database: db_name, folder: efs_name }));
  const listed = new Map<string, ListedProcess>();
  for (const [id, { su, db_name, read_only }] of Object.entries(processes)) {
    if (!isOwn(su)) continue;
    listed.set(id, { database: db_name, readOnly: read_only === true });
  }
  return { databases, find: (processId) => listed.get(processId) };
}

/**
 * Reads a JSON document by its schema.
 *
 * @throws Error with the first fault, as a sentence
 */
export function parseList<Value>(schema: z.ZodType<Value>, bytes: Uint8Array): Value {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new Error('it is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const path = (issue?.path ?? []).map(String).join('.').slice(0, 120);
  throw new Error(`${path === '' ? 'it' : path} is not as expected: ${issue?.message ?? ''}`);
}

function trimSlash(url: string): string {
  return url.replace(/\/+$/, '');
}

/** What the whitelist lets a client do. All throw SuError `not-allowed`, and `not-ready` until the list is loaded. */
export interface ProcessGuard {
  checkRead(processId: string): void;
  checkWrite(processId: string): void;
  /** A process that is stored already may be posted again; a new one never comes in here. */
  checkSpawn(processId: Id): void;
}

/**
 * See ProcessGuard.
 *
 * @param server what its sentences call the program
 */
export function makeProcessGuard(
  list: { require(): ProcessWhitelist },
  server: 'SU' | 'router' = 'SU',
): ProcessGuard {
  function require(processId: string): ListedProcess {
    const process = list.require().find(processId);
    if (process !== undefined) return process;
    throw new SuError(
      'not-allowed',
      `process ${processId.slice(0, 64)} is not served by this ${server}`,
    );
  }
  return {
    checkRead: (processId) => void require(processId),
    checkWrite(processId) {
      if (!require(processId).readOnly) return;
      throw new SuError('not-allowed', `process ${processId} is read-only on this ${server}`);
    },
    checkSpawn(processId) {
      require(processId);
      throw new SuError(
        'not-allowed',
        `process ${processId} cannot be spawned here: this ${server} serves the processes of a list alone`,
      );
    },
  };
}
