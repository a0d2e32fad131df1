import { randomBytes } from 'node:crypto';
import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { idFromBytes, idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { Tag } from '../../src/lib/protocol/tags.js';

export { testWallet, type TestWallet } from './test-wallet.js';

/** What of a data item a test decides; the rest is absent or empty. */
export interface ItemParts {
  readonly target?: Id | undefined;
  /** 32 bytes */
  readonly anchor?: Uint8Array | undefined;
  readonly tags?: readonly Tag[];
  readonly data?: string | Uint8Array;
}

/** What of an unsigned item a test may decide besides: random when left out. */
export interface FakeParts extends ItemParts {
  readonly owner?: Uint8Array;
  readonly signature?: Uint8Array;
}

/** A well-formed id that nothing has. */
export function randomId(): Id {
  return idFromBytes(randomBytes(32));
}

/** Tags from pairs, which read better in a test. */
export function tagsOf(...pairs: readonly (readonly [string, string])[]): readonly Tag[] {
  return pairs.map(([name, value]) => ({ name, value }));
}

function fieldsOf(owner: Uint8Array, parts: ItemParts) {
  return {
    signatureType: 1 as const,
    owner,
    target: parts.target === undefined ? undefined : idToBytes(parts.target),
    anchor: parts.anchor,
    tags: parts.tags ?? [],
  };
}

function dataOf(parts: ItemParts): Uint8Array {
  return Buffer.from(parts.data ?? '');
}

/** A data item of valid structure whose signature is random bytes: free of RSA, for tests that do not verify. */
export function fakeItem(parts: FakeParts = {}): DataItem {
  const fields = fieldsOf(parts.owner ?? randomBytes(512), parts);
  const signature = parts.signature ?? randomBytes(512);
  return parseDataItem(encodeDataItem({ ...fields, signature }, dataOf(parts)), 'stored');
}

const MODULE = 'GuzQrkf50rBUqizUYMYDnYsXpYC2qHFjDPPnvjAmMvY';
const SCHEDULER = 'Yphmes9Uk3HGis2QBq-s0Jj3Z7wEmENs3eVY0CD5pFo';

/** The tags of a process that the rules accept, followed by these. */
export function processTags(more: readonly Tag[] = []): readonly Tag[] {
  return [
    ...tagsOf(
      ['Data-Protocol', 'ao'],
      ['Type', 'Process'],
      ['Variant', 'ao.TN.1'],
      ['Module', MODULE],
      ['Scheduler', SCHEDULER],
    ),
    ...more,
  ];
}

/** The tags of a message that the rules accept, followed by these. */
export function messageTags(more: readonly Tag[] = []): readonly Tag[] {
  return [...tagsOf(['Data-Protocol', 'ao'], ['Type', 'Message'], ['Variant', 'ao.TN.1']), ...more];
}

/** `makeProcessItem` without a true signature. */
export function fakeProcessItem(parts: FakeParts = {}): DataItem {
  return fakeItem({ data: '1984', ...parts, tags: processTags(parts.tags) });
}

/** `makeMessageItem` without a true signature. */
export function fakeMessageItem(processId: Id, parts: FakeParts = {}): DataItem {
  return fakeItem({
    data: 'hello',
    ...parts,
    target: processId,
    tags: messageTags(parts.tags),
  });
}
