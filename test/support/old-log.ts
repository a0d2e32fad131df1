import { encodeBundle, processWrapperTags } from '../../src/lib/protocol/bundle.js';
import { parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import {
  renderNode,
  renderProcessData,
  renderProcessRecord,
  toJsonb,
} from '../../src/lib/protocol/wire.js';
import { fakeItem, fakeMessageItem, fakeProcessItem, randomId, tagsOf } from './item-factory.js';
import { oldMessageBundle } from './old-bundles.js';
import type { TestDatabase } from './postgres.js';

/*
 * Rows as the reference left them over the years, of which no recording exists. Signatures are random: a store verifies none.
 */

/**
 * `outer`: the first months, the assignment on the wrapper, flat JSON, no assignment id. `inner`: a message beside its
 * assignment. `assignment-only`: a transaction that is stored elsewhere.
 */
export type OldForm = 'outer' | 'inner' | 'assignment-only';

export interface OldEntry {
  readonly nonce: number;
  readonly messageId: Id;
  readonly assignmentId: Id;
  readonly hashChain: string;
  readonly timestamp: number;
}

export interface OldEntryOptions {
  readonly form: OldForm;
  /** The next one when left out. */
  readonly nonce?: number;
  readonly timestamp?: number;
}

const BEGIN = 1_711_000_000_000;
const OWNER = new Uint8Array(512).fill(7);
const HEIGHT = 1_393_008;

/** A log that grows by rows put straight into the tables. */
export class OldLog {
  readonly process: DataItem = fakeProcessItem();
  readonly entries: OldEntry[] = [];
  readonly #database: TestDatabase;
  #link: { readonly id: Id; readonly hashChain: string } | undefined;

  constructor(database: TestDatabase) {
    this.#database = database;
  }

  get processId(): Id {
    return this.process.id;
  }

  /** A process without an assignment, as the first versions stored it: `process_data` is its record alone. */
  async spawnBare(): Promise<void> {
    const place = { blockHeight: HEIGHT, timestamp: BEGIN };
    const bundle = encodeBundle({
      owner: OWNER,
      anchor: Buffer.alloc(32, 1),
      tags: processWrapperTags(HEIGHT, BEGIN),
      items: [this.process],
    });
    const record = renderProcessRecord({ item: this.process, assignment: undefined, ...place });
    await this.#insertProcess(record, bundle);
  }

  /** A process with an assignment at nonce 0, whose place is in its bundle alone: no column has it. */
  async spawnAssigned(): Promise<void> {
    const hashChain = firstLink(this.processId);
    const assignment = assignmentItem({
      processId: this.processId,
      nonce: 0,
      timestamp: BEGIN,
      hashChain,
    });
    const bundle = encodeBundle({
      owner: OWNER,
      anchor: Buffer.alloc(32, 1),
      items: [assignment, this.process],
    });
    const data = renderProcessData({
      item: this.process,
      assignment,
      blockHeight: HEIGHT,
      timestamp: BEGIN,
    });
    await this.#insertProcess(data, bundle);
    this.#link = { id: assignment.id, hashChain };
    this.entries.push({
      nonce: 0,
      messageId: this.processId,
      assignmentId: assignment.id,
      hashChain,
      timestamp: BEGIN,
    });
  }

  /** The next entry of the chain, whatever nonce and timestamp it is told to carry. */
  async add(options: OldEntryOptions): Promise<OldEntry> {
    const last = this.entries.at(-1);
    const nonce = options.nonce ?? (last?.nonce ?? -1) + 1;
    const timestamp = options.timestamp ?? (last?.timestamp ?? BEGIN) + 1_000;
    const hashChain =
      this.#link === undefined
        ? firstLink(this.processId)
        : nextLink(this.#link.id, this.#link.hashChain);
    const place = { processId: this.processId, nonce, timestamp, hashChain };
    const made = makeEntry(options.form, place);
    await this.#database.query(
      `insert into messages (process_id, message_id, message_data, epoch, nonce, timestamp, bundle, hash_chain)
       values ($1, $2, $3, 0, $4, $5, $6, $7)`,
      [this.processId, made.messageId, made.data, nonce, timestamp, made.bundle, hashChain],
    );
    if (options.form !== 'outer') {
      await this.#database.query(
        `update messages set assignment_id = $1 where process_id = $2 and hash_chain = $3`,
        [made.assignmentId, this.processId, hashChain],
      );
    }
    const entry = { nonce, timestamp, hashChain, ...made };
    this.#link = { id: made.assignmentId, hashChain };
    this.entries.push(entry);
    return entry;
  }

  async #insertProcess(data: string, bundle: Uint8Array): Promise<void> {
    await this.#database.query(
      'insert into processes (process_id, process_data, bundle) values ($1, $2, $3)',
      [this.processId, toJsonb(data), bundle],
    );
  }
}

interface OldPlace {
  readonly processId: Id;
  readonly nonce: number;
  readonly timestamp: number;
  readonly hashChain: string;
}

interface MadeEntry {
  readonly messageId: Id;
  readonly assignmentId: Id;
  readonly data: string;
  readonly bundle: Uint8Array;
}

function makeEntry(form: OldForm, place: OldPlace): MadeEntry {
  const { processId, nonce } = place;
  if (form === 'outer') {
    const item = fakeMessageItem(processId, { data: `message ${nonce}` });
    const bundle = oldMessageBundle(item, place);
    const assignmentId = parseDataItem(bundle, 'stored').id;
    return { messageId: item.id, assignmentId, bundle, data: flatData(item, place) };
  }
  const item =
    form === 'inner' ? fakeMessageItem(processId, { data: `message ${nonce}` }) : undefined;
  const messageId = item?.id ?? randomId();
  const assignment = assignmentItem({ ...place, messageId });
  const bundle = encodeBundle({
    owner: OWNER,
    anchor: Buffer.alloc(32, 1),
    items: item === undefined ? [assignment] : [assignment, item],
  });
  const data = toJsonb(
    renderNode({
      form: item === undefined ? 'assignment-only' : 'inner-assignment',
      item,
      assignment,
    }),
  );
  return { messageId, assignmentId: assignment.id, bundle, data };
}

function assignmentItem(place: OldPlace & { readonly messageId?: Id }): DataItem {
  return fakeItem({
    owner: OWNER,
    anchor: Buffer.alloc(32, 0xff),
    tags: tagsOf(
      ['Process', place.processId],
      ['Epoch', '0'],
      ['Nonce', String(place.nonce)],
      ['Hash-Chain', place.hashChain],
      ['Block-Height', String(HEIGHT).padStart(12, '0')],
      ['Timestamp', String(place.timestamp)],
      ['Data-Protocol', 'ao'],
      ['Type', 'Assignment'],
      ['Variant', 'ao.TN.1'],
      ...(place.messageId === undefined ? [] : [['Message', place.messageId] as const]),
    ),
  });
}

/** `message_data` of the first months. */
function flatData(item: DataItem, { processId, nonce, timestamp, hashChain }: OldPlace): string {
  return JSON.stringify({
    message: { id: item.id, tags: item.tags, anchor: null, signature: 'old' },
    owner: { address: 'old', key: 'old' },
    data: Buffer.from(item.data).toString(),
    process_id: processId,
    block: String(HEIGHT).padStart(12, '0'),
    timestamp,
    epoch: 0,
    nonce,
    hash_chain: hashChain,
  });
}
