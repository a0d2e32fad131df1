import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { openRocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { STRETCH_ENTRIES } from '../../../src/lib/storage/rocksdb/stretch.js';
import { newLog, runOf } from '../conformance/log-builder.js';

/*
 * A program that may write no large file: it appends entries up to the one that completes a stretch, then that one several times
 * with more data than the database can take, and at last with little. It prints a line of JSON for each entry, with the bytes
 * of all blob files behind it.
 *
 * Arguments: folder, bytes of data that are too many, how often they are tried.
 */

const [folder = '', dataBytes = '0', tries = '0'] = process.argv.slice(2);

const blobs = join(folder, 'db', 'blobs');
const blobBytes = (): number =>
  existsSync(blobs)
    ? readdirSync(blobs).reduce((sum, name) => sum + statSync(join(blobs, name)).size, 0)
    : 0;

const { store, close } = await openRocksdbStore({
  folder,
  leaseMs: 60_000,
  clock: () => Date.now(),
  monotonicMs: () => performance.now(),
  log: { info: () => {}, warn: () => {}, error: () => {} },
});

const { builder, run } = await newLog(STRETCH_ENTRIES - 1);
const append = async (next: typeof run): Promise<void> => {
  const [outcome] = await store.append([next]);
  for (const { processId, messageId, head } of next.entries) {
    const { nonce, assignmentId } = head;
    const line = { status: outcome?.status, processId, messageId, nonce, assignmentId };
    process.stdout.write(`${JSON.stringify({ ...line, blobBytes: blobBytes() })}\n`);
  }
};
await append(run);
const onto = builder.head;
for (let count = 0; count < Number(tries); count += 1) {
  builder.head = onto;
  await append(runOf(onto, await builder.message({ data: Buffer.alloc(Number(dataBytes), 'd') })));
}
builder.head = onto;
await append(runOf(onto, await builder.message()));
await close();
