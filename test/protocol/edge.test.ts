import { expect } from 'chai';
import { edgeBytes, isEdgeOf, nodeOfEdge, writeEdge } from '../../src/lib/protocol/edge.js';
import { LentBuffer } from '../../src/lib/lent-buffer.js';

const NODE = Buffer.from('{"message":null}');

/** The edge in the middle of other bytes. */
function edgeAt(cursor: number): { bytes: Buffer; begin: number; end: number } {
  const bytes = Buffer.alloc(5 + edgeBytes(NODE, cursor) + 5, '-');
  const end = writeEdge(bytes, { node: NODE, cursor }, 5);
  return { bytes, begin: 5, end };
}

const isOf = (bytes: Buffer, begin: number, end: number): ((cursor: number) => boolean) => {
  const edge = { lent: new LentBuffer(bytes, undefined), begin, end };
  return (cursor) => isEdgeOf(edge, cursor);
};

describe('edges as stores keep them', () => {
  for (const cursor of [0, 7, 10, 1_000_000, Number.MAX_SAFE_INTEGER]) {
    it(`are those of their cursor and of no other: ${cursor}`, () => {
      const { bytes, begin, end } = edgeAt(cursor);
      expect(bytes.toString('utf8', begin, end)).to.equal(
        `,{"node":${NODE.toString()},"cursor":"${cursor}"}`,
      );
      const isOfCursor = isOf(bytes, begin, end);
      expect(isOfCursor(cursor)).to.equal(true);
      for (const other of [cursor + 1, cursor + 10, Math.floor(cursor / 10) + 3]) {
        if (other !== cursor) expect(isOfCursor(other)).to.equal(false);
      }
      const edge = { lent: new LentBuffer(bytes, undefined), begin, end };
      expect(nodeOfEdge(edge, cursor)).to.deep.equal(NODE);
    });
  }

  it('are none when a byte around the node is another one, or a bound is', () => {
    const { bytes, begin, end } = edgeAt(42);
    for (let at = begin; at < end; at += 1) {
      const isInNode = at >= begin + 9 && at < begin + 9 + NODE.length;
      const changed = Buffer.from(bytes);
      changed[at] = 0x7e;
      expect(isOf(changed, begin, end)(42), `byte ${at}`).to.equal(isInNode);
    }
    for (const by of [-1, 1]) {
      expect(isOf(bytes, begin + by, end)(42)).to.equal(false);
      expect(isOf(bytes, begin, end + by)(42)).to.equal(false);
    }
    expect(isOf(bytes.subarray(0, end - 1), begin, end)(42)).to.equal(false);
    expect(isOf(bytes, end - 10, end)(42), 'too short for both').to.equal(false);
  });
});
