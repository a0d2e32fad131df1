import type { Database } from './database.js';
import type { Engine } from './engine.js';
import { afterProcess, NO_VALUE, stretchRange, UNUSED_KEY } from './keys.js';
import { stretchRefOf } from './stretch.js';

/*
 * Blob files that nothing names any more: of logs that were removed from a disk copy, or copied a second time.
 *
 * A file is removed when a look over all references finds none to it, which is taken after it was full and after what was being
 * written then has its references stored: blobs only go into the last file. A file of which anything is named stays as it is.
 */

const LOOK = { limit: 5000, highWaterMarkBytes: 1024 * 1024 };

/**
 * Removes the files, where anything was removed or replaced since the last time. Then it takes about two seconds a million entries, a
 * few milliseconds at a time.
 *
 * @returns the bytes of the files; those that the writer thread has open are free when it closes them
 * @throws SuError `store-unavailable`
 */
export async function removeUnusedBlobs(engine: Engine): Promise<number> {
  const database = await engine.database();
  if (database.read('default', UNUSED_KEY) === undefined) return 0;
  const unused = new Set(database.fullBlobFiles());
  const flush = async (): Promise<unknown> =>
    engine.write({ kind: 'put-rows', puts: [[UNUSED_KEY, NO_VALUE]], removals: [] });
  // Batches that are under way may name what is full already.
  await flush();
  const markUsed = (file: number | undefined): void => {
    if (file !== undefined) unused.delete(file);
  };
  await eachRow(engine, { column: 'bundles' }, (opened, value) => {
    markUsed(opened.blobOf(value)?.file);
  });
  await eachStretch(engine, (value) => markUsed(stretchRefOf(value)?.file));
  // A machine that stops must not bring a reference back whose file is gone.
  await flush();
  const bytes = (await engine.database()).removeBlobFiles([...unused]);
  await engine.write({ kind: 'put-rows', puts: [], removals: [UNUSED_KEY] });
  return bytes;
}

type Bounds = Readonly<Partial<Record<'gt' | 'gte' | 'lt', Buffer>>>;

/** Calls back for every value of a range, as it is stored. */
async function eachRow(
  engine: Engine,
  { column, ...bounds }: Bounds & { readonly column: 'bundles' | 'nodes' },
  onValue: (database: Database, value: Buffer) => void,
): Promise<void> {
  for (let from: Bounds = bounds; ;) {
    const database = await engine.database();
    const rows = await database.readStored(column, { ...from, ...LOOK });
    for (const [, value] of rows) onValue(database, value);
    const last = rows.at(-1);
    if (last === undefined) return;
    from = { gt: last[0], ...(bounds.lt && { lt: bounds.lt }) };
  }
}

/** Calls back for every stretch, log by log, without reading what lies between. */
async function eachStretch(engine: Engine, onValue: (value: Buffer) => void): Promise<void> {
  for (let from: Bounds = {}; ;) {
    const database = await engine.database();
    const [next] = database.readFew('nodes', { ...from, limit: 1, values: false });
    if (next === undefined) return;
    const stretches = { column: 'nodes', ...stretchRange(next[0]) } as const;
    await eachRow(engine, stretches, (_, value) => onValue(value));
    from = { gte: afterProcess(next[0]) };
  }
}
