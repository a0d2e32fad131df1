import { randomBytes } from 'node:crypto';
import { ed25519 } from '@noble/curves/ed25519.js';
import { expect } from 'chai';
import { verifyEd25519 } from '../../src/lib/protocol/ed25519.js';

const SMALL_ORDER_KEYS = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];

/** The identity point and a zero scalar: verifies wherever the hash times the key is the identity too. */
const TRIVIAL_SIGNATURE = Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]);

describe('verifyEd25519', () => {
  for (const hex of SMALL_ORDER_KEYS) {
    it(`refuses the key ${hex.slice(0, 8)}…, under which one signature fits many messages`, async () => {
      const owner = Buffer.from(hex, 'hex');
      const messages = Array.from({ length: 64 }, () => randomBytes(48));
      for (const message of messages) {
        // ZIP 215 lets every one of them pass, OpenSSL 3.0 between an eighth and all, OpenSSL 3.5 none.
        const zip215 = ed25519.verify(TRIVIAL_SIGNATURE, message, owner, { zip215: true });
        expect(zip215, 'the signature fits').to.equal(true);
        expect(await verifyEd25519(owner, message, TRIVIAL_SIGNATURE)).to.equal(false);
      }
    });
  }
});
