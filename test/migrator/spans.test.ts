import { expect } from 'chai';
import { coveredFromStart, subtractSpans } from '../../src/lib/migrator/spans.js';

const span = (after: number, through: number): { after: number; through: number } => ({
  after,
  through,
});

describe('spans of rows', () => {
  it('are left whole where nothing is covered', () => {
    expect(subtractSpans(span(0, 10), [])).to.deep.equal([span(0, 10)]);
    expect(subtractSpans(span(5, 10), [span(0, 5), span(10, 20)])).to.deep.equal([span(5, 10)]);
  });

  it('lose what is covered, at the beginning, in the middle and at the end', () => {
    const covered = [span(0, 3), span(5, 6), span(9, 40)];
    expect(subtractSpans(span(1, 20), covered)).to.deep.equal([span(3, 5), span(6, 9)]);
  });

  it('are gone where all is covered', () => {
    expect(subtractSpans(span(2, 4), [span(0, 10)])).to.deep.equal([]);
    expect(subtractSpans(span(2, 2), [])).to.deep.equal([]);
  });

  it('tell how far the first of them reaches from the first row on', () => {
    expect(coveredFromStart([])).to.equal(0);
    expect(coveredFromStart([span(3, 9)])).to.equal(0);
    expect(coveredFromStart([span(0, 9), span(12, 20)])).to.equal(9);
  });
});
