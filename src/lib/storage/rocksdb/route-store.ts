import type { Id } from '../../protocol/ids.js';
import type {
  ListedScheduler,
  Placed,
  Placement,
  PlaceRequest,
  RepairedCount,
  RouteStore,
  StoredScheduler,
} from '../../router/ports.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import {
  decodePlacement,
  decodeRouteCounters,
  decodeScheduler,
  encodePlacement,
  encodeRouteCounters,
  encodeScheduler,
  placementKey,
  PLACEMENT_END,
  processOfPlacementKey,
  ROUTE_COUNTERS_KEY,
  SCHEDULER_RANGE,
  schedulerKey,
  type RouteCounters,
} from './route-rows.js';

/** SUs of one router at most; more are no list that a person wrote. */
const SCHEDULERS_MAX = 100_000;
/** Placements that one look reads. */
const PIECE = 10_000;

/** What is stored, but for the placements. */
interface State extends RouteCounters {
  readonly schedulers: readonly StoredScheduler[];
}

interface Rows {
  readonly puts: readonly (readonly [key: Uint8Array, value: Uint8Array])[];
  readonly removals?: readonly Uint8Array[];
}

/**
 * The router's part of the embedded store: what `RouteStore` promises. RocksDB admits one program, so whoever changes
 * anything waits for the one before and decides in memory on what is stored; placement and count go into one synced batch. After
 * a failed write nobody knows what is stored, and everything is read again.
 */
export class RocksdbRouteStore implements RouteStore {
  readonly #engine: Engine;
  #state: State | undefined;
  /** Settles with the last change that was begun, and never rejects. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(engine: Engine) {
    this.#engine = engine;
    engine.onReopened(() => {
      this.#state = undefined;
    });
  }

  async applyList(list: readonly ListedScheduler[]): Promise<readonly StoredScheduler[]> {
    return this.#alone(async () => {
      const state = await this.#read();
      const schedulers = state.schedulers.map((stored) => {
        const listed = list.find(({ url }) => url === stored.url);
        return listed === undefined ? stored : { ...stored, ...listed };
      });
      let { nextRow } = state;
      for (const listed of list) {
        if (schedulers.some(({ url }) => url === listed.url)) continue;
        schedulers.push({ ...listed, rowId: nextRow, processCount: 0 });
        nextRow += 1;
      }
      await this.#write({ ...state, nextRow, schedulers }, { puts: [] });
      return schedulers;
    });
  }

  async readSchedulers(): Promise<readonly StoredScheduler[]> {
    return (await this.#read()).schedulers;
  }

  async findPlacement(processId: Id): Promise<Placement | undefined> {
    return findPlacements(await this.#engine.database(), [processId])[0];
  }

  async joinPlacement(processId: Id): Promise<Placement | undefined> {
    // Most spawns are first ones, and need not wait for those who write.
    if ((await this.findPlacement(processId)) === undefined) return undefined;
    return (await this.place([{ processId, choose: () => undefined }]))[0];
  }

  async place(requests: readonly PlaceRequest[]): Promise<readonly (Placed | undefined)[]> {
    return this.#alone(async () => {
      const state = await this.#read();
      const ids = requests.map(({ processId }) => processId);
      const before = findPlacements(await this.#engine.database(), ids);
      const schedulers = [...state.schedulers];
      const written: Placement[] = [];
      const write = (processId: Id, rowId: number): Placement => {
        const placement = { processId, rowId, key: String(state.nextPlacement + written.length) };
        written.push(placement);
        return placement;
      };
      const answers = requests.map(({ processId, choose }, index): Placed | undefined => {
        const known = before[index];
        if (known !== undefined) return { ...write(processId, known.rowId), isNew: false };
        const rowId = choose(schedulers);
        if (!addToCount(schedulers, rowId, 1) || rowId === undefined) return undefined;
        return { ...write(processId, rowId), isNew: true };
      });
      if (written.length === 0) return answers;
      const nextPlacement = state.nextPlacement + written.length;
      await this.#write(
        { ...state, nextPlacement, schedulers },
        {
          puts: written.map((placement) => [
            placementKey(placement.processId),
            encodePlacement(placement),
          ]),
        },
      );
      return answers;
    });
  }

  async takeBack(placement: Placement): Promise<boolean> {
    return this.#alone(async () => {
      const state = await this.#read();
      const stored = await this.findPlacement(placement.processId);
      if (stored?.rowId !== placement.rowId || stored.key !== placement.key) return false;
      const schedulers = [...state.schedulers];
      addToCount(schedulers, placement.rowId, -1);
      await this.#write(
        { ...state, schedulers },
        { puts: [], removals: [placementKey(placement.processId)] },
      );
      return true;
    });
  }

  async countPlacements(): Promise<ReadonlyMap<number, number>> {
    const counts = new Map<number, number>();
    let gte = Buffer.from('p');
    for (;;) {
      const piece = await this.#readPlacements({ gte, lt: PLACEMENT_END }, PIECE);
      for (const { rowId } of piece) counts.set(rowId, (counts.get(rowId) ?? 0) + 1);
      const last = piece.at(-1);
      if (last === undefined || piece.length < PIECE) return counts;
      // The key with a zero behind it is the next one possible.
      gte = Buffer.concat([placementKey(last.processId), Buffer.alloc(1)]);
    }
  }

  async samplePlacements(from: Id, limit: number): Promise<readonly Placement[]> {
    const at = placementKey(from);
    const after = await this.#readPlacements({ gte: at, lt: PLACEMENT_END }, limit);
    if (after.length >= limit) return after;
    const before = { gte: Buffer.from('p'), lt: at };
    return [...after, ...(await this.#readPlacements(before, limit - after.length))];
  }

  async repairCounts(): Promise<readonly RepairedCount[]> {
    return this.#alone(async () => {
      const state = await this.#read();
      const counts = await this.countPlacements();
      const repaired: RepairedCount[] = [];
      const schedulers = state.schedulers.map((scheduler) => {
        const { url, processCount: from } = scheduler;
        const to = counts.get(scheduler.rowId) ?? 0;
        if (from !== to) repaired.push({ url, from, to });
        return { ...scheduler, processCount: to };
      });
      if (repaired.length > 0) await this.#write({ ...state, schedulers }, { puts: [] });
      return repaired;
    });
  }

  #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #read(): Promise<State> {
    if (this.#state !== undefined) return this.#state;
    const database = await this.#engine.database();
    const rows = database.readFew('default', { ...SCHEDULER_RANGE, limit: SCHEDULERS_MAX });
    this.#state = {
      ...decodeRouteCounters(database.read('default', ROUTE_COUNTERS_KEY)),
      schedulers: rows.map(([key, value]) => decodeScheduler(key, value)),
    };
    return this.#state;
  }

  /** Writes what of `next` differs from the state in memory, with further rows, in one batch: THE commit point of a placement. */
  async #write(next: State, { puts, removals = [] }: Rows): Promise<void> {
    const known = new Set(this.#state?.schedulers);
    const changed = next.schedulers.filter((scheduler) => !known.has(scheduler));
    // Until the write is known to have succeeded, what is stored is not known.
    this.#state = undefined;
    await this.#engine.write({
      kind: 'put-rows',
      puts: [
        ...puts,
        ...changed.map((each) => [schedulerKey(each.rowId), encodeScheduler(each)] as const),
        [ROUTE_COUNTERS_KEY, encodeRouteCounters(next)],
      ],
      removals,
    });
    this.#state = next;
  }

  async #readPlacements(
    range: { readonly gte: Buffer; readonly lt: Buffer },
    limit: number,
  ): Promise<readonly Placement[]> {
    const database = await this.#engine.database();
    const rows = await database.readRange('default', { ...range, limit });
    return rows.map(([key, value]) => decodePlacement(processOfPlacementKey(key), value));
  }
}

function findPlacements(
  database: Database,
  processIds: readonly Id[],
): readonly (Placement | undefined)[] {
  const values = database.readMany('default', processIds.map(placementKey));
  return processIds.map((processId, index) => {
    const value = values[index];
    return value === undefined ? undefined : decodePlacement(processId, value);
  });
}

/** Replaces the SU of the row by one whose count is changed; false when there is none. */
function addToCount(schedulers: StoredScheduler[], rowId: number | undefined, by: number): boolean {
  const index = schedulers.findIndex((scheduler) => scheduler.rowId === rowId);
  const scheduler = schedulers[index];
  if (scheduler === undefined) return false;
  schedulers[index] = { ...scheduler, processCount: scheduler.processCount + by };
  return true;
}
