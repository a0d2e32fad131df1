import { expect } from 'chai';
import { withoutStacks } from '../src/lib/without-stacks.js';

describe('work without stacks', () => {
  it('gives what the work gives, and its errors have no stack', () => {
    expect(withoutStacks(() => 7)).to.equal(7);
    const made = withoutStacks(() => new Error('one'));
    expect(made.stack).to.equal('Error: one');
  });

  it('restores stacks behind work that throws', () => {
    const before = Error.stackTraceLimit;
    const failing = (): unknown =>
      withoutStacks(() => {
        throw new Error('two');
      });
    expect(failing).to.throw('two');
    expect(Error.stackTraceLimit).to.equal(before);
    expect(new Error('three').stack).to.contain('without-stacks.test');
  });
});
