import { setImmediate } from 'node:timers/promises';
import { DamagedEntryError, invariant, isSuError } from '../../errors.js';
import { parseMessageBundle, parseProcessBundle, readSpawnPlace } from '../../protocol/bundle.js';
import type { Id } from '../../protocol/ids.js';
import { LARGE_BUNDLE_BYTES, RenderThread, unwanted } from '../../protocol/render-thread.js';
import { renderNodeBytes } from '../../protocol/wire.js';
import type { LogEntry, ReadOptions } from '../../scheduler/ports.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import { entryKey, processKey, type Location } from './keys.js';
import { renderProcessTexts } from './pack-runs.js';
import { decodeProcessTexts, type ProcessTexts, type StoredNode } from './rows.js';

/** How an entry is to be shown, and whether it still is. */
export interface ShownOptions extends ReadOptions {
  readonly showAnchor: boolean;
}

/** Makes the JSON that is not stored: small ones here and now, large ones in a thread. */
export class EntryRenderer {
  readonly #engine: Engine;
  readonly #thread = new RenderThread();
  #lastRead: Promise<void> = Promise.resolve();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** @throws DamagedEntryError; SuError `scheduler-busy`, `store-unavailable` */
  async entry(
    database: Database,
    node: StoredNode & Location,
    options: ShownOptions,
  ): Promise<LogEntry> {
    const { epoch, nonce, timestamp, json } = node;
    const isStored = json !== undefined && !options.showAnchor;
    const shown = isStored ? json : await this.#node(database, node, options);
    return { epoch, nonce, timestamp, node: shown };
  }

  /** @throws SuError `invariant`, `invalid-data-item`, `scheduler-busy`, `store-unavailable` */
  async processTexts(
    database: Database,
    processId: Id,
    options: ShownOptions,
  ): Promise<ProcessTexts> {
    const { showAnchor, isWanted } = options;
    const key = processKey(processId);
    const stored = database.read('nodes', key);
    if (stored !== undefined && !showAnchor) return decodeProcessTexts(stored);
    const load = async (): Promise<Buffer> => {
      const found = await this.#readLarge(key, isWanted);
      invariant(found !== undefined, 'a process has no bundle', { processId });
      return found;
    };
    const bundle = await load();
    if (bundle.length <= LARGE_BUNDLE_BYTES) return renderProcessTexts(bundle, { showAnchor });
    const parsed = parseProcessBundle(bundle);
    const spawn = readSpawnPlace(parsed);
    const hasNode = parsed.assignment !== undefined;
    const record = await this.#thread.render({ text: 'process-record', spawn, isWanted, load });
    const node = hasNode
      ? await this.#thread.render({ text: 'process-node', showAnchor, isWanted, load })
      : undefined;
    return { record, node };
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  async #node(
    database: Database,
    location: StoredNode & Location,
    options: ShownOptions,
  ): Promise<Buffer> {
    const { processId, epoch, nonce, json, isInStretch } = location;
    const { showAnchor, isWanted } = options;
    const place = { processId, epoch, nonce };
    const key = entryKey(location);
    // With its JSON stored, here or in a stretch, the bundle is small.
    const isLarge = json === undefined && !isInStretch;
    let bundle = isLarge ? await this.#readLarge(key, isWanted) : database.read('bundles', key);
    if (bundle === undefined) {
      throw new DamagedEntryError('an entry of the log has no bundle', place);
    }
    try {
      if (bundle.length <= LARGE_BUNDLE_BYTES) {
        return renderNodeBytes(parseMessageBundle(bundle), { showAnchor });
      }
      const load = async (): Promise<Buffer> => {
        const found = bundle ?? (await this.#readLarge(key, isWanted));
        invariant(found !== undefined, 'a bundle was there and is gone', place);
        return found;
      };
      const rendered = this.#thread.render({ text: 'message-node', showAnchor, isWanted, load });
      // Taken already when its turn came at once; those that wait read it again rather than keep it.
      bundle = undefined;
      return await rendered;
    } catch (cause) {
      if (isSuError(cause, 'scheduler-busy', 'invalid-request', 'store-unavailable')) throw cause;
      throw new DamagedEntryError('the bundle of an entry cannot be read', place, cause);
    }
  }

  /**
   * Reads a bundle that may be large: one after the other, with a turn for everybody else in between, so that many readers
   * of large entries cost the others a few milliseconds now and then, and those that left nothing. By its key: an iterator
   * has to look into every file that may hold it, here and now, and took 2 ms where this takes 0.1.
   */
  async #readLarge(key: Buffer, isWanted: ReadOptions['isWanted']): Promise<Buffer | undefined> {
    const before = this.#lastRead;
    let finish = (): void => undefined;
    this.#lastRead = new Promise((resolve) => {
      finish = resolve;
    });
    await before;
    try {
      if (isWanted?.() === false) throw unwanted();
      const found = (await this.#engine.database()).read('bundles', key);
      await setImmediate();
      return found;
    } finally {
      finish();
    }
  }
}
