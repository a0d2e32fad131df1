import { SuError } from '../../errors.js';
import type { PageQuery } from '../../scheduler/read-page.js';
import { parseNumber, type Query } from '../query.js';

/** Edges of a page whose request names no limit. */
const LIMIT_DEFAULT = 100;

/**
 * Reads what page a request asks for. Any nonce parameter makes `from` and `to` void, so they are not even looked at.
 *
 * @throws SuError `invalid-request` for a bound that is not a number and a limit that is not a whole number above 0
 */
export function parsePageQuery(query: Query): PageQuery {
  const byNonce =
    query.getDefined('from-nonce') !== undefined || query.getDefined('to-nonce') !== undefined;
  return {
    by: byNonce ? 'nonce' : 'timestamp',
    from: parseBound(query, byNonce ? 'from-nonce' : 'from'),
    to: parseBound(query, byNonce ? 'to-nonce' : 'to'),
    limit: parseLimit(query),
    showAnchor: query.get('show-anchor') !== undefined,
  };
}

/** Rounding down changes nothing for whole nonces and timestamps: n > 1.5 is n > 1, n <= 1.5 is n <= 1. */
function parseBound(query: Query, name: string): number | undefined {
  const text = query.getDefined(name);
  if (text === undefined) return undefined;
  const value = parseNumber(text);
  if (value === undefined) {
    throw new SuError(
      'invalid-request',
      `${name} is not a number: ${JSON.stringify(text.slice(0, 40))}`,
    );
  }
  return Math.floor(value);
}

/** What is no number (clients send `undefined`, `NaN`, nothing) means the default; a number must be one we can serve. */
function parseLimit(query: Query): number {
  const value = parseNumber(query.get('limit') ?? '');
  if (value === undefined) return LIMIT_DEFAULT;
  if (!Number.isInteger(value) || value < 1) {
    throw new SuError(
      'invalid-request',
      `limit is ${value}: a page holds a whole number of edges, 1 or more`,
    );
  }
  return value;
}
