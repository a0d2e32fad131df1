import { randomBytes, sign } from 'node:crypto';
import type { StoredMessage, StoredProcess } from '../../src/lib/migrator/ports.js';
import { draftAssignment, sealAssignment } from '../../src/lib/protocol/assignment.js';
import { encodeBundle } from '../../src/lib/protocol/bundle.js';
import {
  encodeDataItem,
  encodeUnsigned,
  parseDataItem,
  type DataItem,
} from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { asBuffer, idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import { signEntry, type Job } from '../../src/lib/scheduler/entry.js';
import type { Head, NewEntry } from '../../src/lib/scheduler/ports.js';
import { tagsOf, testWallet, type TestWallet } from '../support/item-factory.js';
import { quickWallet } from '../support/signed-items.js';

/** Users of all test logs: cheap to sign with. */
const USER = quickWallet();

/** What a test may decide of the next entry, right or wrong. */
export interface NextEntry {
  /** In place of the log's head. */
  readonly onto?: Partial<Head>;
  /** In place of the log's clock, ms. */
  readonly now?: number;
  readonly item?: DataItem;
  readonly wallet?: TestWallet;
}

/** A log with true signatures, as rows of a store; entries can be made as they must not be. */
export class SignedLog {
  readonly processId: Id;
  readonly process: StoredProcess;
  readonly messages: StoredMessage[] = [];
  head: Head;
  now: number;
  readonly #wallet: TestWallet;

  private constructor(wallet: TestWallet, spawned: NewEntry) {
    this.#wallet = wallet;
    this.processId = spawned.processId;
    this.head = spawned.head;
    this.now = spawned.head.timestamp + 10;
    const { epoch, nonce, timestamp, hashChain } = spawned.head;
    const none = { epoch: undefined, nonce: undefined, timestamp: undefined, hashChain: undefined };
    this.process = {
      processId: spawned.processId,
      rank: 1,
      ...(spawned.assignment === undefined ? none : { epoch, nonce, timestamp, hashChain }),
      bundle: spawned.bundle,
      json: undefined,
    };
  }

  /** A log that holds its process alone. */
  static async begin(withAssignment = true, now = 1_700_000_000_000): Promise<SignedLog> {
    const wallet = await testWallet('scheduler');
    const item = signItem(undefined, 'Process', Buffer.from('1984'));
    const identity = { kind: 'process', id: item.id } as const;
    const job: Job = { kind: 'process', processId: item.id, item, withAssignment, identity };
    return new SignedLog(wallet, await signEntry(job, undefined, momentOf(wallet, now)));
  }

  /** An item that a user has signed for this process, or for another. */
  item(target: Id = this.processId): DataItem {
    return signItem(target, 'Message', randomBytes(8).toString('hex'));
  }

  /** A message with this data. */
  itemWith(data: Uint8Array): DataItem {
    return signItem(this.processId, 'Message', data);
  }

  /** Signs the next message, stores it, and makes it the head. */
  async message(next: NextEntry = {}): Promise<StoredMessage> {
    const item = next.item ?? this.item();
    const identity = { kind: 'message', id: item.id } as const;
    return this.#add({ kind: 'message', processId: this.processId, item, identity }, next);
  }

  async append(count: number): Promise<void> {
    for (let made = 0; made < count; made += 1) await this.message();
  }

  async assign(transactionId: Id, exclude: readonly string[] = []): Promise<StoredMessage> {
    const { processId } = this;
    const identity = { kind: 'assign', processId, transactionId, exclude, since: 0 } as const;
    return this.#add(
      { kind: 'assigned-transaction', processId, transactionId, exclude, identity },
      {},
    );
  }

  /** The next message, with an assignment that names another message or process. */
  async misnamed(names: { readonly message?: Id; readonly process?: Id }): Promise<StoredMessage> {
    const right = await this.message();
    const item = parseDataItem(right.bundle, 'stored');
    const message = parseDataItem(item.data.subarray(assignmentEnd(item.data)), 'stored');
    const wallet = this.#wallet;
    const { epoch, nonce, timestamp, blockHeight, hashChain = '' } = this.head;
    const draft = draftAssignment({
      owner: wallet.owner,
      anchor: randomBytes(32),
      processId: names.process ?? this.processId,
      messageId: names.message ?? message.id,
      exclude: [],
      epoch,
      nonce,
      timestamp,
      blockHeight,
      hashChain,
    });
    const assignment = sealAssignment(draft, await wallet.sign(draft.signatureMessage));
    const bundle = encodeBundle({
      owner: wallet.owner,
      anchor: randomBytes(32),
      items: [assignment, message],
    });
    this.head = { ...this.head, assignmentId: assignment.id };
    const row = { ...right, assignmentId: assignment.id, bundle };
    this.messages[this.messages.length - 1] = row;
    return row;
  }

  async #add(job: Job, { onto, now, wallet = this.#wallet }: NextEntry): Promise<StoredMessage> {
    const head = { ...this.head, ...onto };
    const entry = await signEntry(job, head, momentOf(wallet, now ?? this.now));
    const { epoch, nonce, timestamp, hashChain = '', assignmentId } = entry.head;
    const row: StoredMessage = {
      processId: this.processId,
      messageId: entry.messageId,
      assignmentId,
      epoch,
      nonce,
      timestamp,
      hashChain,
      rank: this.messages.length + 1,
      bundle: entry.bundle,
      json: undefined,
    };
    this.messages.push(row);
    this.head = entry.head;
    this.now = Math.max(this.now, timestamp) + 10;
    return row;
  }
}

/** Anchors are text, as clients make them: others get lost in JSON. */
function signItem(target: Id | undefined, type: string, data: string | Uint8Array): DataItem {
  const fields = {
    signatureType: 2,
    owner: USER.owner,
    target: target === undefined ? undefined : idToBytes(target),
    anchor: Buffer.from(randomBytes(16).toString('hex')),
    tags: tagsOf(['Data-Protocol', 'ao'], ['Variant', 'ao.TN.1'], ['Type', type]),
  } as const;
  const bytes = Buffer.from(data);
  const message = signatureMessageSync(parseDataItem(encodeUnsigned(fields, bytes), 'posted'));
  const signature = sign(null, message, USER.key);
  return parseDataItem(encodeDataItem({ ...fields, signature }, bytes), 'posted');
}

function momentOf(wallet: TestWallet, now: number) {
  return {
    now,
    blockHeight: 1_500_000,
    owner: wallet.owner,
    random: (length: number) => randomBytes(length),
    sign: (message: Uint8Array) => wallet.sign(message),
  };
}

/** Where the second item of a bundle's content begins. */
export function assignmentEnd(content: Uint8Array): number {
  return 32 * 5 + asBuffer(content).readUInt32LE(32);
}

/** A copy of a row's bundle with one byte changed, counted from its end. */
export function flipped(bundle: Uint8Array, fromEnd: number): Uint8Array {
  const copy = Buffer.from(bundle);
  const at = copy.length - fromEnd;
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
