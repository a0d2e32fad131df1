import { setTimeout as sleep } from 'node:timers/promises';
import type { Id } from '../../protocol/ids.js';
import { baseUrl, splitWallets } from '../../router/ports.js';
import type {
  ListedScheduler,
  Placed,
  Placement,
  PlaceRequest,
  RepairedCount,
  RouteStore,
  StoredScheduler,
} from '../../router/ports.js';
import { classifyFailure, describe, toStoreError } from './database-errors.js';
import { UnknownCommitError, type DatabasePool, type Queryable, type StoreLog } from './pool.js';
import { parseInt8, storedId, type Int8 } from './rows.js';

export interface RouteStoreOptions {
  readonly writer: DatabasePool;
  readonly log: StoreLog;
  /** Throws SuError while the database is not open and migrated. */
  readonly checkReady: () => void;
}

interface SchedulerRow {
  readonly row_id: number;
  readonly url: string;
  readonly process_count: number;
  readonly no_route: boolean | null;
  readonly wallets_to_route: string | null;
  readonly wallets_only: boolean | null;
}

interface PlacementRow {
  readonly key: string;
  readonly process_id: string;
  readonly scheduler_row_id: number;
}

const SCHEDULER_COLUMNS = 'row_id, url, process_count, no_route, wallets_to_route, wallets_only';
/** The transaction that wrote the row last is part of the key: an update that changes nothing makes it another. */
const PLACEMENT_KEY = `concat_ws(':', row_id, xmin)`;
const PLACEMENT_COLUMNS = `${PLACEMENT_KEY} as key, process_id, scheduler_row_id`;

/** A transaction that lost a conflict, or whose outcome is unknown, is run again so many times: it only finds what it did. */
const ATTEMPTS_MAX = 5;
const RETRY_DELAY_MS = 10;

/** The router's tables in PostgreSQL, which several routers may share: what `RouteStore` promises. */
export class PostgresRouteStore implements RouteStore {
  readonly #writer: DatabasePool;
  readonly #log: StoreLog;
  readonly #checkReady: () => void;

  constructor({ writer, log, checkReady }: RouteStoreOptions) {
    this.#writer = writer;
    this.#log = log;
    this.#checkReady = checkReady;
  }

  async applyList(list: readonly ListedScheduler[]): Promise<readonly StoredScheduler[]> {
    return this.#transact(async (client) => {
      const known = await lockSchedulers(client);
      await updateFlags(client, list, known);
      const urls = new Set(known.map(({ url }) => url));
      await insertSchedulers(
        client,
        list.filter(({ url }) => !urls.has(url)),
      );
      return readSchedulers(client);
    });
  }

  async readSchedulers(): Promise<readonly StoredScheduler[]> {
    this.#checkReady();
    return readSchedulers(this.#writer);
  }

  async findPlacement(processId: Id): Promise<Placement | undefined> {
    this.#checkReady();
    const { rows } = await this.#writer.query<PlacementRow>(
      `select ${PLACEMENT_COLUMNS} from process_schedulers where process_id = $1`,
      [processId],
    );
    return rows[0] === undefined ? undefined : toPlacement(rows[0]);
  }

  async joinPlacement(processId: Id): Promise<Placement | undefined> {
    // Most spawns are first ones, and need no transaction.
    if ((await this.findPlacement(processId)) === undefined) return undefined;
    return this.#transact(async (client) =>
      (await joinPlacements(client, [processId])).get(processId),
    );
  }

  /** The commit of this transaction is the commit point of a placement. */
  async place(requests: readonly PlaceRequest[]): Promise<readonly (Placed | undefined)[]> {
    return this.#transact(async (client) => {
      // All rows, in one order everywhere: whoever places waits here, so the counts that follow are those of this moment.
      const schedulers = [...(await lockSchedulers(client))];
      const ids = requests.map(({ processId }) => processId);
      const before = await joinPlacements(client, ids);
      const chosen = requests
        .filter(({ processId }) => !before.has(processId))
        .flatMap(({ processId, choose }) => {
          const rowId = chooseAndCount(schedulers, choose);
          return rowId === undefined ? [] : [{ processId, rowId }];
        });
      const inserted = await insertPlacements(client, chosen);
      await addToCounts(client, [...inserted.values()]);
      // The reference takes no lock: what it placed in between is found here and not counted twice.
      const lost = chosen.map(({ processId }) => processId).filter((id) => !inserted.has(id));
      const others =
        lost.length === 0 ? new Map<Id, Placement>() : await joinPlacements(client, lost);
      return ids.map((id) => {
        const made = inserted.get(id);
        if (made !== undefined) return { ...made, isNew: true };
        const found = before.get(id) ?? others.get(id);
        return found === undefined ? undefined : { ...found, isNew: false };
      });
    });
  }

  async takeBack({ processId, rowId, key }: Placement): Promise<boolean> {
    return this.#transact(async (client) => {
      await lockSchedulers(client);
      const { rowCount } = await client.query(
        `delete from process_schedulers
          where process_id = $1 and scheduler_row_id = $2 and ${PLACEMENT_KEY} = $3`,
        [processId, rowId, key],
      );
      if (rowCount !== 1) return false;
      await client.query(
        'update schedulers set process_count = process_count - 1 where row_id = $1',
        [rowId],
      );
      return true;
    });
  }

  async countPlacements(): Promise<ReadonlyMap<number, number>> {
    this.#checkReady();
    return countPlacements(this.#writer);
  }

  async samplePlacements(from: Id, limit: number): Promise<readonly Placement[]> {
    this.#checkReady();
    const after = await this.#readSample('>=', from, limit);
    if (after.length >= limit) return after;
    return [...after, ...(await this.#readSample('<', from, limit - after.length))];
  }

  async repairCounts(): Promise<readonly RepairedCount[]> {
    return this.#transact(async (client) => {
      // Nobody places while the rows are locked, so what is counted next is exact.
      const schedulers = await lockSchedulers(client);
      const counts = await countPlacements(client);
      const wrong = schedulers.filter(
        ({ rowId, processCount }) => processCount !== (counts.get(rowId) ?? 0),
      );
      await client.query(
        `update schedulers s set process_count = r.process_count
           from unnest($1::int[], $2::int[]) as r (row_id, process_count)
          where s.row_id = r.row_id`,
        [wrong.map(({ rowId }) => rowId), wrong.map(({ rowId }) => counts.get(rowId) ?? 0)],
      );
      return wrong.map(({ url, rowId, processCount }) => ({
        url,
        from: processCount,
        to: counts.get(rowId) ?? 0,
      }));
    });
  }

  async #readSample(side: '>=' | '<', from: Id, limit: number): Promise<readonly Placement[]> {
    const { rows } = await this.#writer.query<PlacementRow>(
      `select ${PLACEMENT_COLUMNS}
         from process_schedulers
        where process_id ${side} $1
        order by process_id
        limit $2`,
      [from, limit],
    );
    return rows.map(toPlacement);
  }

  /** Each of these transactions may be run again: the second run finds what the first one wrote. */
  async #transact<Result>(work: (client: Queryable) => Promise<Result>): Promise<Result> {
    this.#checkReady();
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#writer.transaction(work);
      } catch (error) {
        const isUnknown = error instanceof UnknownCommitError;
        const mayRepeat = isUnknown || classifyFailure(error) === 'again';
        if (!mayRepeat || attempt === ATTEMPTS_MAX) {
          throw toStoreError(isUnknown ? error.cause : error);
        }
        this.#log.warn({ event: 'placing-repeated', attempt, reason: describe(error) });
        await sleep(RETRY_DELAY_MS * attempt * (1 + Math.random()));
      }
    }
  }
}

/** Adds to the count of what is chosen, so that the next choice of the same transaction sees it. */
function chooseAndCount(
  schedulers: StoredScheduler[],
  choose: PlaceRequest['choose'],
): number | undefined {
  const rowId = choose(schedulers);
  const index = schedulers.findIndex((scheduler) => scheduler.rowId === rowId);
  const chosen = schedulers[index];
  if (chosen === undefined) return undefined;
  schedulers[index] = { ...chosen, processCount: chosen.processCount + 1 };
  return rowId;
}

async function lockSchedulers(client: Queryable): Promise<readonly StoredScheduler[]> {
  const { rows } = await client.query<SchedulerRow>(
    `select ${SCHEDULER_COLUMNS} from schedulers order by row_id for no key update`,
  );
  return withoutTwins(rows.map(toScheduler));
}

async function readSchedulers(client: Queryable): Promise<readonly StoredScheduler[]> {
  const { rows } = await client.query<SchedulerRow>(
    `select ${SCHEDULER_COLUMNS} from schedulers order by row_id`,
  );
  return rows.map(toScheduler);
}

/** Two rows whose URLs differ in a slash are one SU: only the first one is chosen and changed. */
function withoutTwins(schedulers: readonly StoredScheduler[]): readonly StoredScheduler[] {
  return schedulers.filter(
    ({ url }, index) => schedulers.findIndex((other) => other.url === url) === index,
  );
}

async function updateFlags(
  client: Queryable,
  list: readonly ListedScheduler[],
  known: readonly StoredScheduler[],
): Promise<void> {
  const rows = list.flatMap((listed) => {
    const stored = known.find(({ url }) => url === listed.url);
    return stored === undefined ? [] : [{ ...listed, rowId: stored.rowId }];
  });
  await client.query(
    `update schedulers s
        set no_route = l.no_route, wallets_to_route = l.wallets_to_route, wallets_only = l.wallets_only
       from unnest($1::int[], $2::boolean[], $3::text[], $4::boolean[])
            as l (row_id, no_route, wallets_to_route, wallets_only)
      where s.row_id = l.row_id`,
    [
      rows.map(({ rowId }) => rowId),
      rows.map(({ noRoute }) => noRoute),
      rows.map(walletsText),
      rows.map(({ walletsOnly }) => walletsOnly),
    ],
  );
}

/** The order of the list is the order of the rows. Another router that adds the same SU at this moment loses nothing. */
async function insertSchedulers(
  client: Queryable,
  added: readonly ListedScheduler[],
): Promise<void> {
  for (const listed of added) {
    await client.query(
      `insert into schedulers (url, process_count, no_route, wallets_to_route, wallets_only)
       values ($1, 0, $2, $3, $4)
       on conflict (url) do nothing`,
      [listed.url, listed.noRoute, walletsText(listed), listed.walletsOnly],
    );
  }
}

/** Writes the rows as they are, for the new key. Whoever takes one back meanwhile waits for this, or this for them. */
async function joinPlacements(
  client: Queryable,
  ids: readonly Id[],
): Promise<ReadonlyMap<Id, Placement>> {
  const { rows } = await client.query<PlacementRow>(
    `update process_schedulers set scheduler_row_id = scheduler_row_id
      where process_id = any($1::text[])
      returning ${PLACEMENT_COLUMNS}`,
    [ids],
  );
  return new Map(rows.map(toPlacement).map((placement) => [placement.processId, placement]));
}

async function insertPlacements(
  client: Queryable,
  chosen: readonly { readonly processId: Id; readonly rowId: number }[],
): Promise<ReadonlyMap<Id, Placement>> {
  if (chosen.length === 0) return new Map();
  const { rows } = await client.query<PlacementRow>(
    `insert into process_schedulers (process_id, scheduler_row_id)
     select * from unnest($1::text[], $2::int[])
     on conflict (process_id) do nothing
     returning ${PLACEMENT_COLUMNS}`,
    [chosen.map(({ processId }) => processId), chosen.map(({ rowId }) => rowId)],
  );
  return new Map(rows.map(toPlacement).map((placement) => [placement.processId, placement]));
}

async function addToCounts(client: Queryable, placed: readonly Placement[]): Promise<void> {
  if (placed.length === 0) return;
  await client.query(
    `update schedulers s set process_count = s.process_count + added.count
       from (select row_id, count(*)::int as count from unnest($1::int[]) as placed (row_id) group by row_id) added
      where s.row_id = added.row_id`,
    [placed.map(({ rowId }) => rowId)],
  );
}

async function countPlacements(client: Queryable): Promise<ReadonlyMap<number, number>> {
  const { rows } = await client.query<{ scheduler_row_id: number; count: Int8 }>(
    'select scheduler_row_id, count(*) as count from process_schedulers group by scheduler_row_id',
  );
  return new Map(rows.map(({ scheduler_row_id, count }) => [scheduler_row_id, parseInt8(count)]));
}

function toScheduler(row: SchedulerRow): StoredScheduler {
  return {
    rowId: row.row_id,
    url: baseUrl(row.url),
    processCount: row.process_count,
    noRoute: row.no_route === true,
    walletsToRoute: splitWallets(row.wallets_to_route),
    walletsOnly: row.wallets_only === true,
  };
}

function toPlacement(row: PlacementRow): Placement {
  return {
    processId: storedId(row.process_id),
    rowId: row.scheduler_row_id,
    key: row.key,
  };
}

/** Null, as the reference writes what the list does not say. */
function walletsText({ walletsToRoute }: ListedScheduler): string | null {
  return walletsToRoute.length === 0 ? null : walletsToRoute.join(',');
}
