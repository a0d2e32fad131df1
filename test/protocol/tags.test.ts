import { deserializeTags, serializeTags } from 'arbundles';
import { expect } from 'chai';
import fc from 'fast-check';
import { isSuError } from '../../src/lib/errors.js';
import {
  decodeTags,
  encodeTags,
  findTag,
  type Limits,
  type Tag,
} from '../../src/lib/protocol/tags.js';

/** The zig-zag varint of a number of 64 bits. */
function long(value: bigint | number): number[] {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n));
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

function text(value: string): number[] {
  const bytes = Buffer.from(value);
  return [...long(bytes.length), ...bytes];
}

function record(tag: Tag): number[] {
  return [...text(tag.name), ...text(tag.value)];
}

/** A block with a positive count. */
function block(...tags: Tag[]): number[] {
  return [...long(tags.length), ...tags.flatMap(record)];
}

/** A block with a negative count and its size in bytes. */
function sizedBlock(tags: Tag[], sizeError = 0): number[] {
  const records = tags.flatMap(record);
  return [...long(-tags.length), ...long(records.length + sizeError), ...records];
}

const A: Tag = { name: 'a', value: '1' };
const B: Tag = { name: 'b', value: '2' };
const C: Tag = { name: 'c', value: '' };

function decode(bytes: number[], count: number, limits: Limits = 'posted'): readonly Tag[] {
  return decodeTags(Uint8Array.from(bytes), count, limits);
}

/** The reason for which the bytes are refused. */
function refusal(bytes: number[], count: number, limits: Limits = 'posted'): string {
  try {
    decode(bytes, count, limits);
  } catch (error) {
    if (isSuError(error, 'invalid-data-item')) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

const tagArbitrary = fc.record({
  name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }),
  value: fc.string({ unit: 'grapheme', maxLength: 80 }),
});

describe('tags', () => {
  it('come back from their encoding', () => {
    fc.assert(
      fc.property(fc.array(tagArbitrary, { maxLength: 100 }), (tags) => {
        expect(decodeTags(encodeTags(tags), tags.length, 'stored')).to.deep.equal(tags);
      }),
    );
  });

  it('are encoded as arbundles encodes them', () => {
    fc.assert(
      fc.property(fc.array(tagArbitrary, { maxLength: 10 }), (tags) => {
        expect(Buffer.from(encodeTags(tags))).to.deep.equal(serializeTags(tags));
      }),
    );
    const large = [{ name: 'n'.repeat(64), value: 'v'.repeat(3000) }];
    expect(Buffer.from(encodeTags(large))).to.deep.equal(serializeTags(large));
  });

  it('are no bytes when there are none', () => {
    expect(encodeTags([])).to.have.length(0);
    expect(decode([], 0)).to.deep.equal([]);
  });

  it('may be an empty array of one byte', () => {
    expect(decode([0], 0)).to.deep.equal([]);
  });

  it('may be split over blocks, with and without sizes, as arbundles reads them too', () => {
    const tags = [A, B, C];
    const splits = [
      [...block(A), ...block(B), ...block(C), 0],
      [...sizedBlock([A, B, C]), 0],
      [...sizedBlock([A]), ...block(B), ...sizedBlock([C]), 0],
      [...block(A, B), ...sizedBlock([C]), 0],
    ];
    for (const bytes of splits) {
      expect(decode(bytes, 3)).to.deep.equal(tags);
      expect(deserializeTags(Buffer.from(bytes))).to.deep.equal(tags);
    }
  });

  it('may write a number in more bytes than it needs', () => {
    expect(decode([0x82, 0x80, 0x00, ...record(A), 0x80, 0x00], 1)).to.deep.equal([A]);
  });

  it('keep a byte order mark and U+0000', () => {
    const tags = [{ name: '\ufeffname', value: '\ufeff\u0000' }];
    expect(decodeTags(encodeTags(tags), 1, 'posted')).to.deep.equal(tags);
  });

  it('are refused when a block size is wrong', () => {
    for (const error of [-1, 1, 1_000]) {
      expect(refusal([...sizedBlock([A], error), ...block(B), 0], 2)).to.include('size');
    }
    expect(refusal([...long(-1), ...long(-4), ...record(A), 0], 1)).to.include('size');
  });

  it('are refused when a length is negative', () => {
    expect(refusal([...long(1), ...long(-1), 97, ...text('1'), 0], 1)).to.include('negative');
    expect(refusal([...long(1), ...text('a'), ...long(-5), 0], 1)).to.include('negative');
  });

  it('are refused when a length goes beyond the bytes', () => {
    for (const length of [4, 100, 2 ** 31, 2 ** 53, 2n ** 62n]) {
      expect(refusal([...long(1), ...long(length), 97, 0, 0], 1)).to.include('longer');
    }
  });

  it('are refused when the terminator is missing or a number is cut off', () => {
    expect(refusal(block(A), 1)).to.include('end within');
    expect(refusal([0x82], 1)).to.include('end within');
    expect(refusal([...long(1), ...text('a')], 1)).to.include('end within');
    expect(refusal([...long(-1)], 1)).to.include('end within');
  });

  it('are refused when a number never ends', () => {
    expect(refusal([...Array.from({ length: 11 }, () => 0x80), 0], 1)).to.include('ten bytes');
  });

  it('are refused when bytes follow', () => {
    expect(refusal([...block(A), 0, 0], 1)).to.include('follow');
    expect(refusal([0, 1], 0)).to.include('follow');
  });

  it('are refused when their number is not the declared one', () => {
    expect(refusal([...block(A), 0], 2)).to.include('declared');
    expect(refusal([...block(A, B), 0], 1)).to.include('declared');
    expect(refusal([...block(A), ...block(B), 0], 1)).to.include('declared');
    expect(refusal([...block(A), 0], 0)).to.include('declared');
    expect(refusal([], 1)).to.include('declared');
    expect(refusal([0], 1)).to.include('declared');
  });

  it('are refused when they are not UTF-8', () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf5, 0x80]]) {
      const wrong = [...long(bytes.length), ...bytes];
      expect(refusal([...long(1), ...wrong, ...text('v'), 0], 1)).to.include('name is not UTF-8');
      expect(refusal([...long(1), ...text('n'), ...wrong, 0], 1)).to.include('value is not UTF-8');
      expect(refusal([...long(1), ...text('n'), ...wrong, 0], 1, 'stored')).to.include('UTF-8');
    }
  });

  it('are refused within milliseconds when a huge block holds strings of negative length', () => {
    const backwards = [...long(2n ** 40n), ...Array.from({ length: 500 }, () => long(-1)).flat()];
    const bytes = [...backwards, ...Array.from({ length: 500 }, () => 1)];
    const startedMs = performance.now();
    for (const limits of ['posted', 'stored'] as const) {
      for (const count of [128, 1, 2 ** 31])
        expect(refusal(bytes, count, limits)).to.include('tags');
      for (const count of [2n ** 40n, -(2n ** 40n), 2n ** 62n, -(2n ** 63n)]) {
        expect(refusal([...long(count), 0, 0, 0], 2 ** 31, limits)).to.include('malformed');
      }
    }
    expect(performance.now() - startedMs).to.be.lessThan(200);
  });
});

describe('limits of tags', () => {
  const tagOf = (name: number, value: number) => ({
    name: 'n'.repeat(name),
    value: 'v'.repeat(value),
  });
  const many = (count: number) => Array.from({ length: count }, () => A);

  /** [what, tags at the limit, tags beyond it] */
  const limits: [string, Tag[], Tag[]][] = [
    ['number', many(128), many(129)],
    ['name length', [tagOf(1024, 1)], [tagOf(1025, 1)]],
    ['value length', [tagOf(1, 3072)], [tagOf(1, 3073)]],
    ['name emptiness', [tagOf(1, 0)], [tagOf(0, 1)]],
    // 1 + (2 + 1000) + (2 + 3072) + (1 + 1) + (1 + 14) + 1 + … = 4096: the lengths are chosen so.
    ['bytes', [tagOf(1000, 3072), tagOf(1, 15)], [tagOf(1000, 3072), tagOf(1, 16)]],
  ];

  for (const [what, within, beyond] of limits) {
    it(`hold for what is posted and not for what is stored: ${what}`, () => {
      expect(decodeTags(encodeTags(within), within.length, 'posted')).to.deep.equal(within);
      expect(decodeTags(encodeTags(beyond), beyond.length, 'stored')).to.deep.equal(beyond);
      expect(() => decodeTags(encodeTags(beyond), beyond.length, 'posted')).to.throw(/malformed/);
    });
  }

  it('are 4096 bytes to the byte', () => {
    const [, , , , bytes] = limits;
    expect(encodeTags(bytes?.[1] ?? [])).to.have.length(4096);
  });
});

describe('a tag', () => {
  const tags = [
    { name: 'type', value: 'Message' },
    { name: 'Type', value: 'Process' },
  ];

  it('is found by the first that has one of the names, in exactly that case', () => {
    expect(findTag(tags, 'Type')).to.equal('Process');
    expect(findTag(tags, 'Type', 'type')).to.equal('Message');
    expect(findTag(tags, 'TYPE')).to.equal(undefined);
    expect(findTag([], 'Type')).to.equal(undefined);
  });
});
