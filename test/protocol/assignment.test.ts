import { expect } from 'chai';
import fc from 'fast-check';
import {
  draftAssignment,
  formatBlockHeight,
  parseDecimal,
  readAssignment,
  sealAssignment,
  splitExclude,
  type AssignmentFields,
  type NewAssignment,
} from '../../src/lib/protocol/assignment.js';
import { parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { idFromBytes, parseId } from '../../src/lib/protocol/ids.js';
import { verifyDataItem } from '../../src/lib/protocol/signature-types.js';
import type { Tag } from '../../src/lib/protocol/tags.js';
import { isSuError } from '../../src/lib/errors.js';
import { fakeItem, tagsOf, testWallet } from '../support/item-factory.js';
import { readRecordedBundles, readRecordedRows } from '../support/recorded.js';
import { parseMessageBundle } from '../../src/lib/protocol/bundle.js';

const PROCESS = parseId('DcccvmuHG83kIjXWtB2OBTDcZbFB32EXwbMWuTzmxSo', 'process');
const MESSAGE = parseId('clvz3ehb8NzG9zbW_U_oQ5-1eARbsuErxEdG4twiC-0', 'message');
const LINK = 'CCxb1EYcRPp9lmv_MSrV3YaekOthAZRLwR3J4PLssCA';

const FIELDS: AssignmentFields = {
  processId: PROCESS,
  epoch: 0,
  nonce: 7,
  hashChain: LINK,
  blockHeight: 1_522_898,
  timestamp: 1_728_412_700_914,
  messageId: MESSAGE,
  exclude: [],
};

function newAssignment(changes: Partial<NewAssignment> = {}): NewAssignment {
  return {
    ...FIELDS,
    owner: new Uint8Array(512).fill(3),
    anchor: new Uint8Array(32).fill(9),
    ...changes,
  };
}

const SIGNATURE = new Uint8Array(512).fill(5);

function seal(changes: Partial<NewAssignment> = {}): DataItem {
  return sealAssignment(draftAssignment(newAssignment(changes)), SIGNATURE);
}

/** The tags of a valid assignment with one replaced or, without a value, left out. */
function tagsWith(name: string, value?: string): readonly Tag[] {
  const kept = seal().tags.filter((tag) => tag.name !== name);
  return value === undefined ? kept : [...kept, { name, value }];
}

const arbId = fc.uint8Array({ minLength: 32, maxLength: 32 }).map(idFromBytes);

const arbFields: fc.Arbitrary<AssignmentFields> = fc.record({
  processId: arbId,
  epoch: fc.maxSafeNat(),
  nonce: fc.maxSafeNat(),
  hashChain: arbId,
  blockHeight: fc.maxSafeNat(),
  timestamp: fc.maxSafeNat(),
  messageId: fc.option(arbId, { nil: undefined }),
  exclude: fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 40 }), { maxLength: 20 }),
});

describe('assignment', () => {
  it('has its tags in the order of the reference, then Message, then one Exclude per value', () => {
    expect(seal({ exclude: ['Data', 'Tags'] }).tags).to.deep.equal(
      tagsOf(
        ['Process', PROCESS],
        ['Epoch', '0'],
        ['Nonce', '7'],
        ['Hash-Chain', LINK],
        ['Block-Height', '000001522898'],
        ['Timestamp', '1728412700914'],
        ['Data-Protocol', 'ao'],
        ['Type', 'Assignment'],
        ['Variant', 'ao.TN.1'],
        ['Message', MESSAGE],
        ['Exclude', 'Data'],
        ['Exclude', 'Tags'],
      ),
    );
  });

  it('has no Message tag when it places the process itself', () => {
    const names = seal({ messageId: undefined }).tags.map(({ name }) => name);
    expect(names.at(-1)).to.equal('Variant');
  });

  it('has neither target nor data, and the anchor it was given', () => {
    const assignment = seal();
    expect(assignment.target).to.have.length(0);
    expect(assignment.data).to.have.length(0);
    expect([...assignment.anchor]).to.deep.equal(Array(32).fill(9));
  });

  it('has the very tags, in bytes, of the assignments that the reference signed', () => {
    const rows = ['with-process-assignment', 'without-process-assignment'].flatMap(
      readRecordedRows,
    );
    const messages = rows.filter(({ table }) => table === 'messages');
    expect(messages).to.have.length(32);
    for (const { bundle } of messages) {
      const recorded = parseMessageBundle(bundle).assignment;
      if (recorded === undefined) throw new Error('a recorded message has an assignment');
      const { owner, anchor } = recorded;
      const draft = draftAssignment({ ...readAssignment(recorded), owner, anchor });
      expect(Buffer.compare(draft.rawTags, recorded.rawTags)).to.equal(0);
      const sealed = sealAssignment(draft, recorded.signature);
      expect(Buffer.compare(sealed.bytes, recorded.bytes)).to.equal(0);
      expect(sealed.id).to.equal(recorded.id);
    }
  });

  it('drafts the message whose signature verifies once it is sealed', async function () {
    this.timeout(60_000);
    const wallet = await testWallet('scheduler');
    const draft = draftAssignment(newAssignment({ owner: wallet.owner }));
    const sealed = sealAssignment(draft, await wallet.sign(draft.signatureMessage));
    expect(await verifyDataItem(sealed)).to.equal(true);
  });

  it('states the same after sealing as was drafted, whatever the fields', () => {
    fc.assert(
      fc.property(arbFields, (fields) => {
        const sealed = seal(fields);
        expect(readAssignment(sealed)).to.deep.equal(fields);
        expect(readAssignment(parseDataItem(sealed.bytes, 'posted'))).to.deep.equal(fields);
        expect(Buffer.from(signatureMessageSync(sealed))).to.deep.equal(
          Buffer.from(draftAssignment(newAssignment(fields)).signatureMessage),
        );
      }),
      { numRuns: 100 },
    );
  });

  it('fills 128 tags with Exclude and refuses one more', () => {
    const values = Array.from({ length: 119 }, () => 'a');
    expect(seal({ exclude: values.slice(0, 118) }).tags).to.have.length(128);
    expect(() => seal({ exclude: values }))
      .to.throw('exclude has too many values: at most 118 fit')
      .with.property('code', 'invalid-request');
  });

  it('accepts an Exclude of 3072 bytes and refuses one of 3073', () => {
    expect(readAssignment(seal({ exclude: ['é'.repeat(1536)] })).exclude).to.have.length(1);
    expect(() => seal({ exclude: ['é'.repeat(1536) + 'x'] }))
      .to.throw('a value of exclude has 3073 bytes, at most 3072')
      .with.property('code', 'invalid-request');
  });

  it('refuses values of Exclude that together exceed 4096 tag bytes, and no less', () => {
    const rest = 4096 - seal({ exclude: ['x'.repeat(3000), 'x'.repeat(100)] }).rawTags.length;
    expect(seal({ exclude: ['x'.repeat(3000), 'x'.repeat(100 + rest)] }).rawTags).to.have.length(
      4096,
    );
    expect(() => seal({ exclude: ['x'.repeat(3000), 'x'.repeat(101 + rest)] }))
      .to.throw('exclude is too long: the assignment would have 4097 tag bytes')
      .with.property('code', 'invalid-request');
  });

  it('refuses numbers that are not whole and anchors that do not have 32 bytes, as bugs of ours', () => {
    const wrong: readonly Partial<NewAssignment>[] = [
      { nonce: -1 },
      { epoch: 0.5 },
      { timestamp: Number.NaN },
      { blockHeight: 2 ** 53 },
      { anchor: new Uint8Array(31) },
    ];
    for (const changes of wrong) {
      expect(() => draftAssignment(newAssignment(changes)))
        .to.throw()
        .with.property('code', 'invariant');
    }
    expect(() => sealAssignment(draftAssignment(newAssignment()), new Uint8Array(64)))
      .to.throw()
      .with.property('code', 'invariant');
  });
});

describe('reading an assignment', () => {
  it('reads the assignments of the first months, with other tags in another order', () => {
    const [, early] = readRecordedBundles('early-items');
    const item = parseDataItem(early ?? new Uint8Array(), 'stored');
    expect(readAssignment(item)).to.deep.equal({
      processId: '4iZaXaryQ3eeCDB_2ZS4WmET6DTm35QukI6dNEhQPmw',
      epoch: 0,
      nonce: 1,
      hashChain: '-ICzfwIXwt1H3hWVwe3D8YQNT2lU99WMMZBr_Qa53P0',
      blockHeight: 1_393_008,
      timestamp: 1_711_676_638_471,
      messageId: 'FRlw0hbk1-nlAbJ2DbMmwqGV8u6rWgrFYJWjm1mBMjk',
      exclude: [],
    });
  });

  it('takes the first of two tags of one name', () => {
    const tags = [...seal().tags, ...tagsOf(['Nonce', '99'])];
    expect(readAssignment(fakeItem({ tags })).nonce).to.equal(7);
  });

  it('refuses an item that lacks a tag of the assignment, and names it', () => {
    for (const name of ['Process', 'Epoch', 'Nonce', 'Hash-Chain', 'Block-Height', 'Timestamp']) {
      expect(() => readAssignment(fakeItem({ tags: tagsWith(name) })))
        .to.throw(`is not an assignment: it has no tag ${name}`)
        .with.property('code', 'invalid-data-item');
    }
  });

  it('refuses numbers that are not plain decimals below 2^53, and ids that are none', () => {
    const wrong = [
      ['Nonce', '-1'],
      ['Nonce', ''],
      ['Nonce', '1e3'],
      ['Timestamp', '9007199254740992'],
      ['Timestamp', '00000000000000001'],
      ['Epoch', ' 0'],
      ['Block-Height', '0x10'],
      ['Process', 'abc'],
      ['Message', ''],
      ['Hash-Chain', `${LINK}=`],
    ] as const;
    for (const [name, value] of wrong) {
      expect(() => readAssignment(fakeItem({ tags: tagsWith(name, value) })), `${name} ${value}`)
        .to.throw(`its ${name} is ${JSON.stringify(value)}`)
        .with.property('code', 'invalid-data-item');
    }
  });

  it('answers any tags with a reading or with a refusal of its own', () => {
    const names = [
      'Process',
      'Epoch',
      'Nonce',
      'Hash-Chain',
      'Block-Height',
      'Timestamp',
      'Message',
    ];
    const arbTag = fc.record({
      name: fc.constantFrom(...names),
      value: fc.oneof(fc.string(), arbId, fc.nat().map(String)),
    });
    fc.assert(
      fc.property(fc.array(arbTag, { maxLength: 12 }), (tags) => {
        try {
          readAssignment(fakeItem({ tags }));
        } catch (error) {
          expect(isSuError(error, 'invalid-data-item')).to.equal(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('small parts of an assignment', () => {
  it('splits exclude at commas, keeps order and blanks, and drops empty parts', () => {
    expect(splitExclude(undefined)).to.deep.equal([]);
    expect(splitExclude('')).to.deep.equal([]);
    expect(splitExclude('b, a,,b,')).to.deep.equal(['b', ' a', 'b']);
  });

  it('writes a block height with twelve digits, and with more when it has more', () => {
    expect(formatBlockHeight(0)).to.equal('000000000000');
    expect(formatBlockHeight(1_500_000)).to.equal('000001500000');
    expect(formatBlockHeight(1_234_567_890_123)).to.equal('1234567890123');
  });

  it('reads decimals up to 2^53 - 1 and nothing else', () => {
    expect(parseDecimal('000001500000')).to.equal(1_500_000);
    expect(parseDecimal('9007199254740991')).to.equal(Number.MAX_SAFE_INTEGER);
    for (const text of ['9007199254740992', '12345678901234567', '1.0', '+1', '١']) {
      expect(parseDecimal(text), text).to.equal(undefined);
    }
  });
});
