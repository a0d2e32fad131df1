import { invariant, SuError } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type {
  DeepHashStore,
  LogReader,
  ReceiptQuery,
  Run,
  RunOutcome,
  ScheduleStore,
} from '../../scheduler/ports.js';
import type { TenantPool } from './tenant-pool.js';
import { outboxKeyOf } from './tenant-outbox.js';

/** The database of a process. @throws SuError `not-allowed`, `not-ready` */
export type FindDatabase = (processId: Id) => string;

/** The writer's side of many tenants: each call goes to the store of its process. */
export function makeTenantScheduleStore(pool: TenantPool, databaseOf: FindDatabase): ScheduleStore {
  async function appendTo(database: string, runs: readonly Run[]): Promise<readonly RunOutcome[]> {
    const outcomes = await pool.use(database, ({ store }) => store.append(runs));
    return outcomes.map((outcome) =>
      outcome.status === 'appended'
        ? { ...outcome, outboxKeys: outcome.outboxKeys.map((key) => outboxKeyOf(database, key)) }
        : outcome,
    );
  }
  return {
    append: (runs) =>
      perDatabase(runs, {
        databaseOf: ({ processId }) => databaseOf(processId),
        ask: appendTo,
        // One tenant's trouble is no other's: it becomes the outcome of its own runs.
        failed: (error) => ({ status: 'unknown', error: toSuError(error) }),
      }),
    readHeads: (processIds) =>
      perDatabase(processIds, {
        databaseOf,
        ask: (database, ids) => pool.use(database, ({ store }) => store.readHeads(ids)),
      }),
    findReceipts: (queries) =>
      perDatabase(queries, {
        databaseOf: (query) => databaseOf(processOf(query)),
        ask: (database, asked) => pool.use(database, ({ store }) => store.findReceipts(asked)),
      }),
    findProcessTags: async (processId) =>
      pool.use(databaseOf(processId), ({ store }) => store.findProcessTags(processId)),
  };
}

/** The deep hashes of many tenants. */
export function makeTenantDeepHashes(pool: TenantPool, databaseOf: FindDatabase): DeepHashStore {
  return {
    findDuplicates: (queries) =>
      perDatabase(queries, {
        databaseOf: ({ processId }) => databaseOf(processId),
        ask: (database, asked) =>
          pool.use(database, ({ deepHashes }) => deepHashes.findDuplicates(asked)),
      }),
    findCoverage: async (processId) =>
      pool.use(databaseOf(processId), ({ deepHashes }) => deepHashes.findCoverage(processId)),
    readNewest: async (processId, below) =>
      pool.use(databaseOf(processId), ({ deepHashes }) => deepHashes.readNewest(processId, below)),
    addOldHashes: async (processId, hashes, coverage) =>
      pool.use(databaseOf(processId), ({ deepHashes }) =>
        deepHashes.addOldHashes(processId, hashes, coverage),
      ),
  };
}

/** The reading side of many tenants. */
export function makeTenantLogReader(pool: TenantPool, databaseOf: FindDatabase): LogReader {
  return {
    findProcess: async (processId, options) =>
      pool.use(databaseOf(processId), ({ reader }) => reader.findProcess(processId, options)),
    async *readRange(query) {
      const { tenant, release } = await pool.hold(databaseOf(query.processId));
      try {
        yield* tenant.reader.readRange(query);
      } finally {
        release();
      }
    },
    findHeadPlace: async (processId) =>
      pool.use(databaseOf(processId), ({ reader }) => reader.findHeadPlace(processId)),
    findLatest: async (processId, options) =>
      pool.use(databaseOf(processId), ({ reader }) => reader.findLatest(processId, options)),
    async findEntry(id, processId, options) {
      if (processId !== undefined) {
        return pool.use(databaseOf(processId), ({ reader }) =>
          reader.findEntry(id, processId, options),
        );
      }
      if (pool.databases.length > pool.openMax) {
        // Every unknown id would open and close stores that others use.
        throw new SuError(
          'invalid-request',
          'process-id is missing: without it an id is not found among the tenants of this SU',
        );
      }
      for (const database of pool.databases) {
        const entry = await pool.use(database, ({ reader }) =>
          reader.findEntry(id, undefined, options),
        );
        if (entry !== undefined) return entry;
      }
      return undefined;
    },
  };
}

function processOf(query: ReceiptQuery): Id {
  if (query.kind === 'assign') return query.processId;
  const processId = query.kind === 'process' ? query.id : query.processId;
  invariant(processId !== undefined, 'a message is looked up with its process', { id: query.id });
  return processId;
}

interface PerDatabase<Query, Answer> {
  readonly databaseOf: (query: Query) => string;
  readonly ask: (database: string, queries: readonly Query[]) => Promise<readonly Answer[]>;
  /** What a failure makes of the queries concerned; without it the failure is thrown. */
  readonly failed?: (error: unknown) => Answer;
}

/** Asks each database for its part of the queries, all at once, and answers in the order asked. */
async function perDatabase<Query, Answer>(
  queries: readonly Query[],
  { databaseOf, ask, failed }: PerDatabase<Query, Answer>,
): Promise<readonly Answer[]> {
  const answers = new Map<Query, Answer>();
  const groups = new Map<string, Query[]>();
  for (const query of queries) {
    try {
      const database = databaseOf(query);
      groups.set(database, [...(groups.get(database) ?? []), query]);
    } catch (error) {
      if (failed === undefined) throw error;
      answers.set(query, failed(error));
    }
  }
  const asked = [...groups].map(async ([database, group]) => {
    try {
      const found = await ask(database, group);
      group.forEach((query, index) => answers.set(query, found[index] as Answer));
    } catch (error) {
      if (failed === undefined) throw error;
      for (const query of group) answers.set(query, failed(error));
    }
  });
  await Promise.all(asked);
  return queries.map((query) => answers.get(query) as Answer);
}

function toSuError(error: unknown): SuError {
  if (error instanceof SuError) return error;
  return new SuError('store-unavailable', 'the store could not write', { cause: error });
}
