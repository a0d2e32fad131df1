import { SuError } from '../errors.js';
import { quoteBounded } from '../protocol/ids.js';

/** The query of a request, for the names a route knows; other names are of no effect. */
export interface Query {
  /** The value, undefined when the name is absent. @throws SuError `invalid-request` when it is repeated */
  get(name: string): string | undefined;
  /** Like `get`, but the text `undefined`, which JavaScript clients send for what they do not have, counts as absent. */
  getDefined(name: string): string | undefined;
}

/**
 * Reads a query string. A known name that appears twice is refused rather than one of its values chosen: two servers in
 * a row (router and scheduler) could choose differently.
 */
export function parseQuery(querystring: string): Query {
  const params = new URLSearchParams(querystring);
  const get = (name: string): string | undefined => {
    const values = params.getAll(name);
    if (values.length > 1) {
      throw new SuError('invalid-request', `the query parameter ${name} appears more than once`);
    }
    return values[0];
  };
  return {
    get,
    getDefined: (name) => {
      const value = get(name);
      return value === 'undefined' ? undefined : value;
    },
  };
}

/**
 * The process that a query names: `process-id`, or `proc-id` as HyperBEAM spells it; undefined when it names none.
 *
 * @throws SuError `invalid-request` when both spellings are there and differ
 */
export function processOfQuery(query: Query): string | undefined {
  const first = query.getDefined('process-id');
  const second = query.getDefined('proc-id');
  const processId = first === undefined || first === '' ? second : first;
  if (second !== undefined && second !== '' && processId !== second) {
    throw new SuError(
      'invalid-request',
      `process-id and proc-id differ: ${quoteBounded(processId ?? '')}, ${quoteBounded(second)}`,
    );
  }
  return processId === '' ? undefined : processId;
}

const NUMBER = /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i;

/** The number a text spells in decimal digits, undefined when it spells none. Bounded to the safe integers' range. */
export function parseNumber(text: string): number | undefined {
  const trimmed = text.trim();
  if (!NUMBER.test(trimmed)) return undefined;
  const value = Number(trimmed);
  return Math.min(Math.max(value, Number.MIN_SAFE_INTEGER), Number.MAX_SAFE_INTEGER);
}
