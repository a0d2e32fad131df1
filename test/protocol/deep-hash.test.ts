import { createHash } from 'node:crypto';
import { deepHash as oracleDeepHash, serializeTags } from 'arbundles';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  deepHash,
  deepHashForDeduplication,
  HASHED_APART_BYTES_MIN,
  signatureMessage,
  signatureMessageSync,
  type DeepHashChunk,
} from '../../src/lib/protocol/deep-hash.js';
import type { Tag } from '../../src/lib/protocol/tags.js';

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

const blobs = fc.uint8Array({ maxLength: 60 });

const chunks = fc.letrec<{ chunk: DeepHashChunk }>((tie) => ({
  chunk: fc.oneof({ maxDepth: 3 }, blobs, fc.array(tie('chunk'), { maxLength: 4 })),
})).chunk;

describe('the deep hash', () => {
  it('is what arbundles computes, for any tree', async () => {
    await fc.assert(
      fc.asyncProperty(chunks, async (chunk) => {
        const expected = await oracleDeepHash(chunk as Parameters<typeof oracleDeepHash>[0]);
        expect(hex(deepHash(chunk))).to.equal(hex(expected));
      }),
    );
  });

  it('of a blob tags it with its length', () => {
    const sha384 = (...parts: Uint8Array[]) =>
      createHash('sha384').update(Buffer.concat(parts)).digest();
    const expected = sha384(sha384(Buffer.from('blob3')), sha384(Buffer.from('abc')));
    expect(hex(deepHash(Buffer.from('abc')))).to.equal(hex(expected));
  });
});

describe('the message that an owner signs', () => {
  const fields = {
    signatureType: 1,
    owner: Buffer.alloc(512, 3),
    target: Buffer.alloc(32, 4),
    anchor: Buffer.alloc(0),
    rawTags: Buffer.from([0]),
  };

  for (const size of [0, 1, HASHED_APART_BYTES_MIN - 1, HASHED_APART_BYTES_MIN, 300_000]) {
    it(`is the deep hash of its eight parts, with ${size} bytes of data`, async () => {
      const data = Buffer.alloc(size, 5);
      const { owner, target, anchor, rawTags } = fields;
      const words = ['dataitem', '1', '1'].map((word) => Buffer.from(word));
      const expected = await oracleDeepHash([...words, owner, target, anchor, rawTags, data]);
      expect(hex(await signatureMessage({ ...fields, data }))).to.equal(hex(expected));
      expect(hex(signatureMessageSync({ ...fields, data }))).to.equal(hex(expected));
    });
  }

  it('is a promise only for data of 64 KiB or more', () => {
    const small = signatureMessage({ ...fields, data: Buffer.alloc(65_535) });
    const large = signatureMessage({ ...fields, data: Buffer.alloc(65_536) });
    expect(small).to.be.instanceOf(Uint8Array);
    expect(large).to.be.instanceOf(Promise);
  });
});

describe('the deep hash for de-duplication', () => {
  const target = Buffer.alloc(32, 1);
  const anchor = Buffer.alloc(32, 2);
  const data = Buffer.from('data');

  /** The definition, by arbundles: signature type 1, no owner, these tag bytes. */
  async function expected(tagBytes: Uint8Array, content: Uint8Array = data): Promise<string> {
    const words = ['dataitem', '1', '1', ''].map((word) => Buffer.from(word));
    return hex(await oracleDeepHash([...words, target, anchor, tagBytes, content]));
  }

  async function hashes(tags: readonly Tag[], content: Uint8Array = data) {
    const both = await deepHashForDeduplication({ target, anchor, tags, data: content });
    return { sorted: hex(both.sorted), unsorted: hex(both.unsorted) };
  }

  const type = { name: 'Type', value: 'Message' };
  const from = { name: 'From-Process', value: 'x' };
  const pushed = { name: 'Pushed-For', value: 'y' };

  it('sorts the tags, and besides gives the hash in their own order', async () => {
    expect(await hashes([type, from])).to.deep.equal({
      sorted: await expected(serializeTags([from, type])),
      unsorted: await expected(serializeTags([type, from])),
    });
  });

  it('leaves out every Pushed-For and nothing that is only spelled like it', async () => {
    const like = { name: 'pushed-for', value: 'y' };
    expect(await hashes([pushed, type, pushed, like])).to.deep.equal({
      sorted: await expected(serializeTags([type, like])),
      unsorted: await expected(serializeTags([type, like])),
    });
  });

  it('encodes tags that are all Pushed-For to the byte 00, and no tags to no bytes', async () => {
    expect((await hashes([pushed, pushed])).sorted).to.equal(await expected(Uint8Array.of(0)));
    expect((await hashes([])).sorted).to.equal(await expected(new Uint8Array(0)));
  });

  it('sorts by name and then by value, in the order of their bytes and not of UTF-16', async () => {
    const tags = [
      { name: '\u{1f600}', value: '' },
      { name: '\uff5e', value: '' },
      { name: 'a', value: '\u{1f600}' },
      { name: 'a', value: '\uff5e' },
      { name: 'a', value: 'b' },
      { name: 'B', value: 'z' },
    ];
    const order = [5, 4, 3, 2, 1, 0].flatMap((index) => tags[index] ?? []);
    expect((await hashes(tags)).sorted).to.equal(await expected(serializeTags(order)));
  });

  it('does not change the tags it was given, and is the same in any order', async () => {
    const tags = [type, from];
    const one = await hashes(tags);
    expect(tags).to.deep.equal([type, from]);
    expect((await hashes([from, type])).sorted).to.equal(one.sorted);
  });

  it('takes data that is hashed apart', async () => {
    const large = Buffer.alloc(HASHED_APART_BYTES_MIN, 9);
    const bytes = serializeTags([type]);
    expect((await hashes([type], large)).sorted).to.equal(await expected(bytes, large));
  });
});
