import { expect } from 'chai';
import { ByteBudget, type Share } from '../../src/lib/http/byte-budget.js';

describe('http/byte-budget', () => {
  const evicted: string[] = [];
  beforeEach(() => evicted.splice(0));
  const budget = (): ByteBudget => new ByteBudget({ bytesMax: 1000, smallBytesMax: 50 });
  const join = (of: ByteBudget, name: string, cost = 0): Share =>
    of.join({ cost: () => cost, evict: () => void evicted.push(name) });

  it('lets large holders have three quarters, and small ones all of it', () => {
    const shared = budget();
    expect(join(shared, 'large').add(750)).to.equal(true);
    expect(join(shared, 'another').add(51)).to.equal(false);
    const small = budget();
    const answers = Array.from({ length: 21 }, () => join(small, 'small').add(50));
    expect(answers.indexOf(false)).to.equal(20);
  });

  it('cuts off whoever costs most until the newcomer has room, and nobody who costs nothing', () => {
    const shared = budget();
    const [cheap, dear, free] = [
      join(shared, 'cheap', 1),
      join(shared, 'dear', 2),
      join(shared, 'free'),
    ];
    for (const share of [cheap, dear, free]) share.add(250);
    expect(join(shared, 'newcomer').add(300)).to.equal(true);
    expect(evicted).to.deep.equal(['dear', 'cheap']);
    expect(join(shared, 'late').add(300)).to.equal(false);
    expect(evicted).to.deep.equal(['dear', 'cheap']);
  });

  it('does not cut off small ones for a large one', () => {
    const shared = budget();
    for (let count = 0; count < 5; count += 1) join(shared, 'small', 9).add(50);
    join(shared, 'large').add(700);
    expect(join(shared, 'another').add(100)).to.equal(false);
    expect(evicted).to.deep.equal([]);
  });

  it('counts nothing of whoever let go, however often it says so', () => {
    const shared = budget();
    const share = join(shared, 'one');
    share.add(700);
    share.remove(300);
    expect([shared.bytes, share.bytes()]).to.deep.equal([400, 400]);
    share.release();
    share.release();
    expect(share.add(1)).to.equal(false);
    expect(shared.bytes).to.equal(0);
    expect(join(shared, 'two').add(750)).to.equal(true);
  });
});
