import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../../errors.js';
import { BatchWriter } from './batch-writer.js';
import { Database } from './database.js';
import { codeOf, describeCause } from './database-errors.js';
import type { FromWriter, ToWriter, WriterData } from './write-request.js';

/*
 * The thread of all writes: a flush blocks the thread it is asked on. It is the entry of a worker and is never
 * imported for its code. It does not close the database: only the thread that opened it may.
 */

const port = parentPort;
invariant(port !== null, 'the writer runs in a worker thread');

const answer = (message: FromWriter, memory: readonly ArrayBuffer[] = []): void =>
  port.postMessage(message, memory);
const { handle, folder, headsMax } = workerData as WriterData;

async function handleMessage(writer: BatchWriter, message: ToWriter): Promise<void> {
  if (message.type === 'stop') {
    await writer.close();
    port?.close();
    return;
  }
  try {
    const answers = await writer.write(message.requests);
    const memory = message.requests.flatMap((request) =>
      request.kind === 'disk-rows' && request.packed !== undefined
        ? [request.packed.bytes.buffer]
        : [],
    );
    answer({ type: 'written', answers, memory }, memory);
  } catch (error) {
    // Whatever failed, the batch may be stored: whoever asked closes and opens the database before trusting a read.
    answer({ type: 'failed', reason: describeCause(error), code: codeOf(error) });
  }
}

async function start(): Promise<void> {
  try {
    const writer = new BatchWriter(await Database.attach(handle, folder), headsMax);
    port?.on('message', (message: ToWriter) => void handleMessage(writer, message));
    answer({ type: 'ready' });
  } catch (error) {
    answer({ type: 'failed', reason: describeCause(error), code: codeOf(error) });
    port?.close();
  }
}

// Its failures are answers.
void start();
