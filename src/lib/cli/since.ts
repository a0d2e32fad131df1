import { SuError } from '../errors.js';

const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/**
 * The moment (ms) that the text of `--since` means: a timestamp in milliseconds, a date, or how long ago (`90s`, `24h`, `7d`).
 *
 * @param now wall clock, ms
 * @throws SuError `invalid-config`
 */
export function parseSince(text: string, now: number): number {
  const ago = /^(\d{1,9})([smhdw])$/.exec(text);
  if (ago !== null) {
    const [, count = '0', unit = 's'] = ago;
    return Math.max(0, now - Number(count) * UNITS[unit as keyof typeof UNITS]);
  }
  if (/^\d{10,16}$/.test(text)) {
    const value = Number(text);
    // Ten digits are seconds, which would mean January 1970.
    if (text.length >= 12 && Number.isSafeInteger(value)) return value;
    throw refused(text, 'has too few digits for milliseconds');
  }
  const parts = /^\d{4}-\d{2}-\d{2}(T[\d:.]+(Z|[+-]\d{2}:\d{2})?)?$/.exec(text);
  // A time without a zone would be the machine's.
  const isBare = parts?.[1] !== undefined && parts[2] === undefined;
  const date = parts === null ? Number.NaN : Date.parse(isBare ? `${text}Z` : text);
  if (Number.isNaN(date)) throw refused(text, 'is no time');
  return date;
}

function refused(text: string, reason: string): SuError {
  const shown = JSON.stringify(text.slice(0, 60));
  return new SuError(
    'invalid-config',
    `--since: ${shown} ${reason}: give milliseconds (1795401595867), a date (2026-07-01, 2026-07-01T12:00:00Z, UTC unless it says otherwise) or a duration (24h, 7d)`,
  );
}
