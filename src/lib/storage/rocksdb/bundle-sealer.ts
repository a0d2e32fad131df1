import type { BundleSealer, BundleSignature } from '../../migrator/ports.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import type { Engine } from './engine.js';
import { entryKey, processKey } from './keys.js';

const SIGNATURE_BEGIN = 2;
const SIGNATURE_END = SIGNATURE_BEGIN + 512;
const UNSIGNED = Buffer.alloc(SIGNATURE_END - SIGNATURE_BEGIN);

/** Puts signatures into stored wrappers, through the store's one writer. */
export class RocksdbBundleSealer implements BundleSealer {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async sealBundles(signatures: readonly BundleSignature[]): Promise<void> {
    const rows = signatures.map(({ processId, place, signature }) => ({
      // Only what the keys are made of: what is asked may carry a whole row.
      place: place && { epoch: place.epoch, nonce: place.nonce, rank: place.rank },
      processId,
      signature: Uint8Array.from(signature),
    }));
    if (rows.length > 0) await this.#engine.write({ kind: 'seal', signatures: rows });
  }
}

/** Draws the signatures into a batch, in the writer thread; true when there is anything to write. */
export function drawSeals(
  { database, puts }: { readonly database: Database; readonly puts: BatchPuts },
  signatures: readonly BundleSignature[],
): boolean {
  let isDrawn = false;
  for (const { processId, place, signature } of signatures) {
    const key =
      place === undefined
        ? processKey(processId)
        : entryKey({ processId, epoch: place.epoch, nonce: place.nonce, suffix: place.rank });
    const stored = database.read('bundles', key);
    const head = stored?.subarray(SIGNATURE_BEGIN, SIGNATURE_END);
    if (stored === undefined || head === undefined || !UNSIGNED.equals(head)) continue;
    const sealed = Buffer.from(stored);
    sealed.set(signature, SIGNATURE_BEGIN);
    puts.put('bundles', key, sealed);
    isDrawn = true;
  }
  return isDrawn;
}
