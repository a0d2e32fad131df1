import { expect } from 'chai';
import type { RunReport } from '../bench/report.js';
import {
  joinReports,
  keepRun,
  keepUnmeasured,
  readmePerformance,
  renderPerformance,
} from './performance-readme.js';

const figure = (median: number, value: number, isMet: boolean) => ({
  median,
  min: median,
  max: median,
  rounds: [median],
  goal: { at: 'least', value } as const,
  isMet,
});

const REPORT: RunReport = {
  date: '2026-01-02',
  machine: { processor: 'Some CPU', cores: 2, memoryBytes: 16e9, system: 'Linux' },
  versions: { node: 'v20.1.0', loadNode: 'v20.1.0', su: '1', rocksdb: '12', postgres: '18.1' },
  isQuick: false,
  entries: 1000,
  signing: { all: 361.2, one: 190.4 },
  signsFast: false,
  cases: [
    {
      name: 'writes: many',
      store: 'embedded',
      comparedWith: 'signing',
      seconds: 1,
      figures: {
        'of it': figure(0.7123, 0.68, true),
        'p50, ms': { median: 5, min: 5, max: 5, rounds: [5] },
      },
    },
    {
      name: 'writes: many',
      store: 'postgres',
      comparedWith: 'signing',
      seconds: 1,
      figures: { 'of it': figure(0.4, 0.58, false) },
    },
  ],
};

describe("the README's performance section", () => {
  it('has a row for each figure with a goal, with all stores, and bold where it is not met', () => {
    const text = renderPerformance([keepRun(REPORT)]);
    expect(text.split('\n')).to.deep.equal([
      '**Node 20.1.0**: Some CPU, 2 cores, 16 GB, PostgreSQL 18.1, 361 RSA-4096 signatures a second on all cores and 190 on one, 2026-01-02.',
      '',
      '| work | figure | goal | embedded | PostgreSQL |',
      '|---|---|---|---|---|',
      '| writes: many | of it | ≥ 0.68 / 0.58 | 0.71 | **0.40** |',
    ]);
  });

  it('names the size of the large log where it was measured', () => {
    const [one] = REPORT.cases;
    const cases = [{ ...one!, name: 'pages: 1 entry warm' }];
    expect(renderPerformance([keepRun({ ...REPORT, cases })])).to.include(
      '190 on one, large log of 1000 entries, 2026-01-02.',
    );
  });

  it('joins the parts of a run', () => {
    const [embedded, postgres] = REPORT.cases;
    const parts = [embedded!, postgres!].map((one) => ({ ...REPORT, cases: [one] }));
    expect(joinReports(parts)).to.deep.equal([REPORT]);
  });

  it('keeps what was not measured again with the same version of Node', () => {
    const [one] = REPORT.cases;
    const earlier = keepRun({ ...REPORT, cases: [one!, { ...one!, name: 'reads: old' }] });
    const other = keepRun({ ...REPORT, versions: { ...REPORT.versions, node: 'v24.1.0' } });
    const kept = keepUnmeasured([earlier, other], [keepRun(REPORT)]);
    expect(kept.map(({ figures }) => figures.map(({ work }) => work))).to.deep.equal([
      ['reads: old'],
      ['writes: many'],
    ]);
  });

  it('stands between its comments', () => {
    const readme = 'before\n<!-- table: performance -->\n\ntext\n\n<!-- end -->\nafter';
    expect(readmePerformance(readme)).to.equal('text');
    expect(readmePerformance('nothing')).to.equal(undefined);
  });
});
