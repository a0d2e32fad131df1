import { expect } from 'chai';
import fc from 'fast-check';
import { DueQueue } from '../../../src/lib/storage/rocksdb/due-queue.js';

describe('the due queue', () => {
  it('gives what is due, lowest first, and leases it', () => {
    const queue = new DueQueue(100);
    queue.hold(7, 10);
    queue.hold(3, 20);
    queue.hold(5, 10);
    queue.holdReady(9);
    expect(queue.take(10, 9, 50)).to.deep.equal([9]);
    expect(queue.take(10, 10, 50)).to.deep.equal([5, 7]);
    expect(queue.take(10, 49, 90)).to.deep.equal([3]);
    expect(queue.take(10, 50, 100)).to.deep.equal([5, 7, 9]);
  });

  it('forgets what is released, also when it is due already', () => {
    const queue = new DueQueue(100);
    queue.holdReady(1);
    queue.hold(2, 5);
    queue.release(1);
    queue.release(2);
    expect(queue.take(10, 100, 200)).to.deep.equal([]);
    expect(queue.size).to.equal(0);
  });

  it('takes no more than its room, and what it holds may be held anew', () => {
    const queue = new DueQueue(2);
    expect(queue.hold(1, 5)).to.equal(true);
    expect(queue.holdReady(2)).to.equal(true);
    expect(queue.hold(3, 5)).to.equal(false);
    expect(queue.holdReady(3)).to.equal(false);
    expect(queue.hold(1, 9)).to.equal(true);
    expect(queue.take(10, 5, 50)).to.deep.equal([2]);
    expect(queue.take(10, 9, 50)).to.deep.equal([1]);
  });

  it('agrees with a list that is searched each time', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('hold'), row: fc.nat(20), at: fc.nat(100) }),
      fc.record({ do: fc.constant('ready'), row: fc.nat(20), at: fc.nat(100) }),
      fc.record({ do: fc.constant('release'), row: fc.nat(20), at: fc.nat(100) }),
      fc.record({ do: fc.constant('take'), row: fc.nat(5), at: fc.nat(100) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new DueQueue(1000);
        const model = new Map<number, number>();
        let now = 0;
        for (const { do: what, row, at } of steps) {
          if (what === 'hold') {
            queue.hold(row, now + at);
            model.set(row, now + at);
          } else if (what === 'ready') {
            queue.holdReady(row);
            model.set(row, now);
          } else if (what === 'release') {
            queue.release(row);
            model.delete(row);
          } else {
            now += at;
            const due = [...model].filter(([, dueAt]) => dueAt <= now).map(([held]) => held);
            const expected = due.toSorted((one, other) => one - other).slice(0, row);
            expect(queue.take(row, now, now + 30)).to.deep.equal(expected);
            for (const taken of expected) model.set(taken, now + 30);
          }
        }
      }),
    );
  });
});
