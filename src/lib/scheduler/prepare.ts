import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';
import type { DeepHashGuard } from './deep-hash-guard.js';
import type { DeepHashes, Gateway, ScheduleStore } from './ports.js';

/** Everything a job needs to ask the network or the store before it may stand in a lane: nothing is stored yet. */
export interface Prepare {
  /**
   * A process's `On-Boot` id must be known to a gateway.
   * @throws SuError `invalid-request`, `gateway-unavailable`, `gateway-timeout`
   */
  checkOnBoot(onBoot: Id | undefined): Promise<void>;
  /**
   * A transaction that is to be assigned must exist: on the base layer deep enough for the process, else in GraphQL.
   * Answers the hashes of what it says when they are wanted; none of one on the base layer.
   * @throws SuError `unknown-process`, `unknown-transaction`, `not-enough-confirmations`, `gateway-unavailable`, `gateway-timeout`,
   * `body-too-large` and `scheduler-busy` (only when hashes are wanted)
   */
  checkTransaction(request: AssignRequest): Promise<DeepHashes | undefined>;
}

export interface AssignRequest {
  readonly processId: Id;
  readonly transactionId: Id;
  readonly baseLayer: boolean;
}

export interface PrepareOptions {
  readonly gateway: Pick<
    Gateway,
    'fetchConfirmations' | 'fetchTransactionExists' | 'fetchTransaction' | 'fetchIdAnswers'
  >;
  readonly store: Pick<ScheduleStore, 'findProcessTags'>;
  /** Process assignments: only with them is `On-Boot` checked. */
  readonly processAssignment: boolean;
  /** Hashes the content of an assigned transaction; undefined when it is not compared. */
  readonly hash: DeepHashGuard['hash'] | undefined;
}

/** Confirmations that a process without a `Settlement-Depth` tag asks for. */
const SETTLEMENT_DEPTH = 20;

/** See Prepare. */
export function makePrepare(options: PrepareOptions): Prepare {
  const { gateway, store, processAssignment, hash } = options;

  /** Undefined when it exists and no more is wanted. */
  async function findHashes(transactionId: Id): Promise<DeepHashes | undefined> {
    const found =
      hash === undefined
        ? await gateway.fetchTransactionExists(transactionId)
        : await gateway.fetchTransaction(transactionId, hash);
    if (found === true) return undefined;
    if (found !== undefined && found !== false) return found;
    throw new SuError(
      'unknown-transaction',
      `transaction ${transactionId} is not known to the gateway`,
    );
  }

  return {
    async checkOnBoot(onBoot) {
      if (onBoot === undefined || !processAssignment) return;
      if (await gateway.fetchIdAnswers(onBoot)) return;
      throw new SuError('invalid-request', `On-Boot ${onBoot} is not known to any gateway`);
    },

    async checkTransaction({ processId, transactionId, baseLayer }) {
      const tags = await store.findProcessTags(processId);
      if (tags === undefined) {
        throw new SuError('unknown-process', `process ${processId} is not known to this scheduler`);
      }
      if (!baseLayer) return findHashes(transactionId);
      const wanted = settlementDepth(findTag(tags, 'Settlement-Depth'));
      const confirmations = await gateway.fetchConfirmations(transactionId);
      if (confirmations >= wanted) return undefined;
      throw new SuError(
        'not-enough-confirmations',
        `transaction ${transactionId} has ${confirmations} of ${wanted} confirmations`,
      );
    },
  };
}

/** A tag that is no number counts as absent: the process was accepted with it long ago. */
function settlementDepth(tag: string | undefined): number {
  return tag !== undefined && /^\d{1,9}$/.test(tag) ? Number(tag) : SETTLEMENT_DEPTH;
}
