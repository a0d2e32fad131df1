import { expect } from 'chai';
import { keptRuns, readmePerformance, renderPerformance } from '../support/performance-readme.js';

describe('the performance section of the README', () => {
  it('shows what docs/performance.json has: npm run bench:readme writes both', () => {
    expect(readmePerformance()).to.equal(renderPerformance(keptRuns()));
  });

  it('names for each run the machine and the version of Node', () => {
    const runs = keptRuns();
    expect(runs).to.not.be.empty;
    for (const { versions, figures } of runs) {
      expect(readmePerformance()).to.include(`Node ${versions.node.replace('v', '')}`);
      expect(figures).to.not.be.empty;
    }
  });
});
