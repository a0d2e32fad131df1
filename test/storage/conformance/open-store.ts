import type { LogReader, ScheduleStore } from '../../../src/lib/scheduler/ports.js';
import type { Outbox } from '../../../src/lib/uploader/ports.js';

/** A store with all its ports, as an adapter's opener returns it. */
export interface OpenStore {
  readonly store: ScheduleStore;
  readonly reader: LogReader;
  readonly outbox: Outbox;
  close(): Promise<void>;
}

/** One place (a folder, a database) that a suite opens, closes and opens again. */
export interface StorePlace {
  /** Opens a store on this place; what an earlier one wrote is there. */
  open(): Promise<OpenStore>;
  /** Lets the clock of the store's outbox pass by this many milliseconds. */
  pass(ms: number): Promise<void>;
  /** Removes the place. Everything opened on it is closed before. */
  destroy(): Promise<void>;
}

/**
 * Makes a new and empty place.
 *
 * @param leaseMs how long the outbox of its stores leases a row
 */
export type MakePlace = (leaseMs: number) => Promise<StorePlace>;

export const LEASE_MS = 1000;

/** The store of the running test: a new place before each test, closed and removed after it. */
export function useStore(makePlace: MakePlace): {
  readonly current: OpenStore;
  readonly place: StorePlace;
  reopen(): Promise<void>;
} {
  let place: StorePlace | undefined;
  let opened: OpenStore | undefined;
  beforeEach(async () => {
    place = await makePlace(LEASE_MS);
    opened = await place.open();
  });
  afterEach(async () => {
    await opened?.close();
    await place?.destroy();
    opened = undefined;
    place = undefined;
  });
  return {
    get current(): OpenStore {
      if (opened === undefined) throw new Error('no store is open: use it within a test');
      return opened;
    },
    get place(): StorePlace {
      if (place === undefined) throw new Error('no place is made: use it within a test');
      return place;
    },
    async reopen() {
      await opened?.close();
      opened = undefined;
      opened = await this.place.open();
    },
  };
}

/** All entries of a range, its pieces joined. */
export async function collect<T>(pieces: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const piece of pieces) all.push(...piece);
  return all;
}
