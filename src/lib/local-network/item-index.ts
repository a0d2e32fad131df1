import type { Id } from '../protocol/ids.js';
import type { Described } from './described.js';
import type { LogRecord } from './item-log.js';

/** Where an item or transaction is, and what a search needs of it before its bytes are read. */
export interface IndexEntry extends LogRecord {
  readonly id: Id;
  /** Counts from 0 in order of arrival. */
  readonly ordinal: number;
  /** The ordinal of the bundle it came in. */
  readonly bundledIn: number | undefined;
  /** A hash for each tag, for the owner and for the recipient. */
  readonly marks: readonly number[];
}

/** What can be looked for by its mark. */
export type Marked =
  | { readonly kind: 'tag'; readonly name: string; readonly value: string }
  | { readonly kind: 'owner' | 'recipient'; readonly value: string };

/**
 * The index of the local network, in memory. It keeps a 30-bit hash of each tag instead of the tag: assignments
 * have a dozen tags that no other item shares, so the texts would take ten times the room. A search compares hashes
 * first and then the bytes of what is left, so a collision costs a read and is never an answer.
 */
export class ItemIndex {
  readonly #byId = new Map<string, IndexEntry>();
  readonly #entries: IndexEntry[] = [];

  get size(): number {
    return this.#entries.length;
  }

  find(id: string): IndexEntry | undefined {
    return this.#byId.get(id);
  }

  at(ordinal: number): IndexEntry | undefined {
    return this.#entries[ordinal];
  }

  /** Adds what is not known yet; the first of two with one id stays. */
  add(record: LogRecord, item: Described & { address: Id }, bundledIn?: number): IndexEntry {
    const known = this.#byId.get(item.id);
    if (known !== undefined) return known;
    const marks = item.tags.map(({ name, value }) => markOf({ kind: 'tag', name, value }));
    marks.push(markOf({ kind: 'owner', value: item.address }));
    if (item.recipient !== '') marks.push(markOf({ kind: 'recipient', value: item.recipient }));
    const ordinal = this.#entries.length;
    const entry: IndexEntry = { ...record, id: item.id, ordinal, bundledIn, marks };
    this.#entries.push(entry);
    this.#byId.set(item.id, entry);
    return entry;
  }
}

/** FNV-1a, cut to the 30 bits that the engine stores without a heap number. */
export function markOf(marked: Marked): number {
  const text =
    marked.kind === 'tag'
      ? `${marked.name}\u0000${marked.value}`
      : `\u0000${marked.kind}\u0000${marked.value}`;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return (hash ^ (hash >>> 30)) & 0x3fffffff;
}
