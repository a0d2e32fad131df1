import { isSuError } from '../errors.js';
import { deepHashForDeduplication, type DeduplicatedFields } from '../protocol/deep-hash.js';
import type { Id } from '../protocol/ids.js';
import { toBase64Url } from '../protocol/ids.js';
import { batchPerGroup } from '../batch-per-tick.js';
import { duplicateError, type DeepHashes, type DeepHashStore, type GroupOf } from './ports.js';

/*
 * The same content under another signature is the same message: pushed messages come along several ways, each signed
 * anew. What decides is the commit (ScheduleStore.append), in which hash and entry are written together. Before it
 * there are two cheaper looks, so that a copy costs neither a signature nor its neighbours a second one: at the copies
 * under way in this program, and at what is stored.
 */

/** A posting whose content is compared. */
export interface ComparedPosting {
  readonly processId: Id;
  /** Of the message, or of the transaction that is assigned. */
  readonly messageId: Id;
  readonly kind: 'message' | 'assigned-transaction';
  readonly hashes: DeepHashes;
}

export interface DeepHashGuard {
  hash(content: DeduplicatedFields): Promise<DeepHashes>;
  /**
   * Places a posting unless its content is known; copies that arrive meanwhile wait for its outcome.
   *
   * @throws SuError `duplicate-message` naming the first one; what `place` throws
   */
  place<Outcome>(posting: ComparedPosting, place: () => Promise<Outcome>): Promise<Outcome>;
}

export interface DeepHashGuardOptions {
  readonly store: Pick<DeepHashStore, 'findDuplicates'>;
  /** Left out: the store is one. */
  readonly groupOf?: GroupOf | undefined;
  readonly version: string;
  /** Told of each process that takes a compared message. */
  readonly onProcess: (processId: Id) => void;
  readonly lookUpsAtOnce: number;
}

/** See the flow above. */
export function makeDeepHashGuard(options: DeepHashGuardOptions): DeepHashGuard {
  const { store, version, onProcess } = options;
  const groupOf = options.groupOf ?? ((): string => '');
  const findDuplicate = batchPerGroup(
    ({ processId }) => groupOf(processId),
    (queries: Parameters<DeepHashStore['findDuplicates']>[0]) => store.findDuplicates(queries),
    options.lookUpsAtOnce,
  );
  const underWay = new Map<string, UnderWay>();

  async function placeFirst<Outcome>(
    { processId, messageId, kind, hashes }: ComparedPosting,
    place: () => Promise<Outcome>,
  ): Promise<Outcome> {
    const first = await findDuplicate({ processId, hashes });
    // A message is no copy of itself: its identity decides whether it was stored as a message before.
    if (first !== undefined && !(kind === 'message' && first === messageId)) {
      throw duplicateError(first);
    }
    return place();
  }

  return {
    async hash(content) {
      const { sorted, unsorted } = await deepHashForDeduplication(content);
      const stored = toBase64Url(sorted);
      const other = toBase64Url(unsorted);
      return { version, stored, matches: stored === other ? [stored] : [stored, other] };
    },

    async place<Outcome>(posting: ComparedPosting, place: () => Promise<Outcome>) {
      const { processId, messageId, hashes } = posting;
      onProcess(processId);
      const name = `${processId} ${hashes.stored}`;
      for (;;) {
        const other = underWay.get(name);
        if (other === undefined) break;
        const failure = await other.failure;
        if (failure === undefined) throw duplicateError(other.messageId);
        // The store or the height is away, or the process is full: every copy would meet the same.
        if (isSuError(failure, ...SHARED_FAILURES)) throw failure;
      }
      const work = placeFirst(posting, place);
      const mine = { messageId, failure: failureOf(work) };
      underWay.set(name, mine);
      try {
        return await work;
      } finally {
        if (underWay.get(name) === mine) underWay.delete(name);
      }
    },
  };
}

interface UnderWay {
  readonly messageId: Id;
  /** Resolves when it is over: undefined when it was placed. */
  readonly failure: Promise<unknown>;
}

const SHARED_FAILURES = [
  'duplicate-message',
  'store-unavailable',
  'height-unavailable',
  'process-busy',
  'owner-busy',
  'scheduler-busy',
  'not-ready',
] as const;

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error ?? new Error('failed without a reason');
  }
}
