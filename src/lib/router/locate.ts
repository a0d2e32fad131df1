import { LRUCache } from 'lru-cache';
import { SuError } from '../errors.js';
import { isId, quoteBounded, type Id } from '../protocol/ids.js';
import type { Directory } from './directory.js';
import { requireReady } from './directory.js';
import type { Placement, RouteStore } from './ports.js';

/** A process and the SU that has it. */
export interface Located {
  readonly placement: Placement;
  /** Base URL of the SU. */
  readonly url: string;
}

export interface LocateOptions {
  readonly store: Pick<RouteStore, 'findPlacement' | 'joinPlacement'>;
  readonly directory: Pick<Directory, 'find' | 'isReady'>;
  /** Asks the SUs for a process that the store does not know; undefined when that is switched off. */
  readonly discover: ((processId: Id) => Promise<Placement | undefined>) | undefined;
  /** Placements remembered. */
  readonly cacheSize: number;
  /** Another router may take a placement back, so none is remembered for longer than this, ms. */
  readonly cacheMs: number;
  /** Milliseconds that never step. */
  readonly monotonicMs: () => number;
}

export interface Locate {
  /**
   * Where a process is.
   *
   * @param processId as the client wrote it: a text that cannot be an id is an unknown process
   * @throws SuError `unknown-process`, `store-unavailable`, `not-ready`; with discovery also `scheduler-unavailable`
   */
  locate(processId: string): Promise<Located>;
  /**
   * The placement from the store, joined for a spawn: what is remembered may have been taken back by another router, and
   * what is only looked at may be; the SU would then have a process that is recorded nowhere.
   */
  joinStored(processId: Id): Promise<Located | undefined>;
  /** Remembers a placement that was made. */
  remember(placement: Placement): Promise<Located>;
  forget(processId: Id): void;
}

/** Finds the SU of a process: in memory, else in the store, else, when that is on, by asking the SUs. */
export function makeLocate(options: LocateOptions): Locate {
  const { store, directory, discover } = options;
  const remembered = new LRUCache<Id, Placement>({
    max: options.cacheSize,
    ttl: options.cacheMs,
    perf: { now: options.monotonicMs },
  });

  async function toLocated(placement: Placement): Promise<Located> {
    const scheduler = await directory.find(placement.rowId);
    if (scheduler === undefined) {
      throw new SuError(
        'invariant',
        `a process is placed on row ${placement.rowId}, which is no SU`,
        {
          details: { processId: placement.processId },
        },
      );
    }
    return { placement, url: scheduler.url };
  }

  async function remember(placement: Placement): Promise<Located> {
    remembered.set(placement.processId, placement);
    return toLocated(placement);
  }

  async function joinStored(processId: Id): Promise<Located | undefined> {
    requireReady(directory);
    const placement = await store.joinPlacement(processId);
    return placement === undefined ? undefined : remember(placement);
  }

  async function findPlaced(processId: Id): Promise<Located | undefined> {
    requireReady(directory);
    const known = remembered.get(processId);
    // Not remembered anew: its time would never be up.
    if (known !== undefined) return toLocated(known);
    const placement = await store.findPlacement(processId);
    return placement === undefined ? undefined : remember(placement);
  }

  return {
    joinStored,
    remember,
    forget: (processId) => void remembered.delete(processId),
    async locate(text) {
      if (!isId(text)) throw unknownProcess(text);
      const placed = await findPlaced(text);
      if (placed !== undefined) return placed;
      const found = await discover?.(text);
      if (found === undefined) throw unknownProcess(text);
      return remember(found);
    },
  };
}

/** The answer to whoever names a process that this router does not serve. */
export function unknownProcess(processId: string): SuError {
  return new SuError(
    'unknown-process',
    `the process ${quoteBounded(processId)} is not known to this router`,
  );
}
