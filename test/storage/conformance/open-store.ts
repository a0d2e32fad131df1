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
  /** Sets the wall clock of the store's outbox, as an operator or a time server does; no time passes. */
  setClock?(byMs: number): Promise<void>;
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

export interface StoreInUse {
  readonly current: OpenStore;
  readonly place: StorePlace;
  reopen(): Promise<void>;
}

/**
 * The store of the running test.
 *
 * @param sharing `fresh`: an empty place for each test. `shared`: one for all tests of the group, for tests
 *   that look only at processes of their own; a store that a test has closed is opened again.
 */
export function useStore(makePlace: MakePlace, sharing: 'fresh' | 'shared'): StoreInUse {
  let place: StorePlace | undefined;
  let opened: OpenStore | undefined;
  let isClosed = false;

  async function open(): Promise<void> {
    place ??= await makePlace(LEASE_MS);
    if (opened !== undefined) return;
    const store = await place.open();
    opened = {
      ...store,
      close: async () => {
        isClosed = true;
        await store.close();
      },
    };
  }

  async function close(): Promise<void> {
    await opened?.close();
    opened = undefined;
    isClosed = false;
  }
  async function destroy(): Promise<void> {
    await close();
    await place?.destroy();
    place = undefined;
  }

  beforeEach(async function openBefore() {
    this.timeout(30_000);
    if (isClosed) await close();
    await open();
  });
  if (sharing === 'fresh') afterEach(destroy);
  else after(destroy);
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
      await close();
      await open();
    },
  };
}

/** All entries of a range, its pieces joined. */
export async function collect<T>(pieces: AsyncIterable<readonly T[]>): Promise<T[]> {
  const all: T[] = [];
  for await (const piece of pieces) all.push(...piece);
  return all;
}
