import { parentPort } from 'node:worker_threads';
import { invariant, type ErrorCode } from '../errors.js';
import { renderLargeText, type LargeText } from './large-text.js';

/** What a thread answers to a `LargeText`. */
export type RenderAnswer =
  { readonly text: Uint8Array } | { readonly code: ErrorCode; readonly message: string };

// This file is the entry of a worker thread (`render-thread.ts` starts it) and is never imported for its code.
const port = parentPort;
invariant(port !== null, 'render-worker runs in a worker thread');

port.on('message', (job: LargeText) => {
  try {
    const text = renderLargeText(job);
    // A small one lies in Buffer's pool, which cannot be handed over.
    const transfer = text.length > Buffer.poolSize ? [text.buffer as ArrayBuffer] : [];
    port.postMessage({ text } satisfies RenderAnswer, transfer);
  } catch (error) {
    // Only an Error is ever thrown here, and one without a code of ours is a bug of ours.
    const { code = 'invariant', message } = error as Error & { readonly code?: ErrorCode };
    port.postMessage({ code, message } satisfies RenderAnswer);
  }
});
