import { readRecordedExchanges, type RecordedExchange } from '../support/recorded.js';
import type { WireEdge } from '../support/read-log.js';

/** One recorded exchange, with what the answer was besides its JSON. */
export interface GoldenExchange extends RecordedExchange {
  /** Content type of the answer; absent when it had none. */
  readonly type?: string;
  /** The answer's text when it was not JSON. */
  readonly text?: string;
}

export interface Page {
  readonly page_info: { readonly has_next_page: boolean };
  readonly edges: readonly WireEdge[];
}

export type WireNode = WireEdge['node'];

/**
 * What an entry is about, so that it can be found in another run's log: its process, then the item or transaction that
 * has the place, then which time in the log that is.
 */
export type EntryKey = `${string} ${string} ${number}`;

export interface KeyedEdge {
  readonly key: EntryKey;
  readonly edge: WireEdge;
}

/** A conversation with the reference, and the logs that it left there. */
export interface Conversation {
  readonly exchanges: readonly GoldenExchange[];
  /** The processes that were spawned, by the name their item has. */
  readonly processIds: ReadonlyMap<string, string>;
  /** The entries of every log that was read whole, in order. */
  readonly entries: readonly KeyedEdge[];
  /** By the id of the recorded assignment. */
  readonly keys: ReadonlyMap<string, EntryKey>;
}

/** The pages that show the recorded logs whole; the fourth process was never read. */
const WHOLE_PAGES = ['page', 'page of p2', 'page of p3'];

export function tagOf(node: WireNode, name: string): string {
  const tag = node.assignment.tags.find((each) => each.name === name);
  if (tag === undefined) throw new Error(`the assignment ${node.assignment.id} has no ${name}`);
  return tag.value;
}

/** Gives each entry of a whole log its key. */
export function keyedLog(edges: readonly WireEdge[]): readonly KeyedEdge[] {
  const times = new Map<string, number>();
  return edges.map((edge) => {
    const processId = tagOf(edge.node, 'Process');
    const subject = edge.node.assignment.tags.find(({ name }) => name === 'Message');
    const about = `${processId} ${subject?.value ?? processId}` as const;
    const time = (times.get(about) ?? 0) + 1;
    times.set(about, time);
    return { key: `${about} ${time}` as const, edge };
  });
}

/** Reads a recorded conversation. */
export function readConversation(name: string): Conversation {
  const exchanges = readRecordedExchanges(name) as readonly GoldenExchange[];
  const entries = WHOLE_PAGES.flatMap((page) => {
    const exchange = exchanges.find((each) => each.name === page);
    if (exchange === undefined) throw new Error(`nothing is recorded as ${page}`);
    return keyedLog((exchange.json as Page).edges);
  });
  const spawns = exchanges.filter((each) => each.name.startsWith('spawn '));
  return {
    exchanges,
    processIds: new Map(
      spawns.map(({ name: spawn, json }) => [spawn.slice(6), (json as { id: string }).id]),
    ),
    entries,
    keys: new Map(entries.map(({ key, edge }) => [edge.node.assignment.id, key])),
  };
}

/** The position of the first exchange of this name. */
export function positionOf(conversation: Conversation, name: string): number {
  const position = conversation.exchanges.findIndex((exchange) => exchange.name === name);
  if (position < 0) throw new Error(`nothing is recorded as ${name}`);
  return position;
}
