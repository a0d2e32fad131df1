import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import {
  encodeBundle,
  parseMessageBundle,
  parseProcessBundle,
} from '../../src/lib/protocol/bundle.js';
import { encodeDataItem, parseDataItem } from '../../src/lib/protocol/data-item.js';
import type { DataItem } from '../../src/lib/protocol/data-item.js';
import { renderLargeText } from '../../src/lib/protocol/large-text.js';
import {
  renderNode,
  renderProcessData,
  renderProcessNode,
  renderProcessRecord,
  toJsonb,
} from '../../src/lib/protocol/wire.js';

const OWNER = randomBytes(512);
const ODD_TAGS = [
  { name: '"data":""', value: ',"data":"","assignment":' },
  { name: 'a\u0000b', value: '\u0000' },
];

function itemOf(data: Uint8Array, anchor?: Uint8Array): DataItem {
  const fields = { signatureType: 1, signature: randomBytes(512), owner: OWNER, anchor } as const;
  return parseDataItem(encodeDataItem({ ...fields, tags: ODD_TAGS }, data), 'stored');
}

function bundleOf(data: Uint8Array): Uint8Array {
  const items = [itemOf(Buffer.alloc(0), Buffer.alloc(32, 0xff)), itemOf(data)];
  return encodeBundle({ owner: OWNER, anchor: randomBytes(32), items });
}

/** Data whose broken sequences fall on every place where the bytes may be cut. */
function* awkwardData(): Generator<readonly [string, Buffer]> {
  yield ['nothing', Buffer.alloc(0)];
  yield ['control characters', Buffer.alloc(200_000, 1)];
  yield ['zeros', Buffer.alloc(200_000)];
  yield ['continuations without a beginning', Buffer.alloc(200_000, 0x80)];
  yield ['random bytes', randomBytes(400_000)];
  for (let shift = 0; shift < 4; shift += 1) {
    const text = '\u{1F600}'.repeat(50_000);
    yield [`four-byte characters behind ${shift}`, Buffer.from('x'.repeat(shift) + text)];
    const broken = Buffer.alloc(200_000, Buffer.from([0xe2, 0x82, 0xf0, 0x9f, 0x98, 0x80, 0x80]));
    yield [`broken sequences behind ${shift}`, Buffer.concat([Buffer.alloc(shift, 97), broken])];
  }
  yield ['byte order marks', Buffer.from('\uFEFF'.repeat(60_000))];
}

describe('the rendering of large entries', () => {
  for (const [name, data] of awkwardData()) {
    it(`gives the same bytes as the usual one for ${name}`, () => {
      const bundle = bundleOf(data);
      for (const showAnchor of [false, true]) {
        const expected = renderNode(parseMessageBundle(bundle), { showAnchor });
        const text = renderLargeText({ text: 'message-node', bundle, showAnchor });
        expect(text.equals(Buffer.from(expected))).to.equal(true);
      }
      const forJsonb = renderLargeText({ text: 'message-node', bundle, forJsonb: true });
      const expected = toJsonb(renderNode(parseMessageBundle(bundle)));
      expect(forJsonb.equals(Buffer.from(expected))).to.equal(true);
    });
  }

  it('gives the same texts of processes, whose data is shown whole or not at all', () => {
    const spawn = { blockHeight: 1_234_567, timestamp: 1_700_000_000_000 };
    for (const data of [Buffer.alloc(100_000, '"\\\n'), randomBytes(100_000), Buffer.alloc(0)]) {
      const bundle = bundleOf(data);
      const { item, assignment } = parseProcessBundle(bundle);
      const parts = { item: item as DataItem, assignment };
      const expected = {
        'process-node': renderProcessNode(parts),
        'process-record': renderProcessRecord({ ...parts, ...spawn }),
        'process-data': renderProcessData({ ...parts, ...spawn }),
      };
      for (const text of Object.keys(expected) as (keyof typeof expected)[]) {
        const rendered = renderLargeText({ text, bundle, spawn }).toString();
        expect(rendered === expected[text], text).to.equal(true);
      }
    }
  });
});
