import { invariant, SuError } from '../../errors.js';
import type {
  CopiedProcess,
  CopyWatermark,
  DiskCopy,
  LogPiece,
  LogPlace,
  PreparedRows,
  RowSpan,
  StoredMessage,
} from '../../migrator/ports.js';
import type { Id } from '../../protocol/ids.js';
import type { LogReader } from '../../scheduler/ports.js';
import { compareStoredRow } from './disk-compare.js';
import { PackedRows } from './disk-pack.js';
import type { DiskProcess, DiskRow, DiskStep } from './disk-request.js';
import { comparePlaces, decodeWatermark } from './disk-rows.js';
import { Engine, type StoreLog } from './engine.js';
import {
  assignmentKey,
  entryFloor,
  entryKey,
  entryRange,
  letterRange,
  messageKey,
  readLong,
  rowOfSpanKey,
  watermarkKey,
} from './keys.js';
import { RocksdbLogReader } from './log-reader.js';
import { decodeNode, decodePlaces } from './rows.js';
import { withStretched } from './stretch.js';
import { removeUnusedBlobs } from './unused-blobs.js';

/** Beside the spans in `default`: a key of the same letter that no row id makes. */
const IDENTITY_KEY = Buffer.from('kidentity', 'latin1');
const KEYS_A_LOOK = 10_000;
const SETTLED_AT_ONCE = 100;
const SPANS_MAX = 100_000;
const PACK_BYTES_MIN = 1024 * 1024;

/** A folder that holds a copy of a database's logs. */
export interface OpenDiskCopy {
  readonly copy: DiskCopy;
  /** Answers from the copy, which may be behind. */
  readonly reader: LogReader;
  /** The process in whose log the copy has an entry, undefined when it has none that counts. */
  findOwner(id: Id, processId: Id | undefined): Promise<Id | undefined>;
  /** Another one than before when entries of some log have begun to be removed since; undefined while those of this one are. */
  generation(processId: Id): number | undefined;
  close(): Promise<void>;
}

/**
 * Opens the copy in a data folder, which is made when it is missing.
 *
 * @throws SuError `folder-refused` (with a `cause` when the disk is the trouble), `folder-in-use`
 */
export async function openDiskCopy(options: {
  readonly folder: string;
  readonly log: StoreLog;
}): Promise<OpenDiskCopy> {
  const engine = await Engine.open({ ...options, use: 'copy', headsMax: 1 });
  const reader = new RocksdbLogReader(engine);
  const copy = new RocksdbDiskCopy(engine);
  return {
    copy,
    reader,
    generation: (processId) => copy.generation(processId),
    findOwner: (id, processId) => findOwner(engine, id, processId),
    close: async () => {
      await reader.close();
      await engine.close();
    },
  };
}

/** Writing and looking after the copy; `DiskCopy` has the promises. */
class RocksdbDiskCopy implements DiskCopy {
  readonly #engine: Engine;
  /** The next batch of rows will take about as much as the last one. */
  #packBytes = PACK_BYTES_MIN;
  #generation = 0;
  /** Logs whose entries are being removed, and by how many. */
  readonly #forgetting = new Map<Id, number>();

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async findWatermark(processId: Id): Promise<CopyWatermark | undefined> {
    return findWatermark(this.#engine, processId);
  }

  async writePiece({ processId, process, messages, from, to }: LogPiece): Promise<boolean> {
    const step = { processId, from, to };
    return this.#write(process === undefined ? [] : [process], messages, step);
  }

  prepareRows(): PreparedRows {
    return new PackedRows(this.#engine.memory(this.#packBytes));
  }

  async writeRows(prepared: PreparedRows, span: RowSpan): Promise<void> {
    invariant(prepared instanceof PackedRows, 'rows are written as they were prepared here');
    const packed = prepared.finish();
    this.#packBytes = Math.max(PACK_BYTES_MIN, Math.ceil(1.1 * packed.bytes.length));
    await this.#engine.write(
      { kind: 'disk-rows', processes: [], rows: [], packed, step: undefined, span },
      packed.bytes.buffer,
    );
  }

  async writeProcesses(processes: readonly CopiedProcess[]): Promise<void> {
    await this.#write(processes, [], undefined);
  }

  async settle(logs: readonly { processId: Id; below: LogPlace | undefined }[]): Promise<void> {
    for (let begin = 0; begin < logs.length; begin += SETTLED_AT_ONCE) {
      const group = logs.slice(begin, begin + SETTLED_AT_ONCE);
      await Promise.all(group.map((log) => this.#engine.write({ kind: 'disk-settle', ...log })));
    }
  }

  /** Whoever reads the log meanwhile learns of it before anything is removed. */
  async forget(processId: Id): Promise<void> {
    this.#generation += 1;
    this.#forgetting.set(processId, (this.#forgetting.get(processId) ?? 0) + 1);
    try {
      for (let done = false; !done;) {
        const answer = await this.#engine.write({ kind: 'disk-forget', processId });
        if (answer.kind !== 'disk-forget') throw unexpected();
        ({ done } = answer);
      }
    } finally {
      // The first batch took the watermark: from here on its absence tells.
      const others = (this.#forgetting.get(processId) ?? 1) - 1;
      if (others === 0) this.#forgetting.delete(processId);
      else this.#forgetting.set(processId, others);
    }
  }

  generation(processId: Id): number | undefined {
    return this.#forgetting.has(processId) ? undefined : this.#generation;
  }

  async countMessages(processId: Id, through: LogPlace): Promise<number> {
    const lt = entryFloor(processId, through.epoch, through.nonce + 1);
    let count = 0;
    for (let from: { gt: Buffer } | { gte: Buffer } = { gte: entryRange(processId).gte }; ;) {
      const database = await this.#engine.database();
      const range = { ...from, lt, values: false, limit: KEYS_A_LOOK };
      const rows = await database.readRange('nodes', range);
      count += rows.length;
      const last = rows.at(-1);
      if (last === undefined || rows.length < KEYS_A_LOOK) return count;
      from = { gt: last[0] };
    }
  }

  async compareRows(rows: readonly StoredMessage[]): Promise<readonly string[]> {
    const database = await this.#engine.database();
    const keys = rows.map((row) => entryKey({ ...row, suffix: row.rank }));
    const values = database.readMany('nodes', keys);
    const nodes = withStretched(
      database,
      rows.map(({ processId }, index) => {
        const value = values[index];
        return value && { ...decodeNode(value), processId };
      }),
    );
    const bundles = database.readReadable(keys);
    return rows.flatMap((row, index) => {
      const fault = compareStoredRow(row, { node: nodes[index], bundle: bundles[index] });
      return fault === undefined ? [] : [fault];
    });
  }

  async readSpans(): Promise<readonly RowSpan[]> {
    const database = await this.#engine.database();
    const rows = await database.readRange('default', { ...letterRange('k'), limit: SPANS_MAX });
    const spans: RowSpan[] = [];
    for (const [key, value] of rows) {
      if (key.equals(IDENTITY_KEY)) continue;
      const span = { after: rowOfSpanKey(key), through: readLong(value, 0) };
      const last = spans.at(-1);
      if (last !== undefined && span.after <= last.through) {
        spans[spans.length - 1] = { ...last, through: Math.max(last.through, span.through) };
      } else {
        spans.push(span);
      }
    }
    return spans;
  }

  async clearSpans(): Promise<void> {
    const database = await this.#engine.database();
    const range = { ...letterRange('k'), values: false, limit: SPANS_MAX };
    const rows = await database.readRange('default', range);
    const removals = rows.map(([key]) => key).filter((key) => !key.equals(IDENTITY_KEY));
    await this.#engine.write({ kind: 'disk-restart', removals });
  }

  removeUnused(): Promise<number> {
    return removeUnusedBlobs(this.#engine);
  }

  async readIdentity(): Promise<string | undefined> {
    const database = await this.#engine.database();
    return database.read('default', IDENTITY_KEY)?.toString('utf8');
  }

  async writeIdentity(identity: string): Promise<void> {
    const puts = [[IDENTITY_KEY, Buffer.from(identity, 'utf8')]] as const;
    await this.#engine.write({ kind: 'put-rows', puts, removals: [] });
  }

  async #write(
    processes: readonly CopiedProcess[],
    messages: readonly StoredMessage[],
    step: DiskStep | undefined,
  ): Promise<boolean> {
    // What is not told by a bundle alone is left to the database.
    const plain = processes.filter(({ isPlain }) => isPlain);
    const { pack, payload } = makePayload([...plain, ...messages]);
    const answer = await this.#engine.write(
      {
        kind: 'disk-rows',
        processes: plain.map(({ processId, bundle }): DiskProcess => ({
          processId,
          bundle: pack(bundle),
        })),
        rows: messages.map(({ json: _json, bundle, ...row }): DiskRow => ({
          ...row,
          bundle: pack(bundle),
        })),
        packed: undefined,
        step,
        span: undefined,
      },
      payload,
    );
    if (answer.kind !== 'disk-rows') throw unexpected();
    return answer.moved;
  }
}

/**
 * The process whose log holds the entry, when the copy has its lowest place for sure. Behind the watermark another one of
 * the same message may be missing.
 */
async function findOwner(
  engine: Engine,
  id: Id,
  processId: Id | undefined,
): Promise<Id | undefined> {
  const database = await engine.database();
  const values = database.readMany('default', [messageKey(id), assignmentKey(id)]);
  for (const value of values) {
    const places = value === undefined ? [] : decodePlaces(value);
    const place = places.find((at) => processId === undefined || at.processId === processId);
    if (place === undefined) continue;
    const watermark = await findWatermark(engine, place.processId);
    const isCovered = watermark !== undefined && comparePlaces(place, watermark) <= 0;
    return isCovered ? place.processId : undefined;
  }
  return undefined;
}

async function findWatermark(engine: Engine, processId: Id): Promise<CopyWatermark | undefined> {
  const database = await engine.database();
  const value = database.read('default', watermarkKey(processId));
  return value && decodeWatermark(value);
}

/** All bundles in one buffer, which is handed to the writer thread. */
function makePayload(rows: readonly { readonly bundle: Uint8Array }[]): {
  readonly pack: (part: Uint8Array) => Uint8Array;
  readonly payload: ArrayBuffer;
} {
  const buffer = Buffer.allocUnsafeSlow(rows.reduce((sum, { bundle }) => sum + bundle.length, 0));
  let offset = 0;
  return {
    pack: (part) => {
      buffer.set(part, offset);
      offset += part.length;
      return buffer.subarray(offset - part.length, offset);
    },
    payload: buffer.buffer,
  };
}

function unexpected(): SuError {
  return new SuError('invariant', 'the writer answered something else than it was asked');
}
