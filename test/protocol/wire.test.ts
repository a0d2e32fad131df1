import { expect } from 'chai';
import fc from 'fast-check';
import {
  encodeBundle,
  parseMessageBundle,
  parseProcessBundle,
  processWrapperTags,
  readSpawnPlace,
  type StoredBundle,
} from '../../src/lib/protocol/bundle.js';
import { ownerAddress, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { toBase64Url } from '../../src/lib/protocol/ids.js';
import {
  renderNode,
  renderNodeBytes,
  renderProcessData,
  renderProcessNode,
  renderProcessRecord,
  type ProcessRecordParts,
} from '../../src/lib/protocol/wire.js';
import {
  fakeItem,
  fakeProcessItem,
  randomId,
  tagsOf,
  type FakeParts,
} from '../support/item-factory.js';
import { oldMessageBundle } from '../support/old-bundles.js';
import {
  readRecordedBundles,
  readRecordedExchanges,
  readRecordedRows,
  type RecordedRow,
} from '../support/recorded.js';

const SHOWN = { showAnchor: true };
const HIDDEN = { showAnchor: false };
const CONVERSATIONS = ['with-process-assignment', 'without-process-assignment'];

interface WireItem {
  readonly id: string;
  readonly owner: { readonly address: string; readonly key: string };
  readonly data?: string | null;
  readonly tags: readonly { readonly name: string; readonly value: string }[];
  readonly signature: string;
  readonly anchor: string | null;
  readonly target: string | null;
}

interface WireNode {
  readonly message: WireItem | null;
  readonly assignment: WireItem | null;
}

function parseNode(text: string): WireNode {
  return JSON.parse(text) as WireNode;
}

function recordParts(bundle: StoredBundle): ProcessRecordParts {
  const { item, assignment } = bundle;
  if (item === undefined) throw new Error('a process bundle holds the process');
  return { item, assignment, ...readSpawnPlace(bundle) };
}

/** Node or process record of a row as our renderers give it, from the bundle alone. */
function renderRow(row: RecordedRow): string {
  return row.table === 'messages'
    ? renderNode(parseMessageBundle(row.bundle))
    : renderProcessData(recordParts(parseProcessBundle(row.bundle)));
}

/** The rows' bundles by the id under which a client finds them. */
function nodesById(
  rows: readonly RecordedRow[],
  options: { showAnchor: boolean },
): Map<string, string> {
  const nodes = new Map<string, string>();
  for (const { table, bundle } of rows) {
    const parsed = table === 'messages' ? parseMessageBundle(bundle) : parseProcessBundle(bundle);
    const { item, assignment } = parsed;
    if (assignment === undefined) continue;
    const node =
      table === 'messages' || item === undefined
        ? renderNode(parsed, options)
        : renderProcessNode({ item, assignment }, options);
    nodes.set(assignment.id, node);
  }
  return nodes;
}

/** Every node in a recorded answer: of a page's edges, or the answer itself. */
function nodesOf(json: unknown): WireNode[] {
  if (typeof json !== 'object' || json === null) return [];
  if ('edges' in json) return (json.edges as { node: WireNode }[]).map(({ node }) => node);
  return 'assignment' in json ? [json as unknown as WireNode] : [];
}

function message(parts: FakeParts): WireItem {
  const item = fakeItem(parts);
  const node = parseNode(renderNode({ form: 'inner-assignment', item, assignment: fakeItem() }));
  if (node.message === null) throw new Error('the node has a message');
  return node.message;
}

describe('rendering what the reference recorded', () => {
  for (const name of CONVERSATIONS) {
    it(`gives message_data and process_data of every row of ${name}`, () => {
      const rows = readRecordedRows(name);
      expect(rows).to.have.length(20);
      for (const row of rows) expect(JSON.parse(renderRow(row))).to.deep.equal(row.data);
    });

    it(`gives every node of the pages and entries of ${name}, key by key in order`, () => {
      const rows = readRecordedRows(name);
      const plain = nodesById(rows, HIDDEN);
      const shown = nodesById(rows, SHOWN);
      let compared = 0;
      for (const { path, json } of readRecordedExchanges(name)) {
        const nodes = path.includes('show-anchor') ? shown : plain;
        for (const recorded of nodesOf(json)) {
          expect(nodes.get(recorded.assignment?.id ?? '')).to.equal(JSON.stringify(recorded));
          compared += 1;
        }
      }
      expect(compared).to.be.greaterThan(100);
    });

    it(`gives every process record of ${name}, key by key in order`, () => {
      const records = new Map<string, string>();
      for (const { table, processId, bundle } of readRecordedRows(name)) {
        if (table === 'messages') continue;
        records.set(processId, renderProcessRecord(recordParts(parseProcessBundle(bundle))));
      }
      const recorded = readRecordedExchanges(name).filter(
        ({ path, status }) => path.startsWith('/processes/') && status === 200,
      );
      expect(recorded).to.have.length(4);
      for (const { path, json } of recorded) {
        expect(records.get(path.slice('/processes/'.length))).to.equal(JSON.stringify(json));
      }
    });
  }

  it('renders the bundles of another recorded log, and the items of the first months', () => {
    const [spawn, ...rest] = readRecordedBundles('chain').map((bytes, nonce) =>
      nonce === 0 ? parseProcessBundle(bytes) : parseMessageBundle(bytes),
    );
    for (const bundle of rest) {
      const node = parseNode(renderNode(bundle));
      expect(node.assignment?.id).to.equal(bundle.assignment?.id);
      expect(node.message === null).to.equal(bundle.form === 'assignment-only');
    }
    if (spawn === undefined) throw new Error('the chain begins with its process');
    expect(JSON.parse(renderProcessRecord(recordParts(spawn)))).to.deep.include({
      process_id: 'DcccvmuHG83kIjXWtB2OBTDcZbFB32EXwbMWuTzmxSo',
      block: '000001522898',
      timestamp: 1_728_412_700_914,
      anchor: null,
      target: null,
    });
    const [early, assignment] = readRecordedBundles('early-items').map((bytes) =>
      parseDataItem(bytes, 'stored'),
    );
    const node = parseNode(renderNode({ form: 'inner-assignment', item: early, assignment }));
    expect(node.message?.data).to.equal('6583');
    expect(node.message?.tags).to.deep.include({ name: 'ao-type', value: 'message' });
    expect(node.message?.target).to.equal('-oM8CYgbqsRcpI3tE_cpGM3kgDlamnYjSGA4nptPao0');
  });
});

describe('a node', () => {
  it('has the keys of the reference in their order', () => {
    const [item, assignment] = [fakeItem(), fakeItem()];
    const node = parseNode(renderNode({ form: 'inner-assignment', item, assignment }));
    expect(Object.keys(node)).to.deep.equal(['message', 'assignment']);
    expect(Object.keys(node.message ?? {})).to.deep.equal([
      'id',
      'owner',
      'data',
      'tags',
      'signature',
      'anchor',
      'target',
    ]);
    expect(Object.keys(node.assignment ?? {})).to.deep.equal([
      'id',
      'owner',
      'tags',
      'signature',
      'anchor',
      'target',
    ]);
  });

  it('is the same as bytes and as text, with and without its anchors shown', () => {
    const anchor = Buffer.alloc(32, 0xfe);
    const item = fakeItem({ anchor, data: 'é"\0', tags: tagsOf(['n"', 'é'.repeat(40)], ['', '']) });
    const parts = { form: 'inner-assignment', item, assignment: fakeItem({ anchor }) } as const;
    for (const options of [undefined, SHOWN, HIDDEN]) {
      expect(renderNodeBytes(parts, options).toString()).to.equal(renderNode(parts, options));
    }
    expect(parseNode(renderNodeBytes(parts).toString()).message?.tags).to.deep.equal(item.tags);
  });

  it('of an assigned transaction has null as its message', () => {
    const bundle = encodeBundle({
      owner: new Uint8Array(512),
      anchor: new Uint8Array(32),
      items: [fakeItem()],
    });
    const text = renderNode(parseMessageBundle(bundle));
    expect(text.startsWith('{"message":null,"assignment":{"id":"')).to.equal(true);
  });

  it('has an empty target when the message or the assignment has none', () => {
    const target = randomId();
    expect(message({}).target).to.equal('');
    expect(message({ target }).target).to.equal(target);
    const assignment = fakeItem();
    const node = parseNode(renderNode({ form: 'assignment-only', item: undefined, assignment }));
    expect(node.assignment?.target).to.equal('');
  });

  it('of the oldest form has the wrapper as its assignment, with all its tags and null as target', () => {
    const processId = randomId();
    const item = fakeItem({ target: processId, data: 'old', tags: tagsOf(['ao-type', 'message']) });
    const bundle = oldMessageBundle(item, { processId, nonce: 2, timestamp: 1_711_676_638_471 });
    const { wrapper } = parseMessageBundle(bundle);
    expect(JSON.parse(renderNode(parseMessageBundle(bundle)))).to.deep.equal({
      message: {
        id: item.id,
        owner: { address: ownerAddress(item), key: toBase64Url(item.owner) },
        data: 'old',
        tags: [{ name: 'ao-type', value: 'message' }],
        signature: toBase64Url(item.signature),
        anchor: null,
        target: processId,
      },
      assignment: {
        id: wrapper.id,
        owner: { address: ownerAddress(wrapper), key: toBase64Url(wrapper.owner) },
        tags: wrapper.tags,
        signature: toBase64Url(wrapper.signature),
        anchor: null,
        target: null,
      },
    });
  });

  it('of the oldest form keeps a target that the wrapper does have', () => {
    const target = randomId();
    const assignment = fakeItem({ target });
    const node = parseNode(renderNode({ form: 'outer-assignment', item: undefined, assignment }));
    expect(node.assignment?.target).to.equal(target);
  });

  it('of a process that takes no nonce has null as its assignment', () => {
    const item = fakeProcessItem();
    expect(parseNode(renderProcessNode({ item, assignment: undefined })).assignment).to.equal(null);
    expect(
      parseNode(renderNode({ form: 'process-alone', item, assignment: undefined })).assignment,
    ).to.equal(null);
  });
});

describe('the data of a message', () => {
  it('is its text, with a byte order mark kept and U+0000 escaped', () => {
    const data = Buffer.from('\uFEFFa\0"\\\n\u2028😀');
    expect(message({ data }).data).to.equal('\uFEFFa\0"\\\n\u2028😀');
    expect(message({ data: '' }).data).to.equal('');
  });

  it('has one U+FFFD for each broken sequence, as a strict decoder of the web would', () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (data) => {
        expect(message({ data }).data).to.equal(decoder.decode(data));
      }),
      { numRuns: 300 },
    );
  });
});

describe('an anchor', () => {
  const binary = new Uint8Array(32).fill(0xfe);
  const text = Buffer.from('é'.repeat(16));

  function assignmentAnchor(anchor: Uint8Array, options: { showAnchor: boolean }): string | null {
    const assignment = fakeItem({ anchor });
    const parts = { form: 'inner-assignment', item: fakeItem({ anchor }), assignment } as const;
    const node = parseNode(renderNode(parts, options));
    // What is shown of the assignment's anchor never touches the message's.
    expect(node.message?.anchor).to.equal(anchor === binary ? null : 'é'.repeat(16));
    return node.assignment?.anchor ?? null;
  }

  it('is its text when it is UTF-8, 32 zero bytes too, and null when it is not or is absent', () => {
    expect(message({ anchor: text }).anchor).to.equal('é'.repeat(16));
    expect(message({ anchor: new Uint8Array(32) }).anchor).to.equal('\0'.repeat(32));
    expect(message({ anchor: binary }).anchor).to.equal(null);
    expect(message({}).anchor).to.equal(null);
  });

  it('of an assignment is shown as base64url only on request and only when it is not UTF-8', () => {
    expect(assignmentAnchor(binary, HIDDEN)).to.equal(null);
    expect(assignmentAnchor(binary, SHOWN)).to.equal(toBase64Url(binary));
    expect(assignmentAnchor(text, SHOWN)).to.equal('é'.repeat(16));
  });

  it('of an assignment that has none is null also on request', () => {
    const parts = { form: 'inner-assignment', item: undefined, assignment: fakeItem() } as const;
    expect(parseNode(renderNode(parts, SHOWN)).assignment?.anchor).to.equal(null);
  });

  it("of a process's own assignment is shown on request, the process's own is not", () => {
    const parts = { item: fakeItem({ anchor: binary }), assignment: fakeItem({ anchor: binary }) };
    const node = parseNode(renderProcessNode(parts, SHOWN));
    expect(node.message?.anchor).to.equal(null);
    expect(node.assignment?.anchor).to.equal(toBase64Url(binary));
  });
});

describe('a process record', () => {
  const place = { blockHeight: 42, timestamp: 1_700_000_000_000 };
  const dataOf = (item: DataItem, assignment: DataItem | undefined): unknown => {
    const text = renderProcessRecord({ item, assignment, ...place });
    return (JSON.parse(text) as { data: unknown }).data;
  };

  it('shows its data only when it is UTF-8 and the process has an assignment', () => {
    const [text, broken] = [
      fakeItem({ data: '\uFEFFhi' }),
      fakeItem({ data: Uint8Array.of(0xc3) }),
    ];
    expect(dataOf(text, fakeItem())).to.equal('\uFEFFhi');
    expect(dataOf(fakeItem(), fakeItem())).to.equal('');
    expect(dataOf(broken, fakeItem())).to.equal(null);
    expect(dataOf(text, undefined)).to.equal(null);
  });

  it('names the block with twelve digits as text, the timestamp as a number, and a target it has', () => {
    const target = randomId();
    const item = fakeItem({ target });
    expect(
      JSON.parse(renderProcessRecord({ item, assignment: undefined, ...place })),
    ).to.deep.include({
      block: '000000000042',
      timestamp: 1_700_000_000_000,
      target,
      process_id: item.id,
    });
  });

  it('stands with its assignment, or null, in the column process_data', () => {
    const item = fakeProcessItem();
    const tags = processWrapperTags(place.blockHeight, place.timestamp);
    const wrapper = { owner: new Uint8Array(512), anchor: new Uint8Array(32), tags };
    const parts = recordParts(parseProcessBundle(encodeBundle({ ...wrapper, items: [item] })));
    expect(renderProcessData(parts)).to.equal(
      `{"process":${renderProcessRecord(parts)},"assignment":null}`,
    );
    const assignment = fakeItem();
    const data = JSON.parse(renderProcessData({ ...parts, assignment })) as WireNode;
    expect(data.assignment?.id).to.equal(assignment.id);
  });
});

describe('rendered JSON', () => {
  it('is JSON that says what the items hold, whatever they hold', () => {
    const arbText = fc.string({ unit: 'binary', maxLength: 20 });
    const arbTags = fc.array(fc.record({ name: arbText, value: arbText }), { maxLength: 5 });
    fc.assert(
      fc.property(arbTags, arbText, (tags, data) => {
        const [item, assignment] = [fakeItem({ tags, data }), fakeItem({ tags })];
        const node = parseNode(renderNode({ form: 'inner-assignment', item, assignment }));
        expect(node.message?.tags).to.deep.equal(item.tags);
        expect(node.message?.data).to.equal(data);
        expect(node.assignment?.tags).to.deep.equal(assignment.tags);
        expect(node.message?.owner.address).to.equal(ownerAddress(item));
      }),
      { numRuns: 150 },
    );
  });
});
