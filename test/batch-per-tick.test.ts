import { expect } from 'chai';
import { SuError } from '../src/lib/errors.js';
import { batchPerTick } from '../src/lib/batch-per-tick.js';

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
