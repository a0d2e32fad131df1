import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import { isSuError } from '../../src/lib/errors.js';
import {
  encodeDataItem,
  encodeUnsigned,
  ownerAddress,
  parseDataItem,
  type DataItem,
} from '../../src/lib/protocol/data-item.js';
import { idFromBytes, sha256 } from '../../src/lib/protocol/ids.js';
import {
  SIGNATURE_TYPES,
  verifyDataItem,
  type SignatureType,
} from '../../src/lib/protocol/signature-types.js';
import { encodeTags, type Limits } from '../../src/lib/protocol/tags.js';

const VECTORS = new URL('../vectors/items/', import.meta.url);

function vector(name: string): Buffer {
  return readFileSync(new URL(`${name}.bin`, VECTORS));
}

function vectorNames(folder = ''): string[] {
  const files = readdirSync(new URL(folder === '' ? '.' : folder, VECTORS));
  return files.filter((file) => file.endsWith('.bin')).map((file) => folder + file.slice(0, -4));
}

/** The item, or the sentence it is refused with. Anything else that is thrown fails the test. */
function parseOrRefuse(bytes: Uint8Array, limits: Limits = 'posted'): DataItem | string {
  try {
    return parseDataItem(bytes, limits);
  } catch (error) {
    if (isSuError(error, 'invalid-data-item')) return error.message;
    throw error;
  }
}

const bytesOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const reference = fc.oneof(fc.constant(new Uint8Array(0)), bytesOf(32));

const itemArbitrary = fc.constantFrom<SignatureType[]>(1, 2, 3, 4, 5, 6, 7).chain((signatureType) =>
  fc.record({
    signatureType: fc.constant(signatureType),
    signature: bytesOf(SIGNATURE_TYPES[signatureType].signatureBytes),
    owner: bytesOf(SIGNATURE_TYPES[signatureType].ownerBytes),
    target: reference,
    anchor: reference,
    tags: fc.array(
      fc.record({
        name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }),
        value: fc.string({ unit: 'grapheme', maxLength: 10 }),
      }),
      { maxLength: 20 },
    ),
    data: fc.uint8Array({ maxLength: 200 }),
  }),
);

/** A small item of a type with short keys, so that mutations hit its structure often. */
function smallItem(): Buffer {
  const fields = {
    signatureType: 2 as const,
    signature: Buffer.alloc(64, 1),
    owner: Buffer.alloc(32, 2),
    target: Buffer.alloc(32, 3),
    anchor: Buffer.alloc(32, 4),
    tags: [
      { name: 'Type', value: 'Message' },
      { name: 'Data-Protocol', value: 'ao' },
    ],
  };
  return Buffer.from(encodeDataItem(fields, Buffer.from('data')));
}

/** Where the parts of `smallItem` begin. */
const TARGET_AT = 2 + 64 + 32;
const ANCHOR_AT = TARGET_AT + 33;
const TAGS_AT = ANCHOR_AT + 33;

describe('a data item', () => {
  it('comes back from its encoding', () => {
    fc.assert(
      fc.property(itemArbitrary, ({ data, ...fields }) => {
        const bytes = encodeDataItem(fields, data);
        const item = parseDataItem(bytes, 'posted');
        expect(item.signatureType).to.equal(fields.signatureType);
        expect(item.tags).to.deep.equal(fields.tags);
        for (const part of ['signature', 'owner', 'target', 'anchor'] as const) {
          expect(Buffer.compare(item[part], fields[part])).to.equal(0);
        }
        expect(Buffer.compare(item.data, data)).to.equal(0);
        expect(Buffer.compare(item.rawTags, encodeTags(fields.tags))).to.equal(0);
        expect(item.id).to.equal(idFromBytes(sha256(fields.signature)));
        expect(ownerAddress(item)).to.equal(idFromBytes(sha256(fields.owner)));
      }),
    );
  });

  it('is parsed into views: nothing is copied', () => {
    const bytes = vector('message-100kb');
    const item = parseDataItem(bytes, 'posted');
    for (const part of ['signature', 'owner', 'target', 'rawTags', 'data'] as const) {
      expect(item[part].buffer).to.equal(bytes.buffer);
    }
    expect(item.bytes).to.equal(bytes);
  });

  it('has zeros for a signature before it is signed', () => {
    const owner = Buffer.alloc(32, 2);
    const bytes = encodeUnsigned({ signatureType: 2, owner, tags: [] }, Buffer.from('data'));
    const item = parseDataItem(bytes, 'posted');
    expect(item.signature.every((byte) => byte === 0)).to.equal(true);
    expect(Buffer.from(item.data).toString()).to.equal('data');
    expect(parseDataItem(encodeUnsigned({ signatureType: 2, owner, tags: [] }), 'posted').data).to
      .be.empty;
  });

  it('is not encoded from parts of a wrong length', () => {
    const right = { signatureType: 2 as const, owner: Buffer.alloc(32), tags: [] };
    const signature = Buffer.alloc(64);
    for (const wrong of [
      { owner: Buffer.alloc(31) },
      { signature: Buffer.alloc(65) },
      { target: Buffer.alloc(31) },
      { anchor: Buffer.alloc(33) },
    ]) {
      expect(() => encodeDataItem({ ...right, signature, ...wrong })).to.throw(/bytes/);
    }
  });
});

describe('the parser of data items', () => {
  it('refuses every shortening that cuts into the structure', () => {
    const bytes = smallItem();
    const structure = bytes.length - 'data'.length;
    for (let length = 0; length < bytes.length; length += 1) {
      const outcome = parseOrRefuse(bytes.subarray(0, length));
      expect(typeof outcome).to.equal(length < structure ? 'string' : 'object');
    }
  });

  it('refuses signature types that are not 1 to 7', () => {
    for (const [low, high] of [
      [0, 0],
      [8, 0],
      [99, 0],
      [1, 1],
      [255, 255],
    ] as const) {
      const bytes = smallItem();
      bytes.set([low, high], 0);
      expect(parseOrRefuse(bytes)).to.include(`signature type ${low + 256 * high} is unknown`);
    }
  });

  it('refuses presence bytes other than 0 and 1', () => {
    for (const [at, what] of [
      [TARGET_AT, 'target'],
      [ANCHOR_AT, 'anchor'],
    ] as const) {
      for (const value of [2, 128, 255]) {
        const bytes = smallItem();
        bytes[at] = value;
        expect(parseOrRefuse(bytes)).to.include(`${what}'s presence byte is ${value}`);
      }
    }
  });

  it('refuses counts and lengths of tags beyond the bytes, up to the largest of 64 bits', () => {
    for (const value of [3n, 129n, 2n ** 31n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
      for (const at of [TAGS_AT, TAGS_AT + 8]) {
        for (const limits of ['posted', 'stored'] as const) {
          const bytes = smallItem();
          bytes.writeBigUInt64LE(value, at);
          expect(parseOrRefuse(bytes, limits)).to.be.a('string');
        }
      }
    }
  });

  it('takes what is stored beyond the limits, and refuses it when it is posted', () => {
    const tags = Array.from({ length: 129 }, () => ({ name: '', value: '' }));
    const bytes = encodeUnsigned({ signatureType: 2, owner: Buffer.alloc(32), tags });
    expect(parseDataItem(bytes, 'stored').tags).to.deep.equal(tags);
    expect(parseOrRefuse(bytes, 'posted')).to.include('at most 128');
  });

  it('keeps tag bytes that are split in an unusual way as they came', () => {
    const tags = [
      { name: 'a', value: '1' },
      { name: 'b', value: '2' },
    ];
    const rawTags = Buffer.from([1, 8, 2, 97, 2, 49, 2, 2, 98, 2, 50, 0]);
    const fields = { signatureType: 2 as const, owner: Buffer.alloc(32), tags, rawTags };
    const item = parseDataItem(encodeUnsigned(fields), 'posted');
    expect(item.tags).to.deep.equal(tags);
    expect(Buffer.compare(item.rawTags, rawTags)).to.equal(0);
  });

  it('gives for any mutation a refusal or exactly what the bytes say, and soon', () => {
    const change = fc.record({
      at: fc.nat(400),
      remove: fc.constantFrom(0, 0, 1, 1, 1, 2, 8, 40),
      insert: fc.oneof(fc.uint8Array({ maxLength: 3 }), fc.uint8Array({ maxLength: 40 })),
    });
    const startedMs = performance.now();
    const runs = 3_000;
    fc.assert(
      fc.property(
        fc.oneof(
          fc.constant(smallItem()),
          itemArbitrary.map((it) => encodeDataItem(it, it.data)),
        ),
        fc.array(change, { minLength: 1, maxLength: 4 }),
        fc.constantFrom<Limits[]>('posted', 'stored'),
        (original, changes, limits) => {
          let bytes: Uint8Array = original;
          for (const { at, remove, insert } of changes) {
            const start = at % (bytes.length + 1);
            const rest = bytes.subarray(Math.min(bytes.length, start + remove));
            bytes = Buffer.concat([bytes.subarray(0, start), insert, rest]);
          }
          const outcome = parseOrRefuse(bytes, limits);
          if (typeof outcome === 'string') return;
          expect(Buffer.compare(encodeDataItem(outcome, outcome.data), bytes)).to.equal(0);
        },
      ),
      { numRuns: runs },
    );
    expect((performance.now() - startedMs) / runs).to.be.lessThan(10);
  }).timeout(60_000);

  it('refuses random bytes after any prefix of an item, or reads them as they are', () => {
    fc.assert(
      fc.property(
        fc.nat(TAGS_AT + 40),
        fc.uint8Array({ maxLength: 1_000 }),
        fc.constantFrom<Limits[]>('posted', 'stored'),
        (length, tail, limits) => {
          const bytes = Buffer.concat([smallItem().subarray(0, length), tail]);
          const outcome = parseOrRefuse(bytes, limits);
          if (typeof outcome === 'string') return;
          expect(Buffer.compare(encodeDataItem(outcome, outcome.data), bytes)).to.equal(0);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('takes neither long nor much memory for a body of 10 MiB, whatever its tags claim', () => {
    const body = Buffer.alloc(10_485_760, 0x80);
    smallItem().copy(body, 0, 0, TAGS_AT);
    body.writeBigUInt64LE(2n ** 32n - 1n, TAGS_AT);
    body.writeBigUInt64LE(BigInt(body.length - TAGS_AT - 16), TAGS_AT + 8);
    // A block that claims four million tags, and then strings of length -1 to the end.
    body.set([0x80, 0x80, 0x80, 0x04], TAGS_AT + 16);
    body.fill(1, TAGS_AT + 20);
    const heapBefore = process.memoryUsage().heapUsed;
    const startedMs = performance.now();
    expect(parseOrRefuse(body, 'posted')).to.be.a('string');
    expect(parseOrRefuse(body, 'stored')).to.include('negative length');
    expect(performance.now() - startedMs).to.be.lessThan(50);
    expect(process.memoryUsage().heapUsed - heapBefore).to.be.lessThan(body.length);
  });
});

describe('the recorded items', function () {
  this.timeout(20_000);
  const { items } = JSON.parse(readFileSync(new URL('items.json', VECTORS), 'utf8')) as {
    items: { name: string; id: string; length: number }[];
  };

  /** Refused by what they are, not by the rules about their tags. */
  const MALFORMED = ['bad-empty', 'bad-garbage', 'bad-truncated', 'bad-type-99'];
  const FORGED = ['bad-flipped-data', 'bad-flipped-signature'];

  it('have the ids and lengths that were noted', () => {
    expect(items).to.have.length(32);
    for (const { name, id, length } of items) {
      const bytes = vector(name);
      expect(bytes, name).to.have.length(length);
      expect(parseDataItem(bytes, 'posted').id, name).to.equal(id);
    }
  });

  for (const name of [...vectorNames(), ...vectorNames('guards/')]) {
    if (MALFORMED.includes(name)) {
      it(`are refused by the parser: ${name}`, () => {
        expect(parseOrRefuse(vector(name))).to.be.a('string');
        expect(parseOrRefuse(vector(name), 'stored')).to.be.a('string');
      });
    } else {
      const verified = !FORGED.includes(name);
      it(`${verified ? 'verify' : 'do not verify'}: ${name}`, async () => {
        const item = parseDataItem(vector(name), 'posted');
        expect(await verifyDataItem(item)).to.equal(verified);
        const again = encodeDataItem(item, item.data);
        expect(Buffer.compare(again, item.bytes)).to.equal(0);
      });
    }
  }
});
