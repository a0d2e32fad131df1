import { invariant } from '../../errors.js';
import type { CopyWatermark, LogPlace } from '../../migrator/ports.js';
import { readAssignment, type AssignmentFields } from '../../protocol/assignment.js';
import {
  parseMessageBundle,
  parseProcessBundle,
  type StoredBundle,
} from '../../protocol/bundle.js';
import { idToBytes, type Id } from '../../protocol/ids.js';
import { renderNode } from '../../protocol/wire.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import type { DiskAnswer, DiskProcess, DiskRequest, DiskRow, DiskStep } from './disk-request.js';
import { comparePlaces, decodeWatermark, encodeRowId, encodeWatermark } from './disk-rows.js';
import { settleWatermark } from './disk-settle.js';
import { forgetLog } from './disk-forget.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  entryKey,
  headKey,
  messageKey,
  processKey,
  spanKey,
  spawnKey,
  timeKey,
  watermarkKey,
} from './keys.js';
import { renderProcessTexts } from './pack-runs.js';
import {
  decodePlaces,
  encodeHead,
  encodeNode,
  encodePlaces,
  encodeProcessTexts,
  encodeSpawn,
  STORED_JSON_BYTES_MAX,
  type Placed,
} from './rows.js';

const NOTHING = new Uint8Array(0);

/**
 * What one batch changes in a disk copy. Bundles are taken apart and rendered here, in the writer thread, so that copying
 * takes nothing from the thread that answers.
 */
export class DiskDraft {
  readonly #database: Database;
  readonly #puts: BatchPuts;
  /** What the database does not show yet. */
  readonly #watermarks = new Map<Id, CopyWatermark | undefined>();
  readonly #places = new Map<Id, readonly Placed[]>();

  constructor(database: Database, puts: BatchPuts) {
    this.#database = database;
    this.#puts = puts;
  }

  draw(request: DiskRequest): DiskAnswer {
    switch (request.kind) {
      case 'disk-rows':
        return this.#drawRows(request);
      case 'disk-settle':
        this.#settle(request.processId, request.below);
        return { kind: 'disk-settle' };
      case 'disk-forget': {
        const done = forgetLog(this.#database, this.#puts, request.processId);
        this.#watermarks.set(request.processId, undefined);
        return { kind: 'disk-forget', done };
      }
    }
  }

  #drawRows(request: Extract<DiskRequest, { kind: 'disk-rows' }>): DiskAnswer {
    const { processes, rows, step, span } = request;
    for (const process of processes) this.#drawProcess(process);
    this.#readPlaces(rows);
    for (const row of rows) this.#drawRow(row);
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

  #drawRow(row: DiskRow): void {
    const { processId, epoch, nonce, rank, timestamp } = row;
    const place: Placed = { processId, epoch, nonce, suffix: rank, timestamp };
    const key = entryKey(place);
    const parsed = readBundle(row);
    // What cannot be read is left out, so that whoever reads it asks the database, which says what is wrong.
    this.#puts.put('nodes', key, encodeNode(place, parsed && renderJson(parsed)));
    if (parsed !== undefined) this.#puts.put('bundles', key, row.bundle);
    this.#puts.put('default', timeKey(place, timestamp), NOTHING);
    if (parsed === undefined || parsed.item !== undefined) this.#drawMessagePlace(row, place);
    const assignmentId = row.assignmentId ?? parsed?.assignment?.id;
    if (assignmentId === undefined) return;
    this.#puts.put('default', assignmentKey(assignmentId), encodePlaces([place]));
    const fields = parsed?.item === undefined ? fieldsOf(parsed) : undefined;
    if (fields === undefined) return;
    const digest = assignDigest({
      processId,
      transactionId: row.messageId,
      exclude: fields.exclude,
    });
    this.#puts.put('default', assignKey(digest, timestamp, nonce), idToBytes(assignmentId));
  }

  /** A message may stand in an old log more than once. */
  #drawMessagePlace({ messageId }: DiskRow, place: Placed): void {
    const others = (this.#places.get(messageId) ?? []).filter((other) => !isSame(other, place));
    const places = [...others, place].toSorted(
      (one, other) => comparePlaces(one, other) || one.suffix - other.suffix,
    );
    this.#places.set(messageId, places);
    this.#puts.put('default', messageKey(messageId), encodePlaces(places));
  }

  #readPlaces(rows: readonly DiskRow[]): void {
    const ids = [...new Set(rows.map(({ messageId }) => messageId))].filter(
      (id) => !this.#places.has(id),
    );
    const values = this.#database.readMany('default', ids.map(messageKey));
    ids.forEach((id, index) => {
      const value = values[index];
      if (value !== undefined) this.#places.set(id, decodePlaces(value));
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

function isAt(one: LogPlace, other: LogPlace): boolean {
  return comparePlaces(one, other) === 0;
}

function isSame(one: Placed, other: Placed): boolean {
  return isAt(one, other) && one.suffix === other.suffix && one.processId === other.processId;
}

/** Undefined for a bundle that cannot be read, or that belongs to another entry: the database does not show it either. */
function readBundle(row: DiskRow): StoredBundle | undefined {
  let bundle: StoredBundle;
  try {
    bundle = parseMessageBundle(row.bundle);
  } catch {
    // Whatever is wrong with it, it is for the database's reader to say.
    return undefined;
  }
  const isForeign =
    (row.assignmentId !== undefined && bundle.assignment?.id !== row.assignmentId) ||
    (bundle.form === 'inner-assignment' && bundle.item?.id !== row.messageId);
  return isForeign ? undefined : bundle;
}

/** Undefined where it would be large: it is rendered when it is read. */
function renderJson(parsed: StoredBundle): Uint8Array | undefined {
  if ((parsed.item?.data.length ?? 0) > STORED_JSON_BYTES_MAX) return undefined;
  const json = Buffer.from(renderNode(parsed, { showAnchor: false }), 'utf8');
  return json.length > STORED_JSON_BYTES_MAX ? undefined : json;
}

function fieldsOf(parsed: StoredBundle | undefined): AssignmentFields | undefined {
  try {
    return parsed?.assignment && readAssignment(parsed.assignment);
  } catch {
    // Assignments of the first months lack tags; retried assigns are looked up in the database in any case.
    return undefined;
  }
}
