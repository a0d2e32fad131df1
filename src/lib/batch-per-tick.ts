import { isSuError } from './errors.js';

interface Waiting<Query, Answer> {
  readonly query: Query;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Joins the look-ups that arrive in one turn of the event loop into one call: a store answers fifty ids as
 * fast as one. While a call runs, later look-ups gather for the next, so at most one is under way.
 *
 * @param load answers many queries in their order; what it throws reaches every caller of that call, except that after an
 *   `invariant` each is asked again alone.
 * @param sizeMax queries in one call at most.
 */
export function batchPerTick<Query, Answer>(
  load: (queries: readonly Query[]) => Promise<readonly Answer[]>,
  sizeMax: number,
): (query: Query) => Promise<Answer> {
  let waiting: Waiting<Query, Answer>[] = [];
  let running = false;

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
    running = false;
  }

  return (query) =>
    new Promise<Answer>((resolve, reject) => {
      waiting.push({ query, resolve, reject });
      if (running) return;
      running = true;
      // drain() settles every caller itself and cannot reject.
      setImmediate(() => void drain());
    });
}
