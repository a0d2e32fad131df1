import type { Id } from '../../protocol/ids.js';
import type { Head } from '../../scheduler/ports.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import type { NodeDraft } from './node-draft.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  entryFloor,
  entryKey,
  headKey,
  messageKey,
  NO_VALUE,
  processKey,
  spawnKey,
  timeKey,
} from './keys.js';
import {
  decodeHead,
  decodeNode,
  decodePlaces,
  encodeHead,
  encodePlaces,
  encodeSpawn,
  type Placed,
} from './rows.js';
import type { CopiedMessage, CopiedProcess, CopyAnswer } from './write-request.js';

/** A copy that is drawn up: what to put, once nothing of it was refused. */
interface Drawn {
  readonly puts: (() => void)[];
  /** Places of messages that appear in the copy, with those already stored. */
  readonly places: Map<Id, Placed[]>;
}

/**
 * Draws up the rows of another store into a batch, whole or not at all. A row that is there already with the same bytes is
 * left alone; another row with the place of one of them is a refusal.
 *
 * @returns the answer, and the head of the process when it was moved
 */
export function drawCopy(
  target: Target,
  {
    process,
    messages,
  }: { readonly process: CopiedProcess; readonly messages: readonly CopiedMessage[] },
): { readonly answer: CopyAnswer; readonly head: Head | undefined } {
  const { database, puts } = target;
  const drawn: Drawn = { puts: [], places: new Map() };
  const { processId } = process;
  const refusal =
    drawProcess(target, process, drawn) ?? drawMessages(target, { processId, messages }, drawn);
  if (refusal !== undefined) {
    return { answer: { kind: 'copy', status: 'refused', reason: refusal }, head: undefined };
  }
  const head = highest(database, process, messages);
  if (head !== undefined) {
    drawn.puts.push(() => puts.put('default', headKey(processId), encodeHead(head)));
  }
  for (const [messageId, places] of drawn.places) {
    places.sort((one, other) => one.epoch - other.epoch || one.nonce - other.nonce);
    puts.put('default', messageKey(messageId), encodePlaces(places));
  }
  for (const put of drawn.puts) put();
  return { answer: { kind: 'copy', status: 'written' }, head };
}

interface Target {
  readonly database: Database;
  readonly puts: BatchPuts;
  readonly nodes: NodeDraft;
}

function drawProcess(
  { database, puts }: Target,
  { processId, head, bundle, json }: CopiedProcess,
  drawn: Drawn,
): string | undefined {
  if (database.read('default', spawnKey(processId)) !== undefined) {
    const stored = database.read('bundles', processKey(processId));
    if (stored !== undefined && Buffer.compare(stored, bundle) === 0) return undefined;
    return `process ${processId} is in the store already, with another bundle`;
  }
  const hasAssignment = head.assignmentId !== undefined;
  const spawn = encodeSpawn({ ...head, hasAssignment, nonce: hasAssignment ? head.nonce : 0 });
  drawn.puts.push(() => {
    puts.put('default', spawnKey(processId), spawn);
    puts.put('bundles', processKey(processId), bundle);
    if (json !== undefined) puts.put('nodes', processKey(processId), json);
  });
  return undefined;
}

function drawMessages(
  target: Target,
  { processId, messages }: { readonly processId: Id; readonly messages: readonly CopiedMessage[] },
  drawn: Drawn,
): string | undefined {
  const groups = new Map<string, CopiedMessage[]>();
  for (const message of messages) {
    const name = `${message.head.epoch}:${message.head.nonce}`;
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [message]);
    else group.push(message);
  }
  for (const group of groups.values()) {
    const refusal = drawPlace(target, { processId, group }, drawn);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** All rows of one place: one, but for logs that were forked long ago. */
function drawPlace(
  target: Target,
  { processId, group }: { readonly processId: Id; readonly group: readonly CopiedMessage[] },
  drawn: Drawn,
): string | undefined {
  const [first] = group;
  if (first === undefined) return undefined;
  const { epoch, nonce } = first.head;
  const stored = readPlace(target.database, { processId, epoch, nonce });
  const isKnown = (
    bundle: Uint8Array,
    among: readonly { readonly bundle: Uint8Array }[],
  ): boolean => among.some((one) => Buffer.compare(one.bundle, bundle) === 0);
  if (stored.some(({ bundle }) => !isKnown(bundle, group))) {
    return `nonce ${nonce} of process ${processId} is taken by another entry in the store`;
  }
  let suffix = Math.max(-1, ...stored.map((one) => one.suffix)) + 1;
  const rows = group.toSorted((one, other) => one.rank - other.rank);
  for (const message of rows) {
    if (isKnown(message.bundle, stored)) continue;
    drawEntry(target, { processId, message, suffix }, drawn);
    suffix += 1;
  }
  return undefined;
}

function readPlace(
  database: Database,
  {
    processId,
    epoch,
    nonce,
  }: { readonly processId: Id; readonly epoch: number; readonly nonce: number },
): readonly { readonly suffix: number; readonly bundle: Uint8Array }[] {
  const gte = entryFloor(processId, epoch, nonce);
  const rows = database.readFew('nodes', {
    gte,
    lt: entryFloor(processId, epoch, nonce + 1),
    limit: PLACE_ROWS_MAX,
  });
  return rows.map(([key, value]) => ({
    suffix: decodeNode(value).suffix,
    bundle: database.read('bundles', key) ?? NO_VALUE,
  }));
}

/** More forks of one place were never seen. */
const PLACE_ROWS_MAX = 1000;

function drawEntry(
  { database, puts, nodes }: Target,
  {
    processId,
    message,
    suffix,
  }: { readonly processId: Id; readonly message: CopiedMessage; readonly suffix: number },
  drawn: Drawn,
): void {
  const { messageId, isMessage, exclude, head, bundle, json } = message;
  const { epoch, nonce, timestamp, assignmentId } = head;
  const place: Placed = { processId, epoch, nonce, suffix, timestamp };
  const key = entryKey(place);
  if (isMessage) placesOf(database, messageId, drawn).push(place);
  drawn.puts.push(() => {
    nodes.put(place, json, { isAtHead: false });
    puts.put('bundles', key, bundle);
    puts.put('default', timeKey(place, timestamp), NO_VALUE);
    if (assignmentId === undefined) return;
    puts.put('default', assignmentKey(assignmentId), encodePlaces([place]));
    if (isMessage) return;
    const digest = assignDigest({ processId, transactionId: messageId, exclude });
    puts.put(
      'default',
      assignKey(digest, timestamp, nonce),
      Buffer.from(assignmentId, 'base64url'),
    );
  });
}

function placesOf(database: Database, messageId: Id, { places }: Drawn): Placed[] {
  const known = places.get(messageId);
  if (known !== undefined) return known;
  const value = database.read('default', messageKey(messageId));
  const stored = value === undefined ? [] : [...decodePlaces(value)];
  places.set(messageId, stored);
  return stored;
}

/** The head that the process has afterwards, undefined when it stays where it is. */
function highest(
  database: Database,
  process: CopiedProcess,
  messages: readonly CopiedMessage[],
): Head | undefined {
  const value = database.read('default', headKey(process.processId));
  const stored = value && decodeHead(value);
  let best = stored ?? process.head;
  for (const { head } of messages) {
    const isHigher =
      head.epoch > best.epoch || (head.epoch === best.epoch && head.nonce > best.nonce);
    if (!isHigher) continue;
    // The next height is not smaller than any before, also where the last assignment does not tell its own; and the next
    // timestamp is later than all, also where a clock was set back.
    best = {
      ...head,
      blockHeight: Math.max(head.blockHeight, best.blockHeight),
      timestamp: Math.max(head.timestamp, best.timestamp),
    };
  }
  return best === stored ? undefined : best;
}
