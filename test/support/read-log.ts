import { encodeDataItem, parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { fromBase64Url, type Id } from '../../src/lib/protocol/ids.js';
import { verifyDataItem } from '../../src/lib/protocol/signature-types.js';
import { findTag, type Tag } from '../../src/lib/protocol/tags.js';

export interface WireItem {
  readonly id: Id;
  readonly owner: { readonly address: string; readonly key: string };
  readonly tags: readonly Tag[];
  readonly signature: string;
  readonly anchor: string | null;
  readonly target: string | null;
}

export interface WireEdge {
  readonly node: { readonly message: WireItem | null; readonly assignment: WireItem };
  readonly cursor: string;
}

/** The whole log of a process, page by page, as a compute unit reads it. */
export async function readLog(url: string, processId: Id, limit = 100): Promise<WireEdge[]> {
  const edges: WireEdge[] = [];
  for (;;) {
    const from = edges.at(-1)?.cursor ?? '-1';
    const query = `process-id=${processId}&from-nonce=${from}&limit=${limit}&show-anchor=1`;
    const response = await fetch(`${url}/${processId}?${query}`);
    if (response.status !== 200) throw new Error(`${response.status}: ${await response.text()}`);
    const page = (await response.json()) as {
      page_info: { has_next_page: boolean };
      edges: WireEdge[];
    };
    edges.push(...page.edges);
    if (!page.page_info.has_next_page) return edges;
  }
}

/**
 * What is wrong with a log that begins at nonce 0, as a compute unit would find it: places, hash chain, timestamps,
 * signatures and ids of the assignments, repeated messages. Empty when nothing is.
 *
 * @param holes nonces that are known to be missing; the link after a hole cannot be recomputed
 */
export async function faultsOfLog(
  processId: Id,
  edges: readonly WireEdge[],
  holes: readonly number[] = [],
): Promise<readonly string[]> {
  const faults: string[] = [];
  const seen = new Set<string>();
  let nonce = -1;
  let previous: { readonly id: Id; readonly link: string; readonly timestamp: number } | undefined;
  for (const [index, { node }] of edges.entries()) {
    const { assignment, message } = node;
    const tag = (name: string): string => findTag(assignment.tags, name) ?? 'absent';
    const link =
      previous === undefined ? firstLink(processId) : nextLink(previous.id, previous.link);
    nonce += 1;
    const afterHole = holes.includes(nonce);
    if (afterHole) nonce += 1;
    if (tag('Process') !== processId) faults.push(`${index}: process ${tag('Process')}`);
    if (tag('Nonce') !== String(nonce)) faults.push(`${index}: nonce ${tag('Nonce')}`);
    if (tag('Hash-Chain') !== link && !afterHole) faults.push(`${index}: hash chain`);
    if (Number(tag('Timestamp')) <= (previous?.timestamp ?? 0)) faults.push(`${index}: timestamp`);
    if (message !== null && seen.has(message.id)) faults.push(`${index}: repeats ${message.id}`);
    if (message !== null) seen.add(message.id);
    const item = rebuild(assignment);
    if (item.id !== assignment.id) faults.push(`${index}: id of the assignment`);
    if (!(await verifyDataItem(item))) faults.push(`${index}: signature of the assignment`);
    previous = { id: assignment.id, link: tag('Hash-Chain'), timestamp: Number(tag('Timestamp')) };
  }
  return faults;
}

/** The assignment's bytes from its JSON, read with `show-anchor`. */
function rebuild(assignment: WireItem): DataItem {
  const anchor = Buffer.from(assignment.anchor ?? '');
  return parseDataItem(
    encodeDataItem({
      signatureType: 1,
      signature: fromBase64Url(assignment.signature),
      owner: fromBase64Url(assignment.owner.key),
      anchor: anchor.length === 32 ? anchor : fromBase64Url(assignment.anchor ?? ''),
      tags: assignment.tags,
    }),
    'stored',
  );
}
