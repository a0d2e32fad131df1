import { expect } from 'chai';
import { retryDelayMs } from '../../src/lib/uploader/retry-delay.js';

const BOUNDS = { firstMs: 1_000, longestMs: 32_000 };

describe('retry delay', () => {
  it('doubles from the first wait to the longest and stays there', () => {
    const longest = [0, 1, 2, 3, 4, 5, 6, 50, 5_000].map((attempts) =>
      retryDelayMs(attempts, BOUNDS, 1),
    );
    expect(longest).to.deep.equal(
      [1, 2, 4, 8, 16, 32, 32, 32, 32].map((seconds) => seconds * 1_000),
    );
  });

  it('spreads each wait over its upper half', () => {
    expect(retryDelayMs(3, BOUNDS, 0)).to.equal(4_000);
    expect(retryDelayMs(3, BOUNDS, 0.5)).to.equal(6_000);
  });
});
