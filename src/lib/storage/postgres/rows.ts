import { DamagedEntryError, SuError, invariant } from '../../errors.js';
import { readAssignment } from '../../protocol/assignment.js';
import {
  parseMessageBundle,
  parseProcessBundle,
  readSpawnPlace,
  type SpawnPlace,
  type StoredBundle,
} from '../../protocol/bundle.js';
import { parseDataItem, type DataItem } from '../../protocol/data-item.js';
import { parseId, type Id } from '../../protocol/ids.js';
import { findTag } from '../../protocol/tags.js';
import {
  renderNodeBytes,
  renderProcessNode,
  renderProcessRecord,
  type ProcessParts,
} from '../../protocol/wire.js';
import type { RenderRequest } from '../../protocol/render-thread.js';
import type { Head, LogEntry, LogProcess } from '../../scheduler/ports.js';

/** int8 as the driver gives it: text, because it may exceed what a number holds. */
export type Int8 = string;

/**
 * The first bytes of a bundle hold its wrapper's head and its first item, the assignment, whatever the size of
 * the message behind it: the rest need not be read, not even unpacked.
 */
export const BUNDLE_PREFIX_BYTES = 65_536;

/** The last entry of a process, and the process. */
export interface HeadRow {
  readonly process_id: string;
  readonly process_epoch: number | null;
  readonly process_nonce: number | null;
  readonly process_hash_chain: string | null;
  readonly process_timestamp: Int8 | null;
  /** True when the process itself is its last entry: there is no message with a higher place. */
  readonly process_is_head: boolean;
  readonly epoch: number | null;
  readonly nonce: number | null;
  readonly timestamp: Int8 | null;
  /** The latest among all its messages, null when it was not asked for. */
  readonly latest_timestamp: Int8 | null;
  readonly hash_chain: string | null;
  readonly assignment_id: string | null;
  /** The first BUNDLE_PREFIX_BYTES of the last entry's bundle, null when the columns say all that was asked. */
  readonly prefix: Buffer | null;
}

export interface MessageRow {
  readonly row_id: number;
  readonly process_id: string;
  readonly message_id: string;
  readonly assignment_id: string | null;
  readonly epoch: number;
  readonly nonce: number;
  readonly timestamp: Int8;
  readonly bundle: Buffer;
}

/** The columns of a MessageRow, in `messages m`. */
export const MESSAGE_COLUMNS =
  'm.row_id, m.process_id, m.message_id, m.assignment_id, m.epoch, m.nonce, m.timestamp, m.bundle';

export interface ProcessRow {
  readonly process_id: string;
  readonly bundle: Buffer;
  readonly epoch: number | null;
  readonly nonce: number | null;
  readonly timestamp: Int8 | null;
  /** What the oldest rows keep in `process_data` alone. */
  readonly data_timestamp: string | null;
  readonly data_block: string | null;
}

/**
 * An int8 as a number.
 * @throws SuError `invariant` beyond 2^53
 */
export function parseInt8(text: Int8): number {
  const value = Number(text);
  invariant(Number.isSafeInteger(value), `the stored number ${text} is beyond 2^53`);
  return value;
}

/** A head without the block height, which no column has. */
export type HeadPlace = Omit<Head, 'blockHeight' | 'timestamp'>;

/** Which place a process's chain has reached, for comparing. */
export function headPlaceOfRow(row: HeadRow): HeadPlace {
  if (row.process_is_head) {
    const { epoch, nonce, hashChain, assignmentId } = headOfProcess(row);
    return { epoch, nonce, hashChain, assignmentId };
  }
  return {
    epoch: required(row.epoch),
    nonce: required(row.nonce),
    hashChain: required(row.hash_chain),
    assignmentId: assignmentIdOf(row),
  };
}

/**
 * The head for the next assignment; the row must carry its bundle's first bytes.
 * @throws SuError `invariant` when they cannot be read
 */
export function headOfRow(row: HeadRow): Head {
  if (row.process_is_head) return headOfProcess(row);
  return {
    ...headPlaceOfRow(row),
    timestamp: latestTimestamp(row),
    blockHeight: blockHeightOf(row, assignmentOfPrefix(row, 'message')),
  };
}

/**
 * In old logs the last entry need not be the latest: a clock was set back. Readers who page by time have seen the latest,
 * so what comes next must lie behind it.
 */
function latestTimestamp(row: HeadRow): number {
  const stamps = [required(row.timestamp), row.latest_timestamp, row.process_timestamp];
  return Math.max(...stamps.filter((stamp) => stamp !== null).map(parseInt8));
}

function headOfProcess(row: HeadRow): Head {
  const assignment = assignmentOfPrefix(row, 'process');
  if (assignment === undefined) {
    const place = reading(row, () => readSpawnPlaceOfWrapper(wrapperOf(row)));
    return { epoch: 0, nonce: -1, ...place, hashChain: undefined, assignmentId: undefined };
  }
  // Rows from before these columns, or written without them, say the same in the assignment.
  const fields = reading(row, () => readAssignment(assignment));
  return {
    epoch: row.process_epoch ?? fields.epoch,
    nonce: row.process_nonce ?? fields.nonce,
    timestamp: row.process_timestamp === null ? fields.timestamp : parseInt8(row.process_timestamp),
    blockHeight: fields.blockHeight,
    hashChain: row.process_hash_chain ?? fields.hashChain,
    assignmentId: assignment.id,
  };
}

function assignmentIdOf(row: HeadRow): Id {
  if (row.assignment_id !== null) return storedId(row.assignment_id);
  const assignment = assignmentOfPrefix(row, 'message');
  invariant(
    assignment !== undefined,
    `the last message of process ${row.process_id} has no assignment`,
  );
  return assignment.id;
}

/** Assignments of the first months may lack the tag; then there is nothing to stay above. */
function blockHeightOf(row: HeadRow, assignment: DataItem | undefined): number {
  const text = assignment === undefined ? undefined : findTag(assignment.tags, 'Block-Height');
  const height = Number(text ?? 0);
  invariant(
    Number.isSafeInteger(height),
    `the last assignment of process ${row.process_id} has the height ${text}`,
  );
  return height;
}

/** The assignment of an entry, read from the first bytes of its bundle. Undefined for a process without one. */
function assignmentOfPrefix(row: HeadRow, table: 'message' | 'process'): DataItem | undefined {
  return reading(row, () => {
    const wrapper = wrapperOf(row);
    if (table === 'message' && findTag(wrapper.tags, 'Epoch') !== undefined) return wrapper;
    const content = Buffer.from(
      wrapper.data.buffer,
      wrapper.data.byteOffset,
      wrapper.data.byteLength,
    );
    const count = content.readUInt32LE(0);
    if (table === 'process' && count === 1) return undefined;
    const start = 32 * (1 + 2 * count);
    const end = start + content.readUInt32LE(32);
    invariant(end <= content.length, 'its assignment is longer than any can be');
    return parseDataItem(content.subarray(start, end), 'stored');
  });
}

function wrapperOf(row: HeadRow): DataItem {
  return parseDataItem(required(row.prefix), 'stored');
}

/** `timestamp` of a process that has no column for it: from its assignment or its wrapper. */
export function spawnTimestampOfPrefix(processId: string, prefix: Buffer): number {
  const row = { ...NO_ROW, process_id: processId, process_is_head: true, prefix };
  return headOfProcess(row).timestamp;
}

const NO_ROW: HeadRow = {
  process_id: '',
  process_epoch: null,
  process_nonce: null,
  process_hash_chain: null,
  process_timestamp: null,
  process_is_head: false,
  epoch: null,
  nonce: null,
  timestamp: null,
  latest_timestamp: null,
  hash_chain: null,
  assignment_id: null,
  prefix: null,
};

/**
 * A message as a page shows it, rendered from its bundle: `message_data` cannot hold U+0000 and is flat in old rows.
 * @throws DamagedEntryError naming the row when its bundle is damaged: a page must not leave it out
 */
export function entryOfRow(row: MessageRow, options: { readonly showAnchor: boolean }): LogEntry {
  const { process_id: processId, epoch, nonce } = row;
  return readableEntry({ processId, epoch, nonce }, () => {
    const node = renderNodeBytes(bundleOfRow(row), options);
    return { epoch, nonce, timestamp: parseInt8(row.timestamp), node };
  });
}

/** What a large text is made of, except for what its reader adds. */
export type LargeRequest = Pick<RenderRequest, 'text' | 'spawn' | 'load'>;

/**
 * The same, rendered elsewhere.
 * @throws DamagedEntryError as `entryOfRow`; what `render` throws
 */
export async function largeEntryOfRow(
  row: MessageRow,
  render: (request: LargeRequest) => Promise<Uint8Array>,
): Promise<LogEntry> {
  const { process_id: processId, epoch, nonce } = row;
  const timestamp = readableEntry({ processId, epoch, nonce }, () => {
    bundleOfRow(row);
    return parseInt8(row.timestamp);
  });
  const node = await render({ text: 'message-node', load: () => row.bundle });
  return { epoch, nonce, timestamp, node };
}

/** What stands in the log and cannot be read is reported as such, whatever the reason. */
function readableEntry<T>(place: Readonly<Record<string, unknown>>, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof SuError)) throw error;
    throw new DamagedEntryError(error.message, place, error);
  }
}

/** @throws SuError `invariant` naming the row when its bundle is damaged or belongs to another entry */
export function bundleOfRow(row: MessageRow): StoredBundle {
  const where = `row ${row.row_id} of messages (process ${row.process_id}, nonce ${row.nonce})`;
  const bundle = readable(where, () => parseMessageBundle(row.bundle));
  const foreign =
    (row.assignment_id !== null && bundle.assignment?.id !== row.assignment_id) ||
    (bundle.form === 'inner-assignment' && bundle.item?.id !== row.message_id);
  invariant(!foreign, `the bundle in ${where} belongs to another entry`);
  return bundle;
}

/**
 * A process as the reads need it.
 * @throws DamagedEntryError naming the process when its bundle is damaged
 */
export function processOfRow(
  row: ProcessRow,
  options: { readonly showAnchor: boolean },
): LogProcess {
  const { processId, place, parts, spawn } = readProcess(row);
  const record = Buffer.from(renderProcessRecord({ ...parts, ...spawn }));
  if (place === undefined) return { processId, entry: undefined, record };
  const node = Buffer.from(renderProcessNode(parts, options));
  return { processId, entry: { ...place, node }, record };
}

/**
 * The same, rendered elsewhere.
 * @throws DamagedEntryError as `processOfRow`; what `render` throws
 */
export async function largeProcessOfRow(
  row: ProcessRow,
  render: (request: LargeRequest) => Promise<Uint8Array>,
): Promise<LogProcess> {
  const { processId, place, spawn } = readProcess(row);
  const load = (): Buffer => row.bundle;
  const record = await render({ text: 'process-record', spawn, load });
  if (place === undefined) return { processId, entry: undefined, record };
  const node = await render({ text: 'process-node', load });
  return { processId, entry: { ...place, node }, record };
}

interface ReadProcess {
  readonly processId: Id;
  /** Undefined without an assignment. */
  readonly place: Omit<LogEntry, 'node'> | undefined;
  readonly parts: ProcessParts;
  readonly spawn: SpawnPlace;
}

function readProcess(row: ProcessRow): ReadProcess {
  const processId = storedId(row.process_id);
  const where = `the row of process ${row.process_id}`;
  return readableEntry({ processId }, () =>
    readable(where, () => {
      const bundle = parseProcessBundle(row.bundle);
      const { item, assignment } = bundle;
      invariant(item?.id === processId, `the bundle in ${where} belongs to another process`);
      const spawn = spawnPlaceOf(row, bundle);
      const parts = { item, assignment };
      if (assignment === undefined) return { processId, place: undefined, parts, spawn };
      const fields =
        row.epoch === null || row.nonce === null ? readAssignment(assignment) : undefined;
      const place = {
        epoch: row.epoch ?? required(fields).epoch,
        nonce: row.nonce ?? required(fields).nonce,
        timestamp: spawn.timestamp,
      };
      return { processId, place, parts, spawn };
    }),
  );
}

/** @throws SuError `invariant` naming the process when its bundle is damaged */
export function bundleOfProcess(row: Pick<ProcessRow, 'process_id' | 'bundle'>): StoredBundle {
  return readable(`the row of process ${row.process_id}`, () => parseProcessBundle(row.bundle));
}

/** An id that a column holds. */
export function storedId(text: string): Id {
  return readable('a column', () => parseId(text, 'a stored id'));
}

function spawnPlaceOf(row: ProcessRow, bundle: StoredBundle): SpawnPlace {
  if (row.data_timestamp !== null && row.data_block !== null) {
    return { blockHeight: Number(row.data_block), timestamp: parseInt8(row.data_timestamp) };
  }
  const place = readSpawnPlace(bundle);
  return row.timestamp === null ? place : { ...place, timestamp: parseInt8(row.timestamp) };
}

function readSpawnPlaceOfWrapper(wrapper: DataItem): { blockHeight: number; timestamp: number } {
  return readSpawnPlace({ form: 'process-alone', wrapper, assignment: undefined, item: undefined });
}

function reading<T>(row: HeadRow, read: () => T): T {
  return readable(`the last entry of process ${row.process_id}`, read);
}

/** Whatever cannot be read in a store is the store's damage, not the fault of whoever asks. */
function readable<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof SuError && error.code === 'invariant') throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new SuError('invariant', `${where} cannot be read: ${reason}`, { cause: error });
  }
}

function required<T>(value: T | null | undefined): T {
  invariant(value !== null && value !== undefined, 'a column that must have a value has none');
  return value;
}
