import type { Id } from '../protocol/ids.js';

/** A Scheduler Unit as the operator's list describes it. */
export interface ListedScheduler {
  /** Base URL without a slash at its end. */
  readonly url: string;
  /** Takes no new process. */
  readonly noRoute: boolean;
  /** Owners whose new processes come here. */
  readonly walletsToRoute: readonly string[];
  /** Takes new processes of `walletsToRoute` and no others. */
  readonly walletsOnly: boolean;
}

/** A Scheduler Unit as the store knows it; the list may have forgotten it. */
export interface StoredScheduler extends ListedScheduler {
  /** Never changes and is never given twice; the order of these is the order of choice. */
  readonly rowId: number;
  /** Processes that were placed there, as counted. */
  readonly processCount: number;
}

/** Where a process is. */
export interface Placement {
  readonly processId: Id;
  /** Row of the SU. */
  readonly rowId: number;
  /** Names this placing of the process to whoever was told of it last; each further spawn makes it another. */
  readonly key: string;
}

/** A placement as `place` answers it. */
export interface Placed extends Placement {
  /** False: it was there before. */
  readonly isNew: boolean;
}

/**
 * Chooses the SU for a process that has none.
 *
 * @param schedulers all that are stored, in row order, with the counts of this moment
 * @returns the row; undefined when none may take it
 */
export type Choose = (schedulers: readonly StoredScheduler[]) => number | undefined;

export interface PlaceRequest {
  readonly processId: Id;
  readonly choose: Choose;
}

/** A count that does not say how many processes are placed. */
export interface RepairedCount {
  readonly url: string;
  readonly from: number;
  readonly to: number;
}

/** What the operator's check looks at. All throw SuError `store-unavailable` when the store is away. */
export interface RouteInspection {
  /** In row order. */
  readSchedulers(): Promise<readonly StoredScheduler[]>;
  /** Placements that are stored, by row of the SU; an SU without any is left out. */
  countPlacements(): Promise<ReadonlyMap<number, number>>;
  /**
   * Placements in an order that has nothing to do with their age, after `from` and, past the end, from the beginning.
   *
   * @param from any id: a random one gives a random sample
   */
  samplePlacements(from: Id, limit: number): Promise<readonly Placement[]>;
  /** Makes every count what the placements say, and answers what was changed. */
  repairCounts(): Promise<readonly RepairedCount[]>;
}

/** Where processes are, and how many are where. */
export interface RouteStore extends RouteInspection {
  /**
   * Adds the SUs that are not known, gives known ones the list's flags, leaves the others as they are. All at once or not at all.
   *
   * @returns all that are stored then, in row order
   * @throws SuError `store-unavailable`
   */
  applyList(list: readonly ListedScheduler[]): Promise<readonly StoredScheduler[]>;
  /** @throws SuError `store-unavailable` */
  findPlacement(processId: Id): Promise<Placement | undefined>;
  /**
   * The placement for one more spawn of the process, durably under a new key: with an older one it cannot be taken back
   * any more.
   *
   * @throws SuError `store-unavailable`
   */
  joinPlacement(processId: Id): Promise<Placement | undefined>;
  /**
   * Gives each process that has no placement the one that is chosen, and counts it in the same commit; durable when it
   * answers. One that was there before is joined. Answers in the order asked, undefined where none was chosen. Each
   * process is named once.
   *
   * @throws SuError `store-unavailable`: some may have been placed; asked again it says where
   */
  place(requests: readonly PlaceRequest[]): Promise<readonly (Placed | undefined)[]>;
  /**
   * Removes this placing of the process and takes it off the count, in one commit. False when it is gone or its key is
   * another by now.
   *
   * @throws SuError `store-unavailable`
   */
  takeBack(placement: Placement): Promise<boolean>;
}

/** What is known of an SU without asking it. */
export interface SchedulerHealth {
  /** False: requests to it fail, and are not tried. */
  isReachable(url: string): boolean;
  /** False: it is not known to live and take writes, so new processes are not placed there. Unknown counts as true. */
  takesNew(url: string): boolean;
  /** A request reached it. */
  succeeded(url: string): void;
  /** A request did not reach it, or got no answer. */
  failed(url: string, reason: string): void;
}

/** What the router asks of an SU over HTTP. */
export interface SchedulerClient {
  /**
   * Whether the SU knows this process.
   * @throws SuError `scheduler-unavailable`, `scheduler-timeout` when it cannot be asked
   */
  fetchKnowsProcess(url: string, processId: Id, signal?: AbortSignal): Promise<boolean>;
  /**
   * The block height that the SU tells.
   * @throws SuError `scheduler-unavailable`, `scheduler-timeout`
   */
  fetchBlockHeight(url: string, signal?: AbortSignal): Promise<number>;
  /**
   * Its address and its clock (ms).
   * @throws SuError `scheduler-unavailable`, `scheduler-timeout`
   */
  fetchInfo(
    url: string,
    signal?: AbortSignal,
  ): Promise<{ readonly address: string; readonly timestamp: number }>;
  /**
   * `ready`: it answers `/health` with success or does not know the path; `waiting`: it answers and is not ready.
   * @throws SuError `scheduler-unavailable`, `scheduler-timeout`
   */
  fetchHealth(url: string, signal?: AbortSignal): Promise<'ready' | 'waiting'>;
}

/** What this folder needs of a logger. */
export interface RouterLog {
  info(fields: object, sentence?: string): void;
  warn(fields: object, sentence?: string): void;
  error(fields: object, sentence?: string): void;
}

/** Between commas, trimmed; as the list and the table of the reference have them. */
export function splitWallets(text: string | null | undefined): readonly string[] {
  return (text ?? '')
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** One spelling of a base URL: without slashes at its end. */
export function baseUrl(text: string): string {
  return text.trim().replace(/\/+$/, '');
}
