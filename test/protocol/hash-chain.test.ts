import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { readAssignment } from '../../src/lib/protocol/assignment.js';
import { parseMessageBundle, parseProcessBundle } from '../../src/lib/protocol/bundle.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { parseId } from '../../src/lib/protocol/ids.js';
import { readRecordedBundles } from '../support/recorded.js';

const PROCESS = parseId('DcccvmuHG83kIjXWtB2OBTDcZbFB32EXwbMWuTzmxSo', 'process');
const ASSIGNMENT = parseId('clvz3ehb8NzG9zbW_U_oQ5-1eARbsuErxEdG4twiC-0', 'assignment');

describe('hash chain', () => {
  it('begins a process with the SHA-256 of its id', () => {
    expect(firstLink(PROCESS)).to.equal('CCxb1EYcRPp9lmv_MSrV3YaekOthAZRLwR3J4PLssCA');
  });

  it('continues with the SHA-256 of the previous assignment id and the previous link as bytes', () => {
    const previous = firstLink(PROCESS);
    const expected = createHash('sha256')
      .update(Buffer.from(ASSIGNMENT, 'base64url'))
      .update(Buffer.from(previous, 'base64url'))
      .digest('base64url');
    expect(nextLink(ASSIGNMENT, previous)).to.equal(expected);
  });

  it('refuses to continue from a link that is not a SHA-256 in base64url', () => {
    for (const damaged of ['', 'abc', `${firstLink(PROCESS)}=`, firstLink(PROCESS).slice(1)]) {
      expect(() => nextLink(ASSIGNMENT, damaged))
        .to.throw('the previous Hash-Chain is not a SHA-256')
        .with.property('code', 'invariant');
    }
  });

  it('recomputes nonces and links of a recorded process over all its 31 bundles', () => {
    const [spawn, ...messages] = readRecordedBundles('chain');
    const bundles = [
      parseProcessBundle(spawn ?? new Uint8Array()),
      ...messages.map((bytes) => parseMessageBundle(bytes)),
    ];
    expect(bundles).to.have.length(31);
    let expectedLink = firstLink(PROCESS);
    for (const [nonce, { assignment }] of bundles.entries()) {
      if (assignment === undefined) throw new Error(`entry ${nonce} has no assignment`);
      const read = readAssignment(assignment);
      expect(read.processId).to.equal(PROCESS);
      expect(read.nonce).to.equal(nonce);
      expect(read.hashChain, `link ${nonce}`).to.equal(expectedLink);
      expectedLink = nextLink(assignment.id, read.hashChain);
    }
  });
});
