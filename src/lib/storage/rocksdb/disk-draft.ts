import { invariant } from '../../errors.js';
import type { CopyWatermark, LogPlace } from '../../migrator/ports.js';
import { readAssignment } from '../../protocol/assignment.js';
import { parseProcessBundle } from '../../protocol/bundle.js';
import { asBuffer, idFromBytes, type Id } from '../../protocol/ids.js';
import type { BatchPuts } from './batch-puts.js';
import { encodeBlobRef } from './blob-files.js';
import type { BlobWriter } from './blob-writer.js';
import type { Database } from './database.js';
import { forgetLog } from './disk-forget.js';
import { readPacked } from './disk-pack.js';
import type {
  DiskAnswer,
  DiskProcess,
  DiskRequest,
  DiskRow,
  DiskStep,
  PackedPuts,
} from './disk-request.js';
import { drawDiskRow, joinPlaces } from './disk-row-puts.js';
import { comparePlaces, decodeWatermark, encodeRowId, encodeWatermark } from './disk-rows.js';
import { settleWatermark } from './disk-settle.js';
import {
  headKey,
  messageKey,
  NO_VALUE,
  processKey,
  readId,
  spanKey,
  spawnKey,
  UNUSED_KEY,
  watermarkKey,
  type ColumnName,
} from './keys.js';
import type { NodeDraft } from './node-draft.js';
import { renderProcessTexts } from './pack-runs.js';
import {
  decodeNode,
  decodePlaces,
  encodeHead,
  encodePlaces,
  encodeProcessTexts,
  encodeSpawn,
  STORED_JSON_BYTES_MAX,
  type Placed,
} from './rows.js';

/** Bundles of one batch that are blobs when they have so many bytes together. */
const BLOBS_BYTES_MIN = 256 * 1024;

interface Bundle {
  readonly key: Uint8Array;
  readonly bundle: Uint8Array;
}

/**
 * What one batch changes in a disk copy. Bundles are taken apart and rendered here, in the writer thread, so that copying
 * takes nothing from the thread that answers; a migration, where nobody waits for answers, brings them packed.
 */
export class DiskDraft {
  readonly #database: Database;
  readonly #puts: BatchPuts;
  readonly #nodes: NodeDraft;
  readonly #blobs: BlobWriter;
  /** What the database does not show yet. */
  readonly #watermarks = new Map<Id, CopyWatermark | undefined>();
  readonly #places = new Map<Id, Uint8Array>();
  /** Of the rows that are being drawn. */
  readonly #bundles: Bundle[] = [];

  constructor(
    database: Database,
    draft: { readonly puts: BatchPuts; readonly nodes: NodeDraft; readonly blobs: BlobWriter },
  ) {
    this.#database = database;
    this.#puts = draft.puts;
    this.#nodes = draft.nodes;
    this.#blobs = draft.blobs;
  }

  draw(request: DiskRequest): DiskAnswer {
    switch (request.kind) {
      case 'disk-rows':
        return this.#drawRows(request);
      case 'disk-settle':
        this.#settle(request.processId, request.below);
        return { kind: 'disk-settle' };
      case 'disk-restart':
        for (const key of request.removals) this.#puts.remove('default', key);
        this.#puts.put('default', UNUSED_KEY, NO_VALUE);
        this.#blobs.beginFile();
        return { kind: 'disk-restart' };
      case 'disk-forget': {
        this.#nodes.forget(request.processId);
        const done = forgetLog(this.#database, this.#puts, request.processId);
        this.#puts.put('default', UNUSED_KEY, NO_VALUE);
        this.#watermarks.set(request.processId, undefined);
        return { kind: 'disk-forget', done };
      }
    }
  }

  #drawRows(request: Extract<DiskRequest, { kind: 'disk-rows' }>): DiskAnswer {
    const { processes, rows, packed, step, span } = request;
    for (const process of processes) this.#drawProcess(process);
    this.#readPlaces(rows.map(({ messageId }) => messageId));
    for (const row of rows) this.#drawRow(row);
    if (packed !== undefined) this.#drawPacked(packed);
    this.#putBundles();
    if (span !== undefined) {
      this.#puts.put('default', spanKey(span.after), encodeRowId(span.through));
    }
    return { kind: 'disk-rows', moved: step !== undefined && this.#move(step, rows) };
  }

  #drawProcess({ processId, bundle }: DiskProcess): void {
    const { assignment } = parseProcessBundle(bundle);
    const place = assignment && readAssignment(assignment);
    const texts = renderProcessTexts(bundle, { showAnchor: false });
    const spawn = encodeSpawn({
      ...texts.spawn,
      hasAssignment: place !== undefined,
      epoch: place?.epoch ?? 0,
      nonce: place?.nonce ?? 0,
    });
    this.#puts.put('default', spawnKey(processId), spawn);
    this.#puts.put('bundles', processKey(processId), bundle);
    const json = encodeProcessTexts(texts);
    if (json.length <= 2 * STORED_JSON_BYTES_MAX) {
      this.#puts.put('nodes', processKey(processId), json);
    }
  }

  /** The places of messages are joined with those that are stored, which are looked up together. */
  #drawPacked(packed: PackedPuts): void {
    const places: (readonly [id: Id, key: Uint8Array, value: Uint8Array])[] = [];
    readPacked(packed, {
      put: (column, key, value) => {
        if (column === 'nodes') this.#putNode(key, value);
        else this.#put(column, key, value);
      },
      putMessagePlaces: (key, value) => {
        places.push([idFromBytes(key.subarray(1)), key, value]);
      },
    });
    this.#readPlaces(places.map(([id]) => id));
    for (const [id, key, value] of places) {
      const known = this.#places.get(id);
      const joined =
        known === undefined
          ? value
          : encodePlaces(joinPlaces(readPlaces(known), readPlaces(value)));
      this.#places.set(id, joined);
      this.#puts.put('default', key, joined);
    }
  }

  /**
   * Many as blobs: what is copied at one go is gigabytes, and RocksDB would write each of them several times. A few as they are: they
   * are not worth a flush of their own.
   */
  #putBundles(): void {
    const bundles = this.#bundles.splice(0);
    const bytes = bundles.reduce((sum, { bundle }) => sum + bundle.length, 0);
    if (bytes < BLOBS_BYTES_MIN) {
      for (const { key, bundle } of bundles) this.#puts.put('bundles', key, bundle);
      return;
    }
    const refs = this.#blobs.beginAppend(bundles.map(({ bundle }) => bundle));
    for (const [index, { key }] of bundles.entries()) {
      const ref = refs[index];
      invariant(ref !== undefined, 'each blob has a reference');
      this.#puts.put('bundles', key, encodeBlobRef(ref));
    }
  }

  #putNode(key: Uint8Array, value: Uint8Array): void {
    const { json, ...place } = decodeNode(asBuffer(value));
    this.#nodes.put({ ...place, processId: readId(asBuffer(key), 0) }, json, { isAtHead: false });
  }

  /** Bundles are put together, by `#putBundles`. */
  #put(column: ColumnName, key: Uint8Array, value: Uint8Array): void {
    if (column === 'bundles') this.#bundles.push({ key, bundle: value });
    else this.#puts.put(column, key, value);
  }

  #drawRow(row: DiskRow): void {
    drawDiskRow(row, {
      put: (column, key, value) => this.#put(column, key, value),
      putNode: (_key, place, json) => {
        this.#nodes.put(place, json, { isAtHead: false });
      },
      putMessagePlace: (messageId, place) => {
        const known = this.#places.get(messageId);
        const places = encodePlaces(joinPlaces(known ? readPlaces(known) : [], [place]));
        this.#places.set(messageId, places);
        this.#puts.put('default', messageKey(messageId), places);
      },
    });
  }

  #readPlaces(messageIds: readonly Id[]): void {
    const ids = [...new Set(messageIds)].filter((id) => !this.#places.has(id));
    const values = this.#database.readMany('default', ids.map(messageKey));
    ids.forEach((id, index) => {
      const value = values[index];
      if (value !== undefined) this.#places.set(id, value);
    });
  }

  #move({ processId, from, to }: DiskStep, rows: readonly DiskRow[]): boolean {
    const stored = this.#watermark(processId);
    const stands =
      stored === undefined || from === undefined ? stored === from : isAt(stored, from);
    if (!stands) return false;
    const inOrder = rows.toSorted(
      (one, other) => comparePlaces(one, other) || one.rank - other.rank,
    );
    let timestamp = stored?.timestamp ?? 0;
    let isOrdered = stored?.isOrdered ?? true;
    for (const row of inOrder) {
      isOrdered &&= row.timestamp > timestamp;
      timestamp = Math.max(timestamp, row.timestamp);
    }
    const last = inOrder.at(-1);
    invariant(last === undefined || isAt(last, to), 'a copied piece ends where it says');
    const hashChain = last?.hashChain ?? stored?.hashChain ?? '';
    this.#putWatermark(processId, { ...to, timestamp, hashChain, isOrdered }, last);
    return true;
  }

  #settle(processId: Id, below: LogPlace | undefined): void {
    const stored = this.#watermark(processId);
    const settled = settleWatermark(this.#database, { processId, below, stored });
    if (settled === undefined) return;
    const { last, assignment } = settled;
    const row = last && { ...last, assignmentId: assignment?.id };
    this.#putWatermark(processId, settled.watermark, row);
  }

  /** With it goes the head, by which readers of the layout know that the log is there. */
  #putWatermark(
    processId: Id,
    mark: CopyWatermark,
    last: { readonly assignmentId: Id | undefined } | undefined,
  ): void {
    this.#watermarks.set(processId, mark);
    this.#puts.put('default', watermarkKey(processId), encodeWatermark(mark));
    const head = { ...mark, blockHeight: 0, assignmentId: last?.assignmentId };
    this.#puts.put('default', headKey(processId), encodeHead(head));
  }

  #watermark(processId: Id): CopyWatermark | undefined {
    if (this.#watermarks.has(processId)) return this.#watermarks.get(processId);
    const value = this.#database.read('default', watermarkKey(processId));
    return value && decodeWatermark(value);
  }
}

function readPlaces(value: Uint8Array): readonly Placed[] {
  return decodePlaces(asBuffer(value));
}

function isAt(one: LogPlace, other: LogPlace): boolean {
  return comparePlaces(one, other) === 0;
}
