import { expect } from 'chai';
import fc from 'fast-check';
import { toJsonb } from '../../src/lib/protocol/wire.js';

describe('JSON for a jsonb column', () => {
  it('has U+FFFD where the text has U+0000, and is else the same', () => {
    expect(toJsonb('{"a":"x\\u0000y\\u0000"}')).to.equal('{"a":"x\uFFFDy\uFFFD"}');
    expect(toJsonb('{"a":"b"}')).to.equal('{"a":"b"}');
  });

  it('leaves alone what only looks like an escaped U+0000', () => {
    const text = JSON.stringify({ a: '\\u0000', b: '\\\\u0000', c: '\\\0' });
    expect(JSON.parse(toJsonb(text))).to.deep.equal({
      a: '\\u0000',
      b: '\\\\u0000',
      c: '\\\uFFFD',
    });
  });

  it('equals replacing every U+0000 before it is written', () => {
    const arb = fc.string({ unit: fc.constantFrom('\0', '\\', 'u0000', '"', 'x', '\n') });
    fc.assert(
      fc.property(arb, (text) => {
        expect(toJsonb(JSON.stringify(text))).to.equal(
          JSON.stringify(text.replaceAll('\0', '\uFFFD')),
        );
      }),
      { numRuns: 300 },
    );
  });
});
