import { createHash } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { isSuError, SuError } from '../../src/lib/errors.js';
import {
  fromBase64Url,
  idFromBytes,
  idToBytes,
  isId,
  parseId,
  quoteBounded,
  sha256,
  toBase64Url,
} from '../../src/lib/protocol/ids.js';

const ID = 'fujEF2Hs7OKK9i5y9ltDaC470gTP2jQ8HTu6wh5ZQ4c';

function refusalOf(act: () => unknown): SuError {
  try {
    act();
  } catch (error) {
    if (isSuError(error)) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('ids', () => {
  it('are 43 characters that stand for 32 bytes, there and back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const id = idFromBytes(bytes);
        expect(isId(id)).to.equal(true);
        expect(parseId(id, 'id')).to.equal(id);
        expect([...idToBytes(id)]).to.deep.equal([...bytes]);
      }),
    );
  });

  it('have one spelling: of the 64 last characters only the 16 without spare bits are taken', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const taken = alphabet.split('').filter((last) => isId(ID.slice(0, 42) + last));
    expect(taken.join('')).to.equal('AEIMQUYcgkosw048');
    for (const last of taken) {
      const id = parseId(ID.slice(0, 42) + last, 'id');
      expect(toBase64Url(idToBytes(id))).to.equal(id);
    }
  });

  it('are refused in any other form, with the name and the value', () => {
    const wrong = ['', ID.slice(1), `${ID}A`, `${ID.slice(0, 42)}=`, ` ${ID.slice(1)}`, `${ID}\n`];
    for (const text of [...wrong, ID.replace('f', '+'), ID.replace('f', 'é')]) {
      const error = refusalOf(() => parseId(text, 'process-id'));
      expect(error.code).to.equal('invalid-request');
      expect(error.message).to.include('process-id').and.include(JSON.stringify(text));
    }
  });

  it('are refused without repeating a long value', () => {
    const error = refusalOf(() => parseId('x'.repeat(1_000_000), 'assign'));
    expect(error.message.length).to.be.lessThan(200);
    expect(quoteBounded('x'.repeat(64))).to.equal(`"${'x'.repeat(64)}"`);
    expect(quoteBounded('x'.repeat(65))).to.equal(`"${'x'.repeat(64)}…"`);
  });

  it('are not made from more or fewer than 32 bytes', () => {
    for (const length of [0, 31, 33]) {
      expect(refusalOf(() => idFromBytes(new Uint8Array(length))).code).to.equal('invalid-request');
    }
  });
});

describe('base64url', () => {
  it('gives the same bytes back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect([...fromBase64Url(toBase64Url(bytes))]).to.deep.equal([...bytes]);
      }),
    );
  });

  it('encodes the bytes of a view and not its whole buffer', () => {
    expect(toBase64Url(Uint8Array.of(1, 2, 3, 4).subarray(1, 3))).to.equal('AgM');
  });

  it('refuses padding, other alphabets, blanks, spare bits and impossible lengths', () => {
    for (const text of ['AA==', 'a+b/', 'AA AA', 'AB', 'A', 'AAAAA', 'ä']) {
      expect(refusalOf(() => fromBase64Url(text)).code).to.equal('invalid-request');
    }
  });
});

describe('sha256', () => {
  it('hashes its parts as if they were one', () => {
    const whole = Buffer.from('one two three');
    const expected = createHash('sha256').update(whole).digest('hex');
    const parts = [whole.subarray(0, 4), whole.subarray(4, 4), whole.subarray(4)];
    expect(Buffer.from(sha256(...parts)).toString('hex')).to.equal(expected);
    expect(Buffer.from(sha256(whole)).toString('hex')).to.equal(expected);
    expect(Buffer.from(sha256()).toString('hex')).to.match(/^e3b0c442/);
  });
});
