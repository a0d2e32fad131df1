import { expect } from 'chai';
import fc from 'fast-check';
import { readAssignment } from '../../src/lib/protocol/assignment.js';
import {
  bundleSignatureMessage,
  encodeBundle,
  parseMessageBundle,
  parseProcessBundle,
  processWrapperTags,
  readSpawnPlace,
  sealBundle,
  type StoredBundle,
} from '../../src/lib/protocol/bundle.js';
import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { parseId } from '../../src/lib/protocol/ids.js';
import { verifyDataItem } from '../../src/lib/protocol/signature-types.js';
import { isSuError } from '../../src/lib/errors.js';
import { fakeItem, randomId, tagsOf, testWallet } from '../support/item-factory.js';
import { oldMessageBundle } from '../support/old-bundles.js';
import { readRecordedBundles, readRecordedRows } from '../support/recorded.js';

const OWNER = new Uint8Array(512).fill(1);
const ANCHOR = new Uint8Array(32).fill(2);
const PARSERS = [parseMessageBundle, parseProcessBundle];

const bundleOf = (...items: readonly DataItem[]): Uint8Array =>
  encodeBundle({ owner: OWNER, anchor: ANCHOR, items });

/** A wrapper around any content, which need not be a bundle. */
function wrap(content: Uint8Array): Uint8Array {
  const signature = new Uint8Array(512);
  const fields = { signatureType: 1, signature, owner: OWNER, anchor: ANCHOR, tags: [] } as const;
  return encodeDataItem(fields, content);
}

function contentOf(bundle: Uint8Array): Buffer {
  return Buffer.from(parseDataItem(bundle, 'stored').data);
}

function expectRefused(bundle: Uint8Array, reason: string): void {
  for (const parse of PARSERS) {
    expect(() => parse(bundle))
      .to.throw(reason)
      .with.property('code', 'invalid-data-item');
  }
}

async function expectVerified(bundle: StoredBundle): Promise<void> {
  for (const part of [bundle.wrapper, bundle.assignment, bundle.item]) {
    if (part !== undefined) expect(await verifyDataItem(part), part.id).to.equal(true);
  }
}

describe('a bundle', () => {
  it('is a data item of type 1 with the two bundle tags, the anchor, no target and an empty signature', () => {
    const wrapper = parseDataItem(bundleOf(fakeItem()), 'posted');
    expect(wrapper.signatureType).to.equal(1);
    expect(wrapper.tags).to.deep.equal(
      tagsOf(['Bundle-Format', 'binary'], ['Bundle-Version', '2.0.0']),
    );
    expect([...wrapper.anchor]).to.deep.equal([...ANCHOR]);
    expect(wrapper.target).to.have.length(0);
    expect([...wrapper.signature]).to.deep.equal(Array(512).fill(0));
  });

  it('gives back the bytes of the items it was made of', () => {
    const [assignment, message] = [
      fakeItem({ tags: tagsOf(['a', '1']) }),
      fakeItem({ data: 'hi' }),
    ];
    const parsed = parseMessageBundle(bundleOf(assignment, message));
    expect(parsed.form).to.equal('inner-assignment');
    expect(parsed.assignment).to.deep.equal(assignment);
    expect(parsed.item).to.deep.equal(message);
  });

  it('refuses to be made of no item, of three, or with a signature of another length', () => {
    for (const count of [0, 3]) {
      expect(() => bundleOf(...Array.from({ length: count }, () => fakeItem())))
        .to.throw('a bundle holds one item or two')
        .with.property('code', 'invariant');
    }
    const items = [fakeItem()];
    const signature = new Uint8Array(64);
    expect(() => encodeBundle({ owner: OWNER, anchor: ANCHOR, items, signature }))
      .to.throw()
      .with.property('code', 'invariant');
  });

  it('has the very bytes of every bundle that the reference stored', () => {
    for (const name of ['with-process-assignment', 'without-process-assignment']) {
      for (const { table, bundle } of readRecordedRows(name)) {
        const parse = table === 'messages' ? parseMessageBundle : parseProcessBundle;
        const { wrapper, assignment, item } = parse(bundle);
        const { owner, anchor, tags, signature } = wrapper;
        const items = [assignment, item].filter((part) => part !== undefined);
        const made = encodeBundle({ owner, anchor, tags, signature, items });
        expect(Buffer.compare(made, bundle)).to.equal(0);
      }
    }
  });

  it('verifies after sealing, and sealing leaves the unsealed bytes alone', async function () {
    this.timeout(60_000);
    const wallet = await testWallet('scheduler');
    const tags = processWrapperTags(1_500_000, 1_700_000_000_000);
    const items = [fakeItem({ data: 'x'.repeat(100_000) })];
    const wrapper = encodeBundle({ owner: wallet.owner, anchor: ANCHOR, tags, items });
    const sealed = sealBundle(wrapper, await wallet.sign(await bundleSignatureMessage(wrapper)));
    expect(await verifyDataItem(parseDataItem(sealed, 'posted'))).to.equal(true);
    expect([...parseDataItem(wrapper, 'posted').signature]).to.deep.equal(Array(512).fill(0));
    expect(() => sealBundle(wrapper, new Uint8Array(511)))
      .to.throw('a seal has 512 bytes')
      .with.property('code', 'invariant');
  });
});

describe('stored bundles', () => {
  it('are read in every recorded form, and all their signatures verify', async function () {
    this.timeout(20_000);
    for (const name of ['with-process-assignment', 'without-process-assignment']) {
      for (const { table, processId, bundle } of readRecordedRows(name)) {
        const parse = table === 'messages' ? parseMessageBundle : parseProcessBundle;
        const parsed = parse(bundle);
        if (table === 'processes') expect(parsed.item?.id).to.equal(processId);
        if (parsed.assignment !== undefined) {
          expect(readAssignment(parsed.assignment).processId).to.equal(processId);
        }
        await expectVerified(parsed);
      }
    }
  });

  it('of a recorded chain are one process, then messages and assignments alone, and all verify', async function () {
    this.timeout(20_000);
    const [spawn, ...rest] = readRecordedBundles('chain');
    const bundles = [
      parseProcessBundle(spawn ?? new Uint8Array()),
      ...rest.map((bytes) => parseMessageBundle(bytes)),
    ];
    const forms = bundles.map(({ form }) => form);
    expect(forms.filter((form) => form === 'assignment-only')).to.have.length(15);
    expect(forms.filter((form) => form === 'inner-assignment')).to.have.length(16);
    for (const bundle of bundles) await expectVerified(bundle);
    for (const { form, item, assignment } of bundles.slice(1)) {
      if (assignment === undefined) throw new Error('every bundle of this chain has an assignment');
      if (form === 'inner-assignment')
        expect(readAssignment(assignment).messageId).to.equal(item?.id);
    }
  });

  it('of another recorded process are read: the process with its assignment, an assignment alone', async () => {
    const [first, second] = readRecordedBundles('process-and-message');
    const process = parseProcessBundle(first ?? new Uint8Array());
    const message = parseMessageBundle(second ?? new Uint8Array());
    expect(process.item?.id).to.equal('oVZz-HyFwhXUa61vM1UkEpi0fWx804HlxYwxV69lv5A');
    expect(readSpawnPlace(process)).to.deep.equal({
      blockHeight: 1_522_873,
      timestamp: 1_728_407_547_674,
    });
    expect(message.form).to.equal('assignment-only');
    await expectVerified(process);
    await expectVerified(message);
  });

  it('with an Epoch tag on the wrapper have the wrapper as assignment and hold the message alone', () => {
    const processId = parseId('DcccvmuHG83kIjXWtB2OBTDcZbFB32EXwbMWuTzmxSo', 'process');
    const item = fakeItem({ target: processId, data: 'old' });
    const place = { processId, nonce: 4, timestamp: 1_711_676_638_471 };
    const parsed = parseMessageBundle(oldMessageBundle(item, place));
    expect(parsed.form).to.equal('outer-assignment');
    expect(parsed.assignment).to.equal(parsed.wrapper);
    expect(parsed.item).to.deep.equal(item);
    expect(readAssignment(parsed.wrapper)).to.deep.include({ ...place, messageId: item.id });
  });

  it('with an Epoch tag on the wrapper and two items are refused', () => {
    const bundle = encodeBundle({
      owner: OWNER,
      anchor: ANCHOR,
      tags: tagsOf(['Epoch', '0']),
      items: [fakeItem(), fakeItem()],
    });
    expect(() => parseMessageBundle(bundle))
      .to.throw('its wrapper is an assignment, yet it holds two items')
      .with.property('code', 'invalid-data-item');
  });

  it('of a process alone have the form process-alone and say when it was spawned', () => {
    const item = fakeItem();
    const tags = processWrapperTags(1_500_000, 1_795_401_599_849);
    const parsed = parseProcessBundle(
      encodeBundle({ owner: OWNER, anchor: ANCHOR, tags, items: [item] }),
    );
    expect(tags.map(({ name }) => name)).to.deep.equal([
      'Bundle-Format',
      'Bundle-Version',
      'Block-Height',
      'Timestamp',
    ]);
    expect(parsed).to.include({ form: 'process-alone', assignment: undefined });
    expect(readSpawnPlace(parsed)).to.deep.equal({
      blockHeight: 1_500_000,
      timestamp: 1_795_401_599_849,
    });
  });

  it('of a process that nowhere say when it was spawned are refused when asked', () => {
    expect(() => readSpawnPlace(parseProcessBundle(bundleOf(fakeItem()))))
      .to.throw("the process's Block-Height is missing")
      .with.property('code', 'invalid-data-item');
    const tags = tagsOf(['Block-Height', '000001500000'], ['Timestamp', 'soon']);
    const bundle = encodeBundle({ owner: OWNER, anchor: ANCHOR, tags, items: [fakeItem()] });
    expect(() => readSpawnPlace(parseProcessBundle(bundle)))
      .to.throw('the process\'s Timestamp is "soon"')
      .with.property('code', 'invalid-data-item');
  });

  it('may exceed the limits for posted items, which old rows do', () => {
    const tags = Array.from({ length: 200 }, (_, index) => ({
      name: `n${index}`,
      value: 'v'.repeat(90),
    }));
    const long = fakeItem({ tags });
    expect(parseMessageBundle(bundleOf(fakeItem(), long)).item?.tags).to.have.length(200);
  });
});

describe('bytes that are no stored bundle', () => {
  const one = fakeItem({ data: 'one' });
  const two = fakeItem({ data: 'two', target: randomId() });
  const good = contentOf(bundleOf(one, two));
  const changed = (offset: number, ...bytes: readonly number[]): Uint8Array => {
    const copy = Buffer.from(good);
    copy.set(bytes, offset);
    return wrap(copy);
  };

  it('are refused when the wrapper is no data item', () => {
    expectRefused(new Uint8Array(), 'not a data item');
    expectRefused(new Uint8Array(2000).fill(0xff), 'not a data item');
  });

  it('are refused when the item count is missing, zero, above two, or beyond 32 bits', () => {
    expectRefused(wrap(new Uint8Array(31)), 'the item count is missing');
    expectRefused(changed(0, 0), 'it does not hold between 1 and 2 items');
    expectRefused(changed(0, 3), 'it does not hold between 1 and 2 items');
    expectRefused(changed(31, 1), 'it does not hold between 1 and 2 items');
  });

  it('are refused when the lengths are cut short, too long, or beyond 32 bits', () => {
    expectRefused(wrap(good.subarray(0, 159)), 'the lengths of its 2 items are cut short');
    expectRefused(changed(32, 0xff, 0xff, 0xff, 0x7f), 'an item is longer than what is left');
    expectRefused(changed(63, 1), 'an item is longer than what is left');
  });

  it('are refused when an item is announced under another id', () => {
    expectRefused(changed(64, ...new Uint8Array(32)), `item ${one.id} is announced as AAAA`);
  });

  it('are refused when bytes follow the items or are missing', () => {
    expectRefused(wrap(Buffer.concat([good, new Uint8Array(3)])), '3 bytes follow its items');
    expectRefused(wrap(good.subarray(0, -1)), 'an item is longer than what is left');
  });

  it('are refused with an error of our own wherever a byte is changed or cut', () => {
    const whole = bundleOf(one, two);
    fc.assert(
      fc.property(
        fc.nat({ max: whole.length - 1 }),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        (offset, difference, cut) => {
          const bytes = cut ? Buffer.from(whole.subarray(0, offset)) : Buffer.from(whole);
          if (!cut) bytes[offset] = (bytes[offset] ?? 0) ^ difference;
          for (const parse of PARSERS) {
            try {
              const { wrapper, assignment, item } = parse(bytes);
              // Only a byte that the structure does not depend on may pass, and it is then in what was read.
              expect(cut).to.equal(false);
              expect(wrapper.bytes).to.equal(bytes);
              expect([assignment?.bytes.length, item?.bytes.length]).to.deep.equal([
                one.bytes.length,
                two.bytes.length,
              ]);
            } catch (error) {
              if (!isSuError(error, 'invalid-data-item')) throw error;
            }
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('are refused with an error of our own when they are random', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (bytes, wrapped) => {
        for (const parse of PARSERS) {
          expect(() => parse(wrapped ? wrap(bytes) : bytes))
            .to.throw()
            .with.property('code', 'invalid-data-item');
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('parsing what was encoded', () => {
  const arbItem = fc
    .record({
      data: fc.uint8Array({ maxLength: 200 }),
      anchor: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined }),
      tags: fc.array(
        fc.record({ name: fc.string({ minLength: 1 }), value: fc.string({ unit: 'grapheme' }) }),
        { maxLength: 6 },
      ),
    })
    .map((parts) => fakeItem(parts));

  it('gives the same items in the same places, for messages and for processes', () => {
    fc.assert(
      fc.property(arbItem, fc.option(arbItem, { nil: undefined }), (first, second) => {
        const items = second === undefined ? [first] : [first, second];
        const message = parseMessageBundle(bundleOf(...items));
        const process = parseProcessBundle(bundleOf(...items));
        expect(message.assignment).to.deep.equal(first);
        expect(message.item).to.deep.equal(second);
        expect(process.assignment).to.deep.equal(second === undefined ? undefined : first);
        expect(process.item).to.deep.equal(second ?? first);
      }),
      { numRuns: 150 },
    );
  });

  it('signs the message that a verifier computes from the wrapper', async () => {
    await fc.assert(
      fc.asyncProperty(arbItem, async (item) => {
        const bundle = bundleOf(item);
        const expected = signatureMessageSync(parseDataItem(bundle, 'stored'));
        expect(Buffer.compare(await bundleSignatureMessage(bundle), expected)).to.equal(0);
      }),
      { numRuns: 20 },
    );
  });
});
