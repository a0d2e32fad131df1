import { SuError } from '../errors.js';
import { quoteBounded } from '../protocol/ids.js';

/** Rows of the table of messages, counted in the order of their row ids. */
export interface RowRange {
  /** So many rows come before it. */
  readonly from: number;
  /** Its last row is the `to`-th of the table; undefined: it goes to the end. */
  readonly to: number | undefined;
}

const EXAMPLES = '0 (all), 0-1000 (the first 1000), 1000 (all but those), 1000-2000';
const RANGE = /^(0|[1-9][0-9]{0,14})(?:-(0|[1-9][0-9]{0,14}))?$/;

/**
 * Reads a range as operators write it: `0`, `0-1000`, `1000`, `1000-2000`.
 *
 * @throws SuError `invalid-config` with the value and examples
 */
export function parseRange(text: string): RowRange {
  const match = RANGE.exec(text);
  if (match === null) {
    throw new SuError(
      'invalid-config',
      `range ${quoteBounded(text)}: expected rows as ${EXAMPLES}`,
    );
  }
  const range = {
    from: Number(match[1]),
    to: match[2] === undefined ? undefined : Number(match[2]),
  };
  if (range.to !== undefined && range.to <= range.from) {
    throw new SuError(
      'invalid-config',
      `range ${text}: the end must exceed the start; expected rows as ${EXAMPLES}`,
    );
  }
  return range;
}

/** A range as `parseRange` reads it. */
export function formatRange({ from, to }: RowRange): string {
  return to === undefined ? String(from) : `${from}-${to}`;
}
