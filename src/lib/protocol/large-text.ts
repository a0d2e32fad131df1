import { isUtf8 } from 'node:buffer';
import { invariant } from '../errors.js';
import { parseMessageBundle, parseProcessBundle, type SpawnPlace } from './bundle.js';
import { parseDataItem, type DataItem } from './data-item.js';
import { asBuffer } from './ids.js';
import {
  renderNode,
  renderProcessData,
  renderProcessNode,
  renderProcessRecord,
  toJsonb,
} from './wire.js';

/** Which of the texts of `wire.ts` is made of a bundle. */
export interface LargeText {
  readonly text: 'message-node' | 'process-node' | 'process-record' | 'process-data';
  readonly bundle: Uint8Array;
  /** An assignment's anchor that is not UTF-8 is base64url instead of null; left out: null. */
  readonly showAnchor?: boolean | undefined;
  /** When the process was spawned: for its record and for what a column holds of it. */
  readonly spawn?: SpawnPlace | undefined;
  /** For a column of type jsonb. */
  readonly forJsonb?: boolean | undefined;
}

/** What the data stands behind in every one of the texts; no string can hold it, since its quotes would be escaped. */
const EMPTY_DATA = '"data":""';
const CHUNK_BYTES = 65_536;
/** JSON of a control character, of one byte, has six. */
const GROWTH_MAX = 6;

/**
 * The same text as `wire.ts` makes, as UTF-8. The data is escaped piece by piece, straight into the bytes: strings of
 * the whole would take several times the memory.
 *
 * @throws SuError `invalid-data-item`
 */
export function renderLargeText(job: LargeText): Buffer {
  const isMessage = job.text === 'message-node';
  const parts = isMessage ? parseMessageBundle(job.bundle) : parseProcessBundle(job.bundle);
  const { item, assignment } = parts;
  const showsData =
    item !== undefined && (isMessage || (assignment !== undefined && isUtf8(item.data)));
  const frame = renderFrame(job, { ...parts, item: showsData ? withoutData(item) : item });
  const text = job.forJsonb === true ? toJsonb(frame) : frame;
  if (!showsData) return Buffer.from(text, 'utf8');
  const cut = text.indexOf(EMPTY_DATA) + EMPTY_DATA.length - 1;
  invariant(cut >= EMPTY_DATA.length - 1, 'a rendered item has its data');
  const head = Buffer.from(text.slice(0, cut), 'utf8');
  const tail = Buffer.from(text.slice(cut), 'utf8');
  // Pages of it that are not written are no memory, so the most it may grow to costs nothing.
  const out = Buffer.allocUnsafeSlow(head.length + GROWTH_MAX * item.data.length + tail.length);
  out.set(head, 0);
  const end = writeEscaped(out, head.length, { data: item.data, forJsonb: job.forJsonb === true });
  out.set(tail, end);
  return out.subarray(0, end + tail.length);
}

/** The same item, id, tags and all, but for its data. */
function withoutData({ bytes, data }: DataItem): DataItem {
  return parseDataItem(bytes.subarray(0, bytes.length - data.length), 'stored');
}

function renderFrame(
  { text, showAnchor = false, spawn }: LargeText,
  parts: ReturnType<typeof parseMessageBundle>,
): string {
  if (text === 'message-node') return renderNode(parts, { showAnchor });
  const { item, assignment } = parts;
  invariant(item !== undefined, 'the bundle of a process holds the process');
  if (text === 'process-node') return renderProcessNode({ item, assignment }, { showAnchor });
  invariant(spawn !== undefined, 'it is known when the process was spawned');
  const record: { item: DataItem; assignment: DataItem | undefined } & SpawnPlace = {
    item,
    assignment,
    ...spawn,
  };
  return text === 'process-record' ? renderProcessRecord(record) : renderProcessData(record);
}

/** @returns where what was written ends */
function writeEscaped(
  out: Buffer,
  start: number,
  { data, forJsonb }: { readonly data: Uint8Array; readonly forJsonb: boolean },
): number {
  const bytes = asBuffer(data);
  let offset = start;
  for (let from = 0; from < bytes.length;) {
    const to = sequenceBoundary(bytes, Math.min(from + CHUNK_BYTES, bytes.length));
    const text = bytes.toString('utf8', from, to);
    const escaped = JSON.stringify(forJsonb ? text.replaceAll('\0', '\uFFFD') : text);
    offset += out.write(escaped.slice(1, -1), offset, 'utf8');
    from = to;
  }
  return offset;
}

/**
 * The last place up to `end` where bytes may be cut so that both halves, decoded on their own, read as the whole does,
 * broken sequences included: before a byte that begins a sequence, or behind more continuations than any sequence has.
 */
function sequenceBoundary(bytes: Buffer, end: number): number {
  if (end === bytes.length) return end;
  for (let cut = end; cut > end - 4; cut -= 1) {
    if (!isContinuation(bytes[cut])) return cut;
  }
  return end;
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
