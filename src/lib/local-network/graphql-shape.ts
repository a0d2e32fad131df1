import { SuError } from '../errors.js';
import type { QueryField } from './graphql-reader.js';

/** The fields that may be asked for: true for one without fields of its own. */
interface Shape {
  readonly [field: string]: true | Shape;
}

const BUNDLE: Shape = { __typename: true, id: true };
const AMOUNT: Shape = { __typename: true, winston: true, ar: true };
const NODE: Shape = {
  __typename: true,
  id: true,
  anchor: true,
  signature: true,
  recipient: true,
  owner: { __typename: true, address: true, key: true },
  fee: AMOUNT,
  quantity: AMOUNT,
  data: { __typename: true, size: true, type: true },
  tags: { __typename: true, name: true, value: true },
  block: { __typename: true, id: true, timestamp: true, height: true, previous: true },
  bundledIn: BUNDLE,
  parent: BUNDLE,
};
const ROOT: Shape = {
  transaction: NODE,
  transactions: {
    __typename: true,
    pageInfo: { __typename: true, hasNextPage: true },
    edges: { __typename: true, cursor: true, node: NODE },
  },
};

/**
 * Checks that a query asks only for fields that exist, and says what it wants of those that have fields: also where
 * the answer will be empty.
 *
 * @throws SuError `invalid-request`
 */
export function checkFields(fields: readonly QueryField[], shape: Shape = ROOT): void {
  for (const { name, fields: inner } of fields) {
    const known = Object.hasOwn(shape, name) ? shape[name] : undefined;
    if (known === undefined) throw refusal(`the field "${name}" is not supported`);
    if (known === true && inner !== undefined) {
      throw refusal(`the field "${name}" has no fields of its own`);
    }
    if (known === true) continue;
    if (inner === undefined) throw refusal(`of the field "${name}" it is not said what is wanted`);
    checkFields(inner, known);
  }
}

/** A query that can be read but not answered. */
export function refusal(why: string): SuError {
  return new SuError('invalid-request', `the query cannot be answered: ${why}`);
}
