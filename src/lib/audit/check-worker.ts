import { parentPort } from 'node:worker_threads';
import { invariant } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { checkEntry } from './check-entry.js';
import type { CheckedEntry } from './checked-entry.js';
import type { RawEntry } from './ports.js';
import { SignatureVerifier } from './verify-signature.js';

/** Entries to check; one job at a time is sent to a thread. */
export interface CheckJob {
  readonly processId: Id;
  readonly entries: readonly RawEntry[];
  readonly signatures: boolean;
}

export type CheckAnswer =
  { readonly checked: readonly CheckedEntry[] } | { readonly error: string };

// This file is the entry of a worker thread (`check-threads.ts` starts it) and is never imported for its code.
const port = parentPort;
invariant(port !== null, 'check-worker runs in a worker thread');

const verifier = new SignatureVerifier();

async function answer({ entries, signatures }: CheckJob): Promise<CheckAnswer> {
  try {
    const checked: CheckedEntry[] = [];
    for (const entry of entries) {
      checked.push(await checkEntry(entry, signatures ? verifier : undefined));
    }
    return { checked };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

port.on('message', (job: CheckJob) => {
  // Its failures are answers.
  void answer(job).then((result) => port.postMessage(result));
});
