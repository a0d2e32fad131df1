import { openRocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { newLog, runOf } from '../conformance/log-builder.js';

/*
 * A program that appends until it is killed, or until a write fails, for the tests that do so to it. It prints a line
 * of JSON for each appended entry after its ack, each outcome that is not `appended`, and each event of the store's log.
 *
 * Arguments: folder, bytes of data in each message, appends to make after the first failure (0: it is to be killed).
 */

const [folder = '', dataBytes = '100', appendsAfterFailure = '0'] = process.argv.slice(2);

const print = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const note = (fields: object): void => print({ log: 'event' in fields ? fields.event : undefined });

const { store, outbox, close } = await openRocksdbStore({
  folder,
  leaseMs: 60_000,
  clock: () => Date.now(),
  monotonicMs: () => performance.now(),
  log: { info: note, warn: note, error: note },
});

const logs = await Promise.all(Array.from({ length: 6 }, () => newLog(1)));
const data = Buffer.alloc(Number(dataBytes), 'd');
let runs = logs.map(({ run }) => run);
let left = Number.POSITIVE_INFINITY;
while (left > 0) {
  left -= 1;
  const outcomes = await store.append(runs);
  for (const [index, outcome] of outcomes.entries()) {
    for (const { processId, messageId, head } of runs[index]?.entries ?? []) {
      const { nonce, assignmentId } = head;
      print({ status: outcome.status, processId, messageId, nonce, assignmentId });
    }
  }
  if (outcomes.some(({ status }) => status !== 'appended')) {
    // As a lane does: what is stored decides where the log goes on.
    const heads = await store.readHeads(logs.map(({ builder }) => builder.processId));
    for (const [index, { builder }] of logs.entries()) builder.head = heads[index];
    left = Math.min(left, Number(appendsAfterFailure));
  }
  runs = [];
  for (const { builder } of logs) {
    const onto = builder.head;
    runs.push(runOf(onto, await builder.message({ data }), await builder.message()));
  }
}
print({ counts: await outbox.counts() });
await close();
