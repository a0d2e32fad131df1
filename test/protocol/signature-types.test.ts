import { constants, createPrivateKey, sign } from 'node:crypto';
import { expect } from 'chai';
import { DataItem as OracleItem } from 'arbundles';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import {
  encodeDataItem,
  encodeUnsigned,
  parseDataItem,
  type DataItem,
} from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import {
  closeVerification,
  isSignatureType,
  SIGNATURE_TYPES,
  verifyDataItem,
  type SignatureType,
  type SignedItem,
} from '../../src/lib/protocol/signature-types.js';
import { isSuError } from '../../src/lib/errors.js';
import { testWallet } from '../support/test-wallet.js';
import {
  ed25519Key,
  multiOwner,
  multiSigner,
  oracleItem,
  oracleSigner,
  type OracleParts,
} from './oracle-signers.js';

const TYPES: readonly SignatureType[] = [1, 2, 3, 4, 5, 6, 7];
const SMALL: OracleParts = {
  target: 'Inok9G8Hj4TI4zLmzWZNt51-PfAARSXGhwOUjL4JwnE',
  anchor: 'anchor-of-exactly-32-characters!',
  tags: [{ name: 'Type', value: 'Message' }],
};

/** Parses as posted and verifies; a refusal by the parser counts as not accepted. */
async function isAccepted(bytes: Uint8Array): Promise<boolean> {
  try {
    return await verifyDataItem(parseDataItem(bytes, 'posted'));
  } catch (error) {
    if (isSuError(error, 'invalid-data-item')) return false;
    throw error;
  }
}

/** What is verified of an item, with these parts in place of its own. */
function itemWith(item: DataItem, parts: Partial<SignedItem>): SignedItem {
  const { signatureType, signature, owner, target, anchor, rawTags, data } = item;
  return { signatureType, signature, owner, target, anchor, rawTags, data, ...parts };
}

/** A copy of `bytes` with one byte changed. */
function withByte(bytes: Uint8Array, index: number, change: (byte: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  copy[index] = change(copy[index] ?? 0);
  return copy;
}

/** The positions at which `bytes` may be changed by `change` without being refused: none, one hopes. */
async function acceptedChanges(
  bytes: Uint8Array,
  change: (byte: number) => number,
): Promise<number[]> {
  const accepted: number[] = [];
  for (let start = 0; start < bytes.length; start += 64) {
    const indexes = Array.from({ length: Math.min(64, bytes.length - start) }, (_, i) => start + i);
    const outcomes = await Promise.all(
      indexes.map((index) => isAccepted(withByte(bytes, index, change))),
    );
    accepted.push(...indexes.filter((_, i) => outcomes[i]));
  }
  return accepted;
}

describe('signature types', function () {
  this.timeout(60_000);
  after(closeVerification);

  it('have the sizes of the seven types and no others', () => {
    const sizes = TYPES.map((type) => SIGNATURE_TYPES[type]).map(
      ({ signatureBytes, ownerBytes }) => [signatureBytes, ownerBytes],
    );
    expect(sizes).to.deep.equal([
      [512, 512],
      [64, 32],
      [65, 65],
      [64, 32],
      [64, 32],
      [2052, 1025],
      [65, 42],
    ]);
    expect([0, 8, 1.5, -1, 257].filter(isSignatureType)).to.deep.equal([]);
  });

  for (const type of TYPES) {
    const { name } = SIGNATURE_TYPES[type];

    it(`accept an item of type ${type} (${name}) signed by arbundles, which agrees`, async () => {
      const signer = await oracleSigner(type);
      for (const parts of [SMALL, {}]) {
        const bytes = await oracleItem(signer, 'some data', parts);
        const item = parseDataItem(bytes, 'posted');
        expect(item.signatureType).to.equal(type);
        expect(item.id).to.equal(new OracleItem(bytes).id);
        expect(await verifyDataItem(item)).to.equal(true);
        expect(await OracleItem.verify(bytes)).to.equal(true);
      }
    });

    it(`accept an item of type ${type} (${name}) with data that is hashed apart`, async () => {
      const bytes = await oracleItem(await oracleSigner(type), Buffer.alloc(70_000, 1), SMALL);
      expect(await isAccepted(bytes)).to.equal(true);
      expect(await isAccepted(withByte(bytes, bytes.length - 1, (byte) => byte ^ 1))).to.equal(
        false,
      );
    });

    it(`refuse an item of type ${type} (${name}) with any one byte changed`, async () => {
      const bytes = await oracleItem(await oracleSigner(type), 'data', SMALL);
      expect(await isAccepted(bytes)).to.equal(true);
      expect(await acceptedChanges(bytes, (byte) => byte ^ 1)).to.deep.equal([]);
      expect(await acceptedChanges(bytes, (byte) => byte ^ 0xa0)).to.deep.equal([]);
    });

    it(`refuse an item of type ${type} (${name}) whose owner and signature are all 00 or all ff`, async () => {
      const { ownerBytes, signatureBytes } = SIGNATURE_TYPES[type];
      for (const [ownerFill, signatureFill] of [
        [0xff, 0],
        [0xff, 0xff],
        [0xfe, 1],
      ] as const) {
        const bytes = encodeDataItem({
          signatureType: type,
          owner: Buffer.alloc(ownerBytes, ownerFill),
          signature: Buffer.alloc(signatureBytes, signatureFill),
          tags: [],
        });
        expect(await isAccepted(bytes)).to.equal(false);
      }
    });
  }

  it('refuse an item whose signature is of another item', async () => {
    const signer = await oracleSigner(3);
    const one = parseDataItem(await oracleItem(signer, 'one'), 'posted');
    const other = parseDataItem(await oracleItem(signer, 'other'), 'posted');
    expect(await verifyDataItem(itemWith(one, { signature: other.signature }))).to.equal(false);
  });
});

describe('RSA-PSS signatures', function () {
  this.timeout(60_000);

  for (const saltLength of [0, 20, 32, 478]) {
    it(`are accepted with a salt of ${saltLength} bytes`, async () => {
      const { jwk, owner } = await testWallet('user');
      const fields = { signatureType: 1 as const, owner, tags: [] };
      const unsigned = parseDataItem(encodeUnsigned(fields, Buffer.from('data')), 'posted');
      const signature = sign('sha256', signatureMessageSync(unsigned), {
        key: createPrivateKey({ key: jwk, format: 'jwk' }),
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength,
      });
      expect(await verifyDataItem(itemWith(unsigned, { signature }))).to.equal(true);
    });
  }

  it('are refused with the older PKCS #1 v1.5 padding', async () => {
    const { jwk, owner } = await testWallet('user');
    const fields = { signatureType: 1 as const, owner, tags: [] };
    const unsigned = parseDataItem(encodeUnsigned(fields), 'posted');
    const key = createPrivateKey({ key: jwk, format: 'jwk' });
    const signature = sign('sha256', signatureMessageSync(unsigned), key);
    expect(await verifyDataItem(itemWith(unsigned, { signature }))).to.equal(false);
  });

  it('are refused under a modulus that is no key: zero, one, even', async () => {
    for (const last of [0, 1, 2]) {
      const owner = Buffer.alloc(512);
      owner[511] = last;
      const signature = Buffer.alloc(512);
      signature[511] = last === 0 ? 1 : last - 1;
      const bytes = encodeDataItem({ signatureType: 1, owner, signature, tags: [] });
      expect(await isAccepted(bytes)).to.equal(false);
    }
  });
});

describe('Ethereum signatures', function () {
  this.timeout(20_000);
  after(closeVerification);

  for (const type of [3, 7] as const) {
    const signatureAt = 2;
    const vAt = signatureAt + 64;

    it(`of type ${type} with a high s are refused, with either v`, async () => {
      const bytes = await oracleItem(await oracleSigner(type), 'data', SMALL);
      const signature = bytes.subarray(signatureAt, vAt);
      const s = BigInt(`0x${signature.subarray(32).toString('hex')}`);
      const high = (secp256k1.Point.Fn.ORDER - s).toString(16).padStart(64, '0');
      for (const v of [27, 28]) {
        const other = Buffer.from(bytes);
        other.set(Buffer.from(high, 'hex'), signatureAt + 32);
        other[vAt] = v;
        expect(await isAccepted(other)).to.equal(false);
      }
    });

    it(`of type ${type} with any other v are refused`, async () => {
      const bytes = await oracleItem(await oracleSigner(type), 'data', SMALL);
      const right = bytes[vAt];
      expect([27, 28]).to.include(right);
      for (let v = 0; v < 256; v += 1) {
        if (v === right) continue;
        expect(await isAccepted(withByte(bytes, vAt, () => v))).to.equal(false);
      }
    });

    it(`of type ${type} with r or s at zero or at the order are refused`, async () => {
      const bytes = await oracleItem(await oracleSigner(type), 'data', SMALL);
      const order = Buffer.from(secp256k1.Point.Fn.ORDER.toString(16), 'hex');
      for (const value of [Buffer.alloc(32), order, Buffer.alloc(32, 0xff)]) {
        for (const at of [signatureAt, signatureAt + 32]) {
          const changed = Buffer.from(bytes);
          changed.set(value, at);
          expect(await isAccepted(changed)).to.equal(false);
        }
      }
    });
  }

  it('verify under an address in any case, each case an owner of its own', async () => {
    const signer = await oracleSigner(7);
    const owner = Buffer.from(signer.publicKey).toString();
    const upper = `0x${owner.slice(2).toUpperCase()}`;
    Object.defineProperty(signer, 'publicKey', { get: () => Buffer.from(upper) });
    const bytes = await oracleItem(signer, 'data', SMALL);
    const item = parseDataItem(bytes, 'posted');
    expect(Buffer.from(item.owner).toString()).to.equal(upper);
    expect(await verifyDataItem(item)).to.equal(true);
    expect(await verifyDataItem(itemWith(item, { owner: Buffer.from(owner) }))).to.equal(false);
  });

  it('are refused under an owner that is not an address', async () => {
    const item = parseDataItem(await oracleItem(await oracleSigner(7), 'data'), 'posted');
    const address = Buffer.from(item.owner).toString();
    for (const owner of [`0X${address.slice(2)}`, `${address.slice(2)}0x`, `0x${'z'.repeat(40)}`]) {
      expect(await verifyDataItem(itemWith(item, { owner: Buffer.from(owner) }))).to.equal(false);
    }
  });
});

describe('multi-signatures of Aptos', () => {
  const [one, two, three] = [ed25519Key(1), ed25519Key(2), ed25519Key(3)];
  const slots = new Map([
    [0, one],
    [8, two],
    [31, three],
  ]);
  const BITMAP_AT = 2 + 2048;
  const OWNER_AT = 2 + 2052;

  async function isAcceptedFrom(
    keys: ReadonlyMap<number, typeof one>,
    threshold: number,
    signing: readonly number[],
  ): Promise<boolean> {
    return isAccepted(await oracleItem(multiSigner(keys, threshold, signing), 'data', SMALL));
  }

  it('are accepted when as many keys signed as the threshold says, or more', async () => {
    expect(await isAcceptedFrom(slots, 2, [0, 31])).to.equal(true);
    expect(await isAcceptedFrom(slots, 2, [0, 8, 31])).to.equal(true);
    expect(await isAcceptedFrom(slots, 1, [8])).to.equal(true);
  });

  it('are refused when fewer keys signed', async () => {
    expect(await isAcceptedFrom(slots, 2, [31])).to.equal(false);
    expect(await isAcceptedFrom(slots, 33, [0, 8, 31])).to.equal(false);
  });

  it('are refused when nobody signed, which arbundles takes for valid', async () => {
    const bytes = await oracleItem(multiSigner(slots, 1, []), 'data', SMALL);
    expect(await OracleItem.verify(bytes)).to.equal(true);
    expect(await isAccepted(bytes)).to.equal(false);
  });

  it('are refused with a threshold of zero, signed or not', async () => {
    expect(await isAcceptedFrom(slots, 0, [])).to.equal(false);
    expect(await isAcceptedFrom(slots, 0, [0, 8, 31])).to.equal(false);
  });

  it('count a key that is listed twice once', async () => {
    const doubled = new Map([...slots, [1, one]]);
    expect(await isAcceptedFrom(doubled, 2, [0, 1])).to.equal(false);
    expect(await isAcceptedFrom(doubled, 2, [0, 1, 8])).to.equal(true);
  });

  it('are refused when one of the signatures is wrong, even if the others are enough', async () => {
    const bytes = await oracleItem(multiSigner(slots, 1, [0, 8]), 'data', SMALL);
    expect(await isAccepted(withByte(bytes, 2 + 8 * 64, (byte) => byte ^ 1))).to.equal(false);
  });

  it('are refused when a bit is set over a slot without a key, though OpenSSL may verify it', async () => {
    // Under the all-zero key, a point of order four, R = identity and s = 0 verify for one message in four.
    const forged = Buffer.concat([Uint8Array.of(1), Buffer.alloc(63)]);
    for (let attempt = 0; attempt < 32; attempt += 1) {
      const fields = {
        signatureType: 6 as const,
        owner: multiOwner(new Map([[0, one]]), 2),
        tags: [],
      };
      const data = Buffer.from(`attempt ${attempt}`);
      const unsigned = parseDataItem(encodeUnsigned(fields, data), 'posted');
      const signature = Buffer.alloc(2052);
      signature.set(sign(null, signatureMessageSync(unsigned), one.privateKey), 0);
      signature.set(forged, 64);
      signature[2048] = 0b1100_0000;
      expect(await isAccepted(encodeDataItem({ ...fields, signature }, data))).to.equal(false);
    }
  });

  it('are refused with anything in the slot of a key that did not sign', async () => {
    const bytes = await oracleItem(multiSigner(slots, 1, [0]), 'data', SMALL);
    expect(await isAccepted(bytes)).to.equal(true);
    expect(await isAccepted(withByte(bytes, 2 + 8 * 64 + 5, () => 1))).to.equal(false);
  });

  it('read the bitmap from its highest bit', async () => {
    const bytes = await oracleItem(multiSigner(slots, 1, [8]), 'data', SMALL);
    expect([...bytes.subarray(BITMAP_AT, OWNER_AT)]).to.deep.equal([0, 128, 0, 0]);
    const reversed = withByte(
      withByte(bytes, BITMAP_AT + 1, () => 1),
      BITMAP_AT,
      () => 0,
    );
    expect(await isAccepted(reversed)).to.equal(false);
  });
});
