import { setTimeout as sleep } from 'node:timers/promises';
import { openLongConnection } from './connection.js';

const AGAIN_MS = 500;

/**
 * Once the signal is aborted, cancels what a backend does, again and again until it is told that this is over: a statement
 * may begin right behind the one that was cancelled. Over a connection of its own, since a backend that waits for a lock, or
 * builds an index, does not read. When the server cannot be reached there is nothing to cancel.
 *
 * @returns stops it; to be called in any case
 */
export function cancelOnAbort(
  signal: AbortSignal,
  backend: { readonly url: string; readonly pid: number },
): () => Promise<void> {
  const over = new AbortController();
  let cancelling: Promise<void> | undefined;
  const begin = (): void => {
    cancelling = cancelUntil(over.signal, backend).catch(() => undefined);
  };
  if (signal.aborted) begin();
  else signal.addEventListener('abort', begin, { once: true });
  return async () => {
    signal.removeEventListener('abort', begin);
    over.abort();
    await cancelling;
  };
}

async function cancelUntil(
  over: AbortSignal,
  { url, pid }: { readonly url: string; readonly pid: number },
): Promise<void> {
  const client = await openLongConnection(url);
  try {
    while (!over.aborted) {
      await client.query('select pg_cancel_backend($1)', [pid]);
      await sleep(AGAIN_MS, undefined, { signal: over }).catch(() => undefined);
    }
  } finally {
    await client.end();
  }
}
