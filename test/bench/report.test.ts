import { expect } from 'chai';
import { goalFor, meets, signsFast, type BenchCase } from './bench-case.js';
import { readFlags } from './flags.js';
import { ItemPool } from './items.js';
import { formatGoal, formatNumber, renderTable, reportCase } from './report.js';
import { median, quantile, spread } from './statistics.js';

const CASE: BenchCase = {
  name: 'writes: some',
  stores: ['embedded'],
  comparedWith: 'nothing',
  goals: { ratio: { at: 'least', value: 0.5, stores: { embedded: 0.7 } } },
  isQuick: true,
  run: () => Promise.resolve({}),
};
const EMBEDDED = { store: 'embedded', signsFast: false, seconds: 1 } as const;

describe("the bench's statistics", () => {
  it('take the middle value, of an even count the mean of two', () => {
    expect(median([3, 1, 2])).to.equal(2);
    expect(median([4, 1, 2, 3])).to.equal(2.5);
    expect(median([])).to.be.NaN;
    expect(spread([3, 1, 2])).to.deep.equal({ median: 2, min: 1, max: 3 });
  });

  it('take the value that a share of the sorted values lies below', () => {
    const sorted = Array.from({ length: 100 }, (_, i) => i);
    expect(quantile(sorted, 0.5)).to.equal(50);
    expect(quantile(sorted, 0.99)).to.equal(99);
    expect(quantile(sorted, 1)).to.equal(99);
  });
});

describe("the bench's goals", () => {
  it('are met at their value, and not beyond it', () => {
    expect(meets({ at: 'least', value: 0.5 }, 0.5)).to.be.true;
    expect(meets({ at: 'least', value: 0.5 }, 0.49)).to.be.false;
    expect(meets({ at: 'most', value: 3 }, 3)).to.be.true;
    expect(meets({ at: 'most', value: 3 }, 3.01)).to.be.false;
  });

  it('are those of the store, and of a machine that signs fast where there is one', () => {
    const spec = {
      at: 'least',
      value: 1,
      stores: { embedded: 2 },
      fast: { embedded: 3 },
    } as const;
    expect(goalFor(spec, 'postgres', false).value).to.equal(1);
    expect(goalFor(spec, 'embedded', false).value).to.equal(2);
    expect(goalFor(spec, 'embedded', true).value).to.equal(3);
    expect(goalFor(spec, 'postgres', true).value).to.equal(1);
  });

  it('are those of fast machines from Node 22 on, with the AVX-512 multiplication', () => {
    expect(signsFast('v24.1.0', 'fpu avx512ifma sse')).to.be.true;
    expect(signsFast('v24.1.0', 'fpu avx2')).to.be.false;
    expect(signsFast('v20.20.2', 'fpu avx512ifma sse')).to.be.false;
  });
});

describe("the bench's table", () => {
  it('has median, range, goal and whether it is met for each figure', () => {
    const report = reportCase(CASE, { ratio: [0.6, 0.75, 0.71], other: [1234.5] }, EMBEDDED);
    expect(renderTable([report])).to.deep.equal([
      '',
      '  writes: some',
      '    ratio  0.71 (0.60–0.75)      goal ≥ 0.7: met',
      '    other  1235',
      '    (against nothing)',
    ]);
  });

  it('says when a goal is not met', () => {
    const report = reportCase(CASE, { ratio: [0.69] }, EMBEDDED);
    expect(report.figures['ratio']?.isMet).to.be.false;
    expect(renderTable([report])[2]).to.include('goal ≥ 0.7: NOT MET');
  });

  it('leaves out what this system cannot tell', () => {
    const report = reportCase(CASE, { ratio: [], other: [1] }, EMBEDDED);
    expect(Object.keys(report.figures)).to.deep.equal(['other']);
  });

  it('refuses a goal for a figure that is not measured', () => {
    expect(() => reportCase(CASE, { other: [1] }, EMBEDDED)).to.throw('"ratio"');
  });

  it('shows numbers with the digits that they deserve', () => {
    expect([0.123, 19.994, 20.04, 100.4, Number.NaN].map(formatNumber)).to.deep.equal([
      '0.12',
      '19.99',
      '20.0',
      '100',
      '–',
    ]);
    expect(formatGoal({ at: 'most', value: 1.5 })).to.equal('≤ 1.5');
  });
});

describe("the bench's flags", () => {
  it('have shorter defaults with --quick', () => {
    expect(readFlags([])).to.include({ rounds: 3, entries: 1_000_000 });
    expect(readFlags(['--quick'])).to.deep.include({
      rounds: 1,
      stores: ['embedded', 'postgres'],
    });
  });

  it('are refused with the value when they make no sense', () => {
    expect(() => readFlags(['--store', 'tape'])).to.throw('--store tape');
    expect(() => readFlags(['--rounds', 'many'])).to.throw('--rounds many');
    expect(readFlags(['--help'])).to.equal('help');
  });
});

describe("the bench's presigned items", () => {
  it('are given out once to each store, and signed once for all', async () => {
    const signed: number[] = [];
    const pool = new ItemPool((count) => {
      signed.push(count);
      return Promise.resolve({ file: `file-${signed.length}`, count });
    });
    expect(await pool.take(10)).to.deep.equal({ file: 'file-1', from: 0, to: 10 });
    pool.used(4);
    expect(await pool.take(5)).to.deep.equal({ file: 'file-1', from: 4, to: 9 });
    pool.used(9);
    expect(await pool.take(5)).to.deep.equal({ file: 'file-2', from: 0, to: 5 });
    pool.rewind();
    expect(await pool.take(6)).to.deep.equal({ file: 'file-1', from: 0, to: 6 });
    expect(signed).to.deep.equal([10, 5]);
  });
});
