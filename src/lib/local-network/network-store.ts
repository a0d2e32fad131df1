import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SuError } from '../errors.js';
import { ownerAddress, parseDataItem } from '../protocol/data-item.js';
import type { DataItem } from '../protocol/data-item.js';
import { asBuffer, type Id } from '../protocol/ids.js';
import { verifyDataItem } from '../protocol/signature-types.js';
import { ITEM_PREFIX_BYTES, describeItem } from './described.js';
import type { Described } from './described.js';
import { ItemIndex } from './item-index.js';
import type { IndexEntry } from './item-index.js';
import { ItemLog } from './item-log.js';
import type { LogRecord, RecordKind } from './item-log.js';
import type { LocalChain } from './local-chain.js';
import { TRANSACTION_PREFIX_BYTES, acceptTransaction, describeTransaction } from './transaction.js';
import { isBundle, unpackBundle } from './unpack-bundle.js';

/** Bundles within bundles are opened this deep. */
const DEPTH_MAX = 3;
const FILE = 'items.log';

/** An item or transaction as the routes show it. */
export interface StoredItem extends Described {
  readonly entry: IndexEntry;
  readonly address: Id;
  readonly dataBytes: number;
}

/** What the local network keeps: every upload on disk, and the index over it in memory. */
export class NetworkStore {
  readonly #log: ItemLog;
  readonly #index = new ItemIndex();
  readonly #chain: LocalChain;
  /** Uploads on their way to the disk, so that two of one item become one record. */
  readonly #arriving = new Map<string, Promise<IndexEntry>>();

  private constructor(log: ItemLog, chain: LocalChain) {
    this.#log = log;
    this.#chain = chain;
  }

  /**
   * Opens the folder, which is made when it is not there, and builds the index from what it holds.
   *
   * @throws SuError `folder-refused` when the file is damaged
   */
  static async open(
    folder: string,
    chain: LocalChain,
  ): Promise<{ store: NetworkStore; removedBytes: number }> {
    await mkdir(folder, { recursive: true });
    const log = await ItemLog.open(join(folder, FILE));
    const store = new NetworkStore(log, chain);
    try {
      const prefixBytes = Math.max(ITEM_PREFIX_BYTES, TRANSACTION_PREFIX_BYTES);
      const removedBytes = await log.scan(prefixBytes, (record, prefix) =>
        store.#take(record, describe(record.kind, prefix)),
      );
      return { store, removedBytes };
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  get index(): ItemIndex {
    return this.#index;
  }

  /**
   * Takes an uploaded data item: parses and verifies it, and keeps it. One that is known already is not
   * verified again.
   *
   * @throws SuError `invalid-data-item`, `invalid-signature`, `scheduler-busy`, `store-unavailable`
   */
  async acceptItem(bytes: Uint8Array): Promise<{ entry: IndexEntry; item: DataItem }> {
    const item = parseDataItem(bytes, 'posted');
    const entry = await this.#once(item.id, async () => {
      if (!(await verifyDataItem(item))) {
        throw new SuError('invalid-signature', 'the data item is not signed by its owner');
      }
      return this.#append('item', bytes);
    });
    return { entry, item };
  }

  /**
   * Takes a transaction in its JSON form.
   *
   * @throws SuError `invalid-data-item`, `invalid-signature`, `store-unavailable`
   */
  async acceptTransaction(body: Uint8Array): Promise<IndexEntry> {
    const payload = await acceptTransaction(body);
    return this.#once(describeTransaction(payload).id, () => this.#append('transaction', payload));
  }

  /** An item without its data, undefined when it is not known. */
  async findItem(id: string): Promise<StoredItem | undefined> {
    const entry = this.#index.find(id);
    return entry === undefined ? undefined : this.readItem(entry);
  }

  async readItem(entry: IndexEntry): Promise<StoredItem> {
    const prefixBytes = entry.kind === 'item' ? ITEM_PREFIX_BYTES : TRANSACTION_PREFIX_BYTES;
    const prefix = await this.#log.read(entry.position, Math.min(prefixBytes, entry.length));
    const described = describe(entry.kind, prefix);
    const dataBytes = entry.length - described.dataOffset;
    return { ...described, entry, address: ownerAddress(described), dataBytes };
  }

  readData(item: StoredItem): Promise<Buffer> {
    return this.#log.read(item.entry.position + item.dataOffset, item.dataBytes);
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  #once(id: string, take: () => Promise<IndexEntry>): Promise<IndexEntry> {
    const known = this.#index.find(id);
    if (known !== undefined) return Promise.resolve(known);
    const arriving = this.#arriving.get(id);
    if (arriving !== undefined) return arriving;
    const taken = take().finally(() => this.#arriving.delete(id));
    this.#arriving.set(id, taken);
    return taken;
  }

  async #append(kind: RecordKind, payload: Uint8Array): Promise<IndexEntry> {
    const height = this.#chain.blockOfUploads();
    const record = await this.#log.append({ kind, height, payload });
    const described = describe(kind, asBuffer(payload));
    const taken = this.#take(record, described, payload);
    if (taken !== undefined) await taken;
    const entry = this.#index.find(described.id);
    if (entry === undefined) throw new SuError('invariant', 'an upload is not in the index');
    return entry;
  }

  /** Puts a record into the index, and what is inside it when it is a bundle. A promise only for a bundle. */
  #take(record: LogRecord, described: Described, payload?: Uint8Array): Promise<void> | undefined {
    const entry = this.#index.add(record, { ...described, address: ownerAddress(described) });
    if (!isBundle(described.tags)) return undefined;
    const { dataOffset } = described;
    const data =
      payload === undefined
        ? this.#log.read(record.position + dataOffset, record.length - dataOffset)
        : Promise.resolve(payload.subarray(dataOffset));
    return data.then((bytes) =>
      this.#takeInner(entry, { data: bytes, position: record.position + dataOffset, depth: 1 }),
    );
  }

  async #takeInner(
    parent: IndexEntry,
    bundle: { readonly data: Uint8Array; readonly position: number; readonly depth: number },
  ): Promise<void> {
    for (const { offset, bytes } of await unpackBundle(bundle.data)) {
      const position = bundle.position + offset;
      const described = describeItem(bytes, 'posted');
      const record: LogRecord = {
        kind: 'item',
        height: parent.height,
        position,
        length: bytes.length,
      };
      const item = { ...described, address: ownerAddress(described) };
      const entry = this.#index.add(record, item, parent.ordinal);
      if (isBundle(described.tags) && bundle.depth < DEPTH_MAX) {
        const { dataOffset } = described;
        const inner = { data: bytes.subarray(dataOffset), position: position + dataOffset };
        await this.#takeInner(entry, { ...inner, depth: bundle.depth + 1 });
      }
    }
  }
}

function describe(kind: RecordKind, prefix: Buffer): Described {
  return kind === 'item' ? describeItem(prefix, 'posted') : describeTransaction(prefix);
}
