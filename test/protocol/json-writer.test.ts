import { expect } from 'chai';
import fc from 'fast-check';
import { JsonWriter } from '../../src/lib/protocol/json-writer.js';

/** As many as a piece that is escaped at a time, and as a buffer that texts are parts of. */
const PIECE_BYTES = 512;
const SLAB_BYTES = 65_536;

/** The text as JSON without its quotes. */
function escape(writer: JsonWriter, text: string): string {
  const utf8 = Buffer.from(text);
  return writer.begin().escaped(utf8, 0, utf8.length).takeText();
}

function expected(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

describe('a JSON writer', () => {
  it('escapes every character of ASCII as JSON.stringify does', () => {
    const writer = new JsonWriter();
    for (let code = 0; code < 128; code += 1) {
      const text = `a${String.fromCharCode(code)}b`;
      expect(escape(writer, text)).to.equal(expected(text));
    }
  });

  it('escapes every text as JSON.stringify does', () => {
    const writer = new JsonWriter();
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(escape(writer, text)).to.equal(expected(Buffer.from(text).toString()));
      }),
    );
  });

  it('escapes long texts, whatever lies where a piece ends and however much they grow', () => {
    const writer = new JsonWriter();
    for (const before of [PIECE_BYTES - 2, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES]) {
      for (const text of ['"', '\0', '€', '😀'].map((one) => `${'x'.repeat(before)}${one}y`)) {
        expect(escape(writer, text)).to.equal(expected(text));
      }
    }
    const zeros = '\0'.repeat(2 * SLAB_BYTES);
    expect(escape(writer, zeros)).to.equal(expected(zeros));
    expect(escape(writer, 'short again')).to.equal('short again');
  });

  it('finds what is to be escaped wherever in a text of any length it lies', () => {
    const writer = new JsonWriter();
    for (const length of [33, 34, 35, 36, 37, 101, PIECE_BYTES]) {
      for (let at = 0; at < length; at += 1) {
        const text = `${'x'.repeat(at)}"${'x'.repeat(length - at - 1)}`;
        expect(escape(writer, text)).to.equal(expected(text));
      }
    }
  });

  it('escapes from one place to another, and nothing where there is nothing', () => {
    const bytes = Buffer.from('a"b"c');
    const writer = new JsonWriter();
    expect(writer.begin().escaped(bytes, 1, 3).takeText()).to.equal('\\"b');
    expect(writer.begin().escaped(bytes, 2, 2).takeText()).to.equal('');
  });

  it('writes fragments, ASCII and base64url one behind the other', () => {
    for (const length of [0, 1, 32, 33, 700]) {
      const fragment = Buffer.alloc(length, 'f');
      const bytes = Buffer.alloc(length, 0xfb);
      const writer = new JsonWriter();
      const text = writer.begin().fragment(fragment).ascii('[').base64Url(bytes).takeText();
      expect(text).to.equal(`${'f'.repeat(length)}[${bytes.toString('base64url')}`);
    }
  });

  it('never writes into bytes that were taken', () => {
    const writer = new JsonWriter();
    const texts = Array.from({ length: 300 }, (_, index) => `${index}-`.repeat(1 + (index % 700)));
    const taken = texts.map((text) => writer.begin().ascii(text).takeBytes());
    writer.begin().ascii('not taken');
    writer.begin().ascii('only shown').takeText();
    expect(taken.map(String)).to.deep.equal(texts);
  });

  it('forgets what was begun and not taken', () => {
    const writer = new JsonWriter();
    writer.begin().ascii('lost');
    expect(writer.begin().ascii('kept').takeBytes().toString()).to.equal('kept');
  });

  it('takes bytes and texts larger than its buffers', () => {
    const large = 'l'.repeat(SLAB_BYTES + 1);
    const writer = new JsonWriter();
    expect(writer.begin().ascii('a').ascii(large).takeText()).to.equal(`a${large}`);
    expect(writer.begin().ascii(large).ascii('z').takeBytes().toString()).to.equal(`${large}z`);
    expect(writer.begin().ascii('b').takeText()).to.equal('b');
  });
});
