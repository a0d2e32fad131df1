import { randomBytes } from 'node:crypto';
import {
  encodeDataItem,
  parseDataItem,
  type DataItem,
} from '../../../src/lib/protocol/data-item.js';
import { idFromBytes, idToBytes, type Id } from '../../../src/lib/protocol/ids.js';
import type { Tag } from '../../../src/lib/protocol/tags.js';
import { signEntry, type Job } from '../../../src/lib/scheduler/entry.js';
import type { Head, NewEntry, Run } from '../../../src/lib/scheduler/ports.js';

/*
 * Logs for the suites of the stores. A store verifies no signature, so these are random bytes: ids stay
 * unique and a thousand entries cost milliseconds.
 */

const OWNER = randomBytes(512);

/** A random id. */
export function randomId(): Id {
  return idFromBytes(randomBytes(32));
}

export interface ItemOptions {
  readonly target?: Id | undefined;
  readonly anchor?: Uint8Array;
  readonly tags?: readonly Tag[];
  readonly data?: Uint8Array;
}

/** A data item of type 1 whose signature is random. */
export function randomItem({ target, anchor, tags = [], data }: ItemOptions = {}): DataItem {
  const bytes = encodeDataItem(
    {
      signatureType: 1,
      signature: randomBytes(512),
      owner: OWNER,
      target: target === undefined ? undefined : idToBytes(target),
      anchor,
      tags,
    },
    data ?? Buffer.from('some data'),
  );
  return parseDataItem(bytes, 'stored');
}

/** Draws up the log of one process: each entry continues the one before, whether it is stored or not. */
export class LogBuilder {
  readonly process: DataItem;
  readonly processId: Id;
  readonly withAssignment: boolean;
  head: Head | undefined;
  /** Wall clock of the next entry, ms. */
  now = 1_700_000_000_000;
  blockHeight = 1_500_000;

  constructor(options: { withAssignment?: boolean; process?: ItemOptions } = {}) {
    this.withAssignment = options.withAssignment ?? true;
    this.process = randomItem({
      tags: [
        { name: 'Data-Protocol', value: 'ao' },
        { name: 'Type', value: 'Process' },
        { name: 'Module', value: 'm' },
        { name: 'Scheduler', value: 's' },
      ],
      data: Buffer.from('process data'),
      ...options.process,
    });
    this.processId = this.process.id;
  }

  /** The entry of the process itself. */
  async spawn(): Promise<NewEntry> {
    return this.#next({
      kind: 'process',
      processId: this.processId,
      item: this.process,
      withAssignment: this.withAssignment,
      identity: { kind: 'process', id: this.processId },
    });
  }

  async message(options: ItemOptions = {}): Promise<NewEntry> {
    return this.messageOf(
      randomItem({
        target: this.processId,
        tags: [
          { name: 'Data-Protocol', value: 'ao' },
          { name: 'Type', value: 'Message' },
        ],
        ...options,
      }),
    );
  }

  /** The next entry for an item that exists already. */
  async messageOf(item: DataItem): Promise<NewEntry> {
    return this.#next({
      kind: 'message',
      processId: this.processId,
      item,
      identity: { kind: 'message', id: item.id },
    });
  }

  async messages(count: number): Promise<NewEntry[]> {
    const entries: NewEntry[] = [];
    for (let made = 0; made < count; made += 1) entries.push(await this.message());
    return entries;
  }

  /** @param since the retry window's begin: the identity counts only assignments from then on */
  async assign(transactionId: Id, exclude: readonly string[] = [], since = 0): Promise<NewEntry> {
    return this.#next({
      kind: 'assigned-transaction',
      processId: this.processId,
      transactionId,
      exclude,
      identity: { kind: 'assign', processId: this.processId, transactionId, exclude, since },
    });
  }

  async #next(job: Job): Promise<NewEntry> {
    const entry = await signEntry(job, this.head, {
      now: this.now,
      blockHeight: this.blockHeight,
      owner: OWNER,
      random: (length) => randomBytes(length),
      sign: async () => randomBytes(512),
    });
    this.now = entry.head.timestamp + 7;
    this.head = entry.head;
    return entry;
  }
}

/** A run of entries that continue `onto`. */
export function runOf(onto: Head | undefined, ...entries: readonly NewEntry[]): Run {
  const [first] = entries;
  if (first === undefined) throw new Error('a run has at least one entry');
  return { processId: first.processId, onto, entries };
}

/** A new process and `count` messages as one run, with the builder to go on. */
export async function newLog(
  count: number,
  options: { withAssignment?: boolean; process?: ItemOptions } = {},
): Promise<{ builder: LogBuilder; entries: NewEntry[]; run: Run }> {
  const builder = new LogBuilder(options);
  const entries = [await builder.spawn(), ...(await builder.messages(count))];
  return { builder, entries, run: runOf(undefined, ...entries) };
}
