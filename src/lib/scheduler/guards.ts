import type { DataItem } from '../protocol/data-item.js';
import type { Id } from '../protocol/ids.js';
import type { DeepHashGuard } from './deep-hash-guard.js';
import { makeFairShares, type FairShares } from './fair-shares.js';
import type { ProcessGuard } from './process-whitelist.js';

/** What an operator may put before the write path. All throw SuError; what is undefined lets everything pass. */
export interface Guards {
  /** Which processes are served: `not-allowed`, `not-ready`. */
  readonly processes: ProcessGuard | undefined;
  /** Which messages are too large: `body-too-large`. */
  readonly checkSize: ((message: DataItem) => void) | undefined;
  /** Which processes the router has placed elsewhere: `not-allowed`, `gateway-unavailable`, `gateway-timeout`. */
  readonly checkPlace: ((processId: Id) => Promise<void>) | undefined;
  /** Which content is known: `duplicate-message`. */
  readonly deepHashes: DeepHashGuard | undefined;
  /** Who has used up a share of the queues: `process-busy`, `owner-busy`. */
  readonly shares: FairShares;
}

/** Lets everything pass. */
export const NO_GUARDS: Guards = {
  processes: undefined,
  checkSize: undefined,
  checkPlace: undefined,
  deepHashes: undefined,
  shares: makeFairShares({ perProcess: 0, perOwner: 0 }),
};
