import { expect } from 'chai';
import { BufferPool, LentBuffer } from '../src/lib/lent-buffer.js';

describe('buffers that are used again', () => {
  it('are lent as long as asked for, and those first that were given back', () => {
    const pool = new BufferPool();
    const first = pool.lend(70_000);
    const { buffer } = first.bytes;
    expect(first.bytes).to.have.lengthOf(70_000);
    const second = pool.lend(70_000);
    expect(second.bytes.buffer).to.not.equal(buffer);
    first.giveBack();
    const third = pool.lend(100_000);
    expect(third.bytes.buffer, 'of the same class').to.equal(buffer);
    expect(third.bytes).to.have.lengthOf(100_000);
    expect(pool.lend(1).bytes).to.have.lengthOf(1);
  });

  it('are not read once they were given back, nor given back twice', () => {
    const pool = new BufferPool();
    const lent = pool.lend(10);
    lent.giveBack();
    lent.giveBack();
    expect(() => lent.bytes).to.throw('given back');
    expect(pool.lend(10).bytes.buffer).to.not.equal(pool.lend(10).bytes.buffer);
  });

  it('wait for their use up to a bound', () => {
    const pool = new BufferPool();
    const lent = Array.from({ length: 20 }, () => pool.lend(1024 * 1024));
    const memory = new Set(lent.map(({ bytes }) => bytes.buffer));
    for (const one of lent) one.giveBack();
    const again = Array.from({ length: 20 }, () => pool.lend(1024 * 1024).bytes.buffer);
    expect(again.filter((buffer) => memory.has(buffer))).to.have.lengthOf(8);
  });

  it('make room for a size that is used now', () => {
    const pool = new BufferPool();
    const small = Array.from({ length: 200 }, () => pool.lend(64 * 1024));
    const known = new Set(small.map(({ bytes }) => bytes.buffer));
    for (const one of small) one.giveBack();
    const large = pool.lend(3 * 1024 * 1024);
    const { buffer } = large.bytes;
    large.giveBack();
    expect(pool.lend(3 * 1024 * 1024).bytes.buffer).to.equal(buffer);
    const again = small.filter(() => known.has(pool.lend(64 * 1024).bytes.buffer));
    expect(again, 'in the 5 MB that are left').to.have.lengthOf(80);
  });

  it('may be nobody’s', () => {
    const lent = new LentBuffer(Buffer.from('abc'), undefined);
    expect(lent.bytes.toString()).to.equal('abc');
    lent.giveBack();
    expect(() => lent.bytes).to.throw('given back');
  });
});
