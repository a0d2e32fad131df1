import { isSuError } from './errors.js';
import { PerGroup } from './per-group.js';

interface Waiting<Query, Answer> {
  readonly query: Query;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Joins look-ups like `batchPerTick`, but only those of one group: what one group's answers wait for, or fail of, is nothing to the
 * others.
 */
export function batchPerGroup<Query, Answer>(
  groupOf: (query: Query) => string,
  load: (queries: readonly Query[]) => Promise<readonly Answer[]>,
  sizeMax: number,
): (query: Query) => Promise<Answer> {
  const batches = new PerGroup(() => batchPerTick(load, sizeMax));
  return (query) => batches.of(groupOf(query))(query);
}

/**
 * Joins the look-ups that arrive in one turn of the event loop into one call: a store answers fifty ids as
 * fast as one. While as many calls run as may, later look-ups gather for the next.
 *
 * @param load answers many queries in their order; what it throws reaches every caller of that call, except that after an
 *   `invariant` each is asked again alone.
 * @param sizeMax queries in one call at most.
 * @param callsMax calls under way at most: with two, one is answered while the answers of the other are used.
 */
export function batchPerTick<Query, Answer>(
  load: (queries: readonly Query[]) => Promise<readonly Answer[]>,
  sizeMax: number,
  callsMax = 1,
): (query: Query) => Promise<Answer> {
  let waiting: Waiting<Query, Answer>[] = [];
  let running = 0;
  let isStarting = false;

  /** What is damaged must not fail those who were only asked about in the same breath. */
  async function settleFailed(
    batch: readonly Waiting<Query, Answer>[],
    error: unknown,
  ): Promise<void> {
    if (batch.length === 1 || !isSuError(error, 'invariant')) {
      for (const { reject } of batch) reject(error);
      return;
    }
    for (const { query, resolve, reject } of batch) {
      await load([query]).then(([answer]) => resolve(answer as Answer), reject);
    }
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting.splice(0, sizeMax);
      try {
        const answers = await load(batch.map(({ query }) => query));
        batch.forEach(({ resolve }, index) => resolve(answers[index] as Answer));
      } catch (error) {
        await settleFailed(batch, error);
      }
    }
    running -= 1;
  }

  return (query) =>
    new Promise<Answer>((resolve, reject) => {
      waiting.push({ query, resolve, reject });
      // Those who come in one turn share a call, whichever begins.
      if (running === callsMax || isStarting) return;
      isStarting = true;
      running += 1;
      // drain() settles every caller itself and cannot reject.
      setImmediate(() => {
        isStarting = false;
        void drain();
      });
    });
}
