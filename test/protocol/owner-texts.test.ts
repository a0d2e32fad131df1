import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { OwnerTexts } from '../../src/lib/protocol/owner-texts.js';

function expected(owner: Uint8Array): string {
  const address = createHash('sha256').update(owner).digest('base64url');
  return `{"address":"${address}","key":"${Buffer.from(owner).toString('base64url')}"}`;
}

function found(texts: OwnerTexts, owner: Uint8Array): string {
  return Buffer.from(texts.find(owner)).toString('latin1');
}

describe('the text of an owner', () => {
  it('is its address and its key, for owners of every length', () => {
    const texts = new OwnerTexts();
    for (const length of [32, 42, 65, 512, 1025]) {
      const owner = randomBytes(length);
      for (let time = 0; time < 2; time += 1) {
        expect(found(texts, owner)).to.equal(expected(owner));
      }
    }
  });

  it('is never that of an owner that differs in one byte, wherever the byte lies', () => {
    const texts = new OwnerTexts();
    const owner = randomBytes(65);
    for (let at = 0; at < owner.length; at += 1) {
      const other = Buffer.from(owner);
      other[at] = (other[at] as number) ^ 1;
      expect(found(texts, other)).to.equal(expected(other));
      expect(found(texts, owner)).to.equal(expected(owner));
    }
  });

  it('is never that of an owner that goes on where this one ends', () => {
    const texts = new OwnerTexts();
    const zeros = Buffer.alloc(1025);
    for (const length of [32, 65, 512, 1025, 512, 32]) {
      expect(found(texts, zeros.subarray(0, length))).to.equal(expected(zeros.subarray(0, length)));
    }
  });

  it('stays right when the owner’s bytes are written over, and when more come than are remembered', () => {
    const texts = new OwnerTexts();
    const owner = randomBytes(512);
    const copy = Buffer.from(owner);
    const text = texts.find(owner);
    owner.fill(1);
    expect(texts.find(copy)).to.equal(text);
    for (let index = 0; index < 300; index += 1) {
      const other = Buffer.alloc(64);
      other.writeUInt16LE(index, 32);
      expect(found(texts, other)).to.equal(expected(other));
    }
    expect(texts.find(copy)).to.not.equal(text);
    expect(found(texts, copy)).to.equal(expected(copy));
  });
});
