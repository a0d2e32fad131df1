import { SuError } from '../errors.js';
import { isId, quoteBounded } from '../protocol/ids.js';
import type { LogProcess, LogReader, ReadOptions } from './ports.js';

/** What `GET /{id}` finds under an id. */
export type Found =
  | { readonly kind: 'process'; readonly process: LogProcess }
  | { readonly kind: 'entry'; readonly node: Uint8Array };

/** What is asked for. Both ids are as the client wrote them. */
export interface EntryQuery extends ReadOptions {
  readonly id: string;
  /** Only an entry of this process is wanted. */
  readonly processId: string | undefined;
  readonly showAnchor: boolean;
}

/**
 * Finds what an id names: a known process, else the entry whose message has the id, else the entry whose assignment has
 * it. A text that cannot be an id names nothing, so it is unknown rather than malformed.
 *
 * @throws SuError `unknown-entry`, `store-unavailable`, `scheduler-busy`
 */
export async function readEntry(
  reader: Pick<LogReader, 'findProcess' | 'findEntry'>,
  { id, processId, showAnchor, isWanted }: EntryQuery,
): Promise<Found> {
  if (!isId(id)) throw unknownEntry(id, processId);
  // A message asked for within its process is the common case: the look-up that finds it goes first. The order changes
  // no answer, since a process's own item is no entry of any log.
  const within = processId === undefined || processId === id ? undefined : processId;
  if (within !== undefined && isId(within)) {
    const entry = await reader.findEntry(id, within, { isWanted });
    if (entry !== undefined) return { kind: 'entry', node: entry.node };
  }
  const process = await reader.findProcess(id, { showAnchor, isWanted });
  if (process !== undefined) return { kind: 'process', process };
  if (processId === undefined) {
    const entry = await reader.findEntry(id, undefined, { isWanted });
    if (entry !== undefined) return { kind: 'entry', node: entry.node };
  }
  throw unknownEntry(id, processId);
}

function unknownEntry(id: string, processId: string | undefined): SuError {
  const where =
    processId === undefined ? 'known here' : `known in process ${quoteBounded(processId)}`;
  return new SuError(
    'unknown-entry',
    `no process, message or assignment ${quoteBounded(id)} is ${where}`,
  );
}
