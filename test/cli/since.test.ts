import { expect } from 'chai';
import { parseSince } from '../../src/lib/cli/since.js';
import { isSuError } from '../../src/lib/errors.js';

const NOW = Date.UTC(2026, 6, 10);

describe('--since', () => {
  for (const [text, expected] of [
    ['1795401595867', 1_795_401_595_867],
    ['2026-07-01', Date.UTC(2026, 6, 1)],
    ['2026-07-01T12:30:00Z', Date.UTC(2026, 6, 1, 12, 30)],
    ['2026-07-01T12:30', Date.UTC(2026, 6, 1, 12, 30)],
    ['2026-07-01T12:30:00+02:00', Date.UTC(2026, 6, 1, 10, 30)],
    ['90s', NOW - 90_000],
    ['24h', NOW - 86_400_000],
    ['7d', NOW - 7 * 86_400_000],
    ['999999999w', 0],
  ] as const) {
    it(`takes ${text}`, () => expect(parseSince(text, NOW)).to.equal(expected));
  }
  for (const text of ['', 'yesterday', '24', '1795401595', '2026-13-01', '-1h', '1.5d', '24 h']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseSince(text, NOW)).to.throw(/--since/);
      try {
        parseSince(text, NOW);
      } catch (error) {
        expect(isSuError(error, 'invalid-config')).to.equal(true);
      }
    });
  }
});
