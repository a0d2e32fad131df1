import { expect } from 'chai';
import { SuError } from '../src/lib/errors.js';
import { batchPerGroup, batchPerTick } from '../src/lib/batch-per-tick.js';

describe('look-ups that arrive together', () => {
  it('are one call, in bounded parts, each answered with its own', async () => {
    const calls: (readonly number[])[] = [];
    const find = batchPerTick((queries: readonly number[]) => {
      calls.push(queries);
      return Promise.resolve(queries.map((query) => query * 10));
    }, 3);
    expect(await Promise.all([1, 2, 3, 4].map(find))).to.deep.equal([10, 20, 30, 40]);
    expect(calls).to.deep.equal([[1, 2, 3], [4]]);
  });

  it('have as many calls under way as they may, and share a call when they come together', async () => {
    const calls: (readonly number[])[] = [];
    const answers: (() => void)[] = [];
    const find = batchPerTick(
      (queries: readonly number[]) => {
        calls.push(queries);
        return new Promise<readonly number[]>((resolve) => {
          answers.push(() => resolve(queries));
        });
      },
      10,
      2,
    );
    const turn = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 5));
    const asked = [find(1), find(2)];
    await turn();
    asked.push(find(3));
    await turn();
    asked.push(find(4), find(5));
    await turn();
    expect(calls).to.deep.equal([[1, 2], [3]]);
    answers[0]?.();
    await turn();
    expect(calls).to.deep.equal([[1, 2], [3], [4, 5]]);
    for (const answer of answers) answer();
    expect(await Promise.all(asked)).to.deep.equal([1, 2, 3, 4, 5]);
  });

  it('fail together when the store is away', async () => {
    const away = new SuError('store-unavailable', 'away');
    let calls = 0;
    const find = batchPerTick(() => {
      calls += 1;
      return Promise.reject(away);
    }, 10);
    const settled = await Promise.allSettled([1, 2, 3].map(find));
    expect(settled.every((each) => each.status === 'rejected' && each.reason === away)).to.equal(
      true,
    );
    expect(calls).to.equal(1);
  });

  it('do not fail for what is damaged in one of them', async () => {
    const find = batchPerTick((queries: readonly string[]) => {
      if (queries.includes('damaged')) return Promise.reject(new SuError('invariant', 'damaged'));
      return Promise.resolve(queries.map((query) => query.toUpperCase()));
    }, 10);
    const settled = await Promise.allSettled(['a', 'damaged', 'b'].map(find));
    expect(settled.map(({ status }) => status)).to.deep.equal([
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
  });
});

describe('look-ups of groups', () => {
  it('wait for nobody of another group, and fail with nobody of another', async () => {
    const answers: (() => void)[] = [];
    const find = batchPerGroup(
      (query: number) => (query < 10 ? 'small' : 'large'),
      (queries) => {
        if (queries.includes(10)) return Promise.reject(new SuError('store-unavailable', 'away'));
        if (!queries.includes(1)) return Promise.resolve(queries);
        return new Promise<readonly number[]>(
          (resolve) => void answers.push(() => resolve(queries)),
        );
      },
      10,
    );
    const hanging = find(1);
    const failure: unknown = await find(10).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(SuError);
    expect(await Promise.all([find(11), find(12)])).to.deep.equal([11, 12]);
    answers[0]?.();
    expect(await hanging).to.equal(1);
  });
});
