import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { formatRange, parseRange } from '../../src/lib/migrator/range.js';

function refusal(text: string): string {
  try {
    parseRange(text);
  } catch (error) {
    if (error instanceof SuError && error.code === 'invalid-config') return error.message;
    throw error;
  }
  return 'taken';
}

describe('a range of rows', () => {
  const RIGHT = [
    ['0', 0, undefined],
    ['1000', 1000, undefined],
    ['0-1000', 0, 1000],
    ['1000-2000', 1000, 2000],
    ['999999999999999', 999999999999999, undefined],
  ] as const;
  for (const [text, from, to] of RIGHT) {
    it(`is read from ${text}, and written the same way`, () => {
      expect(parseRange(text)).to.deep.equal({ from, to });
      expect(formatRange({ from, to })).to.equal(text);
    });
  }

  const WRONG = [
    '',
    '-',
    '-5',
    '5-',
    '1-2-3',
    '01',
    '1.5',
    '1e3',
    ' 1',
    '0x10',
    'all',
    '1000-',
    '0-01',
    '1000000000000000',
    '1–2',
  ];
  for (const text of WRONG) {
    it(`is refused as ${JSON.stringify(text)}, with the value and examples`, () => {
      expect(refusal(text)).to.include(JSON.stringify(text)).and.to.include('1000-2000');
    });
  }

  for (const text of ['5-5', '900-200', '0-0']) {
    it(`is refused as ${text}, since it has no rows`, () => {
      expect(refusal(text)).to.match(new RegExp(`^range ${text}: the end must exceed the start`));
    });
  }
});
