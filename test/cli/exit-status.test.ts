import { expect } from 'chai';
import { describeFailure } from '../../src/lib/cli/base-command.js';
import { SuError } from '../../src/lib/errors.js';

describe('describeFailure', () => {
  it('gives a foreseen failure its status and its own sentence', () => {
    expect(describeFailure(new SuError('invalid-wallet', 'no wallet'))).to.deep.equal({
      status: 2,
      sentence: 'no wallet',
      code: 'invalid-wallet',
    });
    expect(describeFailure(new SuError('invariant', 'x')).status).to.equal(70);
    expect(describeFailure(new SuError('interrupted', 'x')).status).to.equal(130);
    expect(describeFailure(new SuError('unknown-entry', 'x')).status).to.equal(1);
  });

  it('counts what the machine refuses as "could not run"', () => {
    const error = Object.assign(new Error('listen EADDRINUSE: address already in use'), {
      code: 'EADDRINUSE',
    });
    expect(describeFailure(error)).to.include({ status: 2, code: 'EADDRINUSE' });
  });

  it('counts what nobody foresaw as a bug', () => {
    expect(describeFailure(new TypeError('x is undefined'))).to.include({
      status: 70,
      code: 'unknown',
    });
    expect(describeFailure('thrown text')).to.include({ status: 70 });
  });

  it('says nothing when a command ends itself', () => {
    const exit = Object.assign(new Error('EEXIT: 0'), { code: 'EEXIT', oclif: { exit: 0 } });
    expect(describeFailure(exit)).to.include({ status: 0, sentence: '' });
  });
});
