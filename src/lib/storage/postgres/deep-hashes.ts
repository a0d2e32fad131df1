import type { Id } from '../../protocol/ids.js';
import type {
  DeepHashCoverage,
  DeepHashes,
  DeepHashStore,
  NewEntry,
  OldDeepHash,
  Position,
  Run,
} from '../../scheduler/ports.js';
import type { DatabasePool, Queryable } from './pool.js';
import { storedId } from './rows.js';

/** A bundle may have ten megabytes; the work behind this is in no hurry. */
const NEWEST_ROWS = 4;

type HashQuery = { readonly processId: Id; readonly hashes: DeepHashes };

/** The look-ups of `DeepHashStore` on PostgreSQL. */
export class PostgresDeepHashes implements DeepHashStore {
  readonly #writer: DatabasePool;
  readonly #checkReady: () => void;

  constructor(options: { readonly writer: DatabasePool; readonly checkReady: () => void }) {
    this.#writer = options.writer;
    this.#checkReady = options.checkReady;
  }

  async findDuplicates(queries: readonly HashQuery[]): Promise<readonly (Id | undefined)[]> {
    this.#checkReady();
    return findDuplicates(this.#writer, queries);
  }

  async findCoverage(processId: Id): Promise<DeepHashCoverage | undefined> {
    this.#checkReady();
    const { rows } = await this.#writer.query<{
      version: string;
      epoch: number | null;
      nonce: number | null;
    }>('select version, epoch, nonce from su_deep_hash_coverage where process_id = $1', [
      processId,
    ]);
    const row = rows[0];
    if (row === undefined) return undefined;
    const { version, epoch, nonce } = row;
    return {
      version,
      through: epoch === null || nonce === null ? undefined : { epoch, nonce },
    };
  }

  async readNewest(
    processId: Id,
    below: Position | undefined,
  ): Promise<readonly (Position & { readonly bundle: Uint8Array })[]> {
    this.#checkReady();
    const { rows } = await this.#writer.query<{ epoch: number; nonce: number; bundle: Buffer }>(
      `select epoch, nonce, bundle
         from messages
        where process_id = $1 and ($2::int is null or (epoch, nonce) < ($2::int, $3::int))
        order by epoch desc, nonce desc, row_id desc
        limit ${NEWEST_ROWS}`,
      [processId, below?.epoch ?? null, below?.nonce ?? null],
    );
    return rows;
  }

  /** Takes the lock that an append takes: between the append's look and its insert no hash may come in. */
  async addOldHashes(
    processId: Id,
    { version, hashes }: { readonly version: string; readonly hashes: readonly OldDeepHash[] },
    coverage?: DeepHashCoverage,
  ): Promise<void> {
    this.#checkReady();
    await this.#writer.transaction(async (client) => {
      await client.query('select from processes where process_id = $1 for no key update', [
        processId,
      ]);
      await insertOldHashes(client, { processId, version, hashes });
      if (coverage === undefined) return;
      await client.query(
        `insert into su_deep_hash_coverage (process_id, version, epoch, nonce)
         values ($1, $2, $3, $4)
         on conflict (process_id) do update
           set version = excluded.version, epoch = excluded.epoch, nonce = excluded.nonce`,
        [
          processId,
          coverage.version,
          coverage.through?.epoch ?? null,
          coverage.through?.nonce ?? null,
        ],
      );
    });
  }
}

/** Two entries of one call may have the same hash: the first of them counts, and a statement must not meet a row twice. */
async function insertOldHashes(
  client: Queryable,
  old: {
    readonly processId: Id;
    readonly version: string;
    readonly hashes: readonly OldDeepHash[];
  },
): Promise<void> {
  if (old.hashes.length === 0) return;
  await client.query(
    `insert into su_deep_hashes (process_id, version, hash, message_id, epoch, nonce)
     select distinct on (n.hash) $1, $2, decode(n.hash, 'hex'), n.message_id, n.epoch, n.nonce
       from unnest($3::text[], $4::text[], $5::int[], $6::int[]) as n (hash, message_id, epoch, nonce)
      order by n.hash, n.epoch, n.nonce
     on conflict (process_id, version, hash) do update
       set message_id = excluded.message_id, epoch = excluded.epoch, nonce = excluded.nonce
     where (excluded.epoch, excluded.nonce) < (su_deep_hashes.epoch, su_deep_hashes.nonce)`,
    [
      old.processId,
      old.version,
      old.hashes.map(({ hash }) => toHex(hash)),
      old.hashes.map(({ messageId }) => messageId),
      old.hashes.map(({ epoch }) => epoch),
      old.hashes.map(({ nonce }) => nonce),
    ],
  );
}

/** An entry of a run whose content an earlier message of the process has. */
export interface FoundDuplicate {
  readonly index: number;
  /** Undefined when the earlier one is in the same run, and so not stored yet. */
  readonly first: Id | undefined;
}

/**
 * The first duplicate of each run that has one. To be asked with the processes locked: what is found missing then stays
 * missing until the transaction ends.
 */
export async function findDuplicateRuns(
  client: Queryable,
  runs: readonly Run[],
): Promise<ReadonlyMap<Run, FoundDuplicate>> {
  const hashed = runs.flatMap((run) =>
    run.entries.flatMap((entry, index) =>
      entry.deepHashes === undefined ? [] : [{ run, entry, index, hashes: entry.deepHashes }],
    ),
  );
  const found = new Map<Run, FoundDuplicate>();
  if (hashed.length === 0) return found;
  const firsts = await findDuplicates(
    client,
    hashed.map(({ run, hashes }) => ({ processId: run.processId, hashes })),
  );
  const seen = new Map<Run, Set<string>>();
  hashed.forEach(({ run, entry, index, hashes }, at) => {
    if (found.has(run)) return;
    const names = seen.get(run) ?? new Set();
    seen.set(run, names);
    const first = firsts[at];
    if (names.has(hashes.stored)) found.set(run, { index, first: undefined });
    // A transaction that was assigned may still be posted once as a message: its identity decides, not its content.
    else if (first !== undefined && !(entry.kind === 'message' && entry.messageId === first)) {
      found.set(run, { index, first });
    }
    names.add(hashes.stored);
  });
  return found;
}

/** Stores the hashes of new entries, in the transaction of the entries. */
export async function insertDeepHashes(
  client: Queryable,
  entries: readonly NewEntry[],
): Promise<void> {
  const hashed = entries.flatMap((entry) =>
    entry.deepHashes === undefined ? [] : [{ entry, hashes: entry.deepHashes }],
  );
  if (hashed.length === 0) return;
  await client.query(
    `insert into su_deep_hashes (process_id, version, hash, message_id, epoch, nonce)
     select n.process_id, n.version, decode(n.hash, 'hex'), n.message_id, n.epoch, n.nonce
       from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[])
         as n (process_id, version, hash, message_id, epoch, nonce)
     on conflict do nothing`,
    [
      hashed.map(({ entry }) => entry.processId),
      hashed.map(({ hashes }) => hashes.version),
      hashed.map(({ hashes }) => toHex(hashes.stored)),
      hashed.map(({ entry }) => entry.messageId),
      hashed.map(({ entry }) => entry.head.epoch),
      hashed.map(({ entry }) => entry.head.nonce),
    ],
  );
}

async function findDuplicates(
  client: Queryable,
  queries: readonly HashQuery[],
): Promise<readonly (Id | undefined)[]> {
  const wanted = queries.flatMap(({ processId, hashes }, query) =>
    hashes.matches.map((hash) => ({ query, processId, version: hashes.version, hash })),
  );
  const firsts = new Map<number, Id>();
  if (wanted.length === 0) return queries.map(() => undefined);
  const { rows } = await client.query<{ query: number; message_id: string }>(
    `select distinct on (q.query) q.query, h.message_id
       from unnest($1::int[], $2::text[], $3::text[], $4::text[]) as q (query, process_id, version, hash)
       join su_deep_hashes h
         on h.process_id = q.process_id and h.version = q.version and h.hash = decode(q.hash, 'hex')
      order by q.query, h.epoch, h.nonce`,
    [
      wanted.map(({ query }) => query),
      wanted.map(({ processId }) => processId),
      wanted.map(({ version }) => version),
      wanted.map(({ hash }) => toHex(hash)),
    ],
  );
  for (const row of rows) firsts.set(row.query, storedId(row.message_id));
  return queries.map((_, query) => firsts.get(query));
}

function toHex(hash: string): string {
  return Buffer.from(hash, 'base64url').toString('hex');
}
