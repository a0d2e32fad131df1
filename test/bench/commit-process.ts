import { openBareCommits, type CommitPlace } from './bare-commits.js';

/*
 * A program of its own: what a commit of one entry costs in a store without us. Its parent sends one Question at a time
 * and gets the milliseconds of each commit, in the order of their end, and how long all took.
 */
export interface CommitQuestion {
  readonly place: CommitPlace;
  readonly times: number;
  /** Each commits its part, one after the other. */
  readonly connections: number;
}

export interface CommitAnswer {
  readonly eachMs: readonly number[];
  readonly elapsedMs: number;
}

const WARM_UP = 10;

async function timeEach(times: number, work: () => Promise<unknown>): Promise<number[]> {
  const eachMs: number[] = [];
  for (let i = 0; i < times; i += 1) {
    const begun = performance.now();
    await work();
    eachMs.push(performance.now() - begun);
  }
  return eachMs;
}

async function answer({ place, times, connections }: CommitQuestion): Promise<CommitAnswer> {
  const stores = await Promise.all(
    Array.from({ length: connections }, () => openBareCommits(place)),
  );
  try {
    await Promise.all(stores.map((store) => timeEach(WARM_UP, () => store.commit())));
    const begun = performance.now();
    const each = await Promise.all(
      stores.map((store) => timeEach(Math.ceil(times / connections), () => store.commit())),
    );
    return { eachMs: each.flat(), elapsedMs: performance.now() - begun };
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

process.on('message', (question: CommitQuestion) => {
  answer(question).then(
    (answered) => process.send?.(answered),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
