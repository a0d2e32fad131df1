import type { BundleSealer, BundleSignature } from '../../migrator/ports.js';
import { toStoreError } from './database-errors.js';
import { UnknownCommitError, type DatabasePool } from './pool.js';

/** The signature's bytes of a wrapper, as SQL counts, while there is none. */
const IS_UNSIGNED = `substring(bundle from 3 for 512) = decode(repeat('00', 512), 'hex')`;

/** Puts signatures into stored wrappers, a batch in one transaction. */
export class PostgresBundleSealer implements BundleSealer {
  readonly #writer: DatabasePool;
  readonly #checkReady: () => void;

  constructor(options: { readonly writer: DatabasePool; readonly checkReady: () => void }) {
    this.#writer = options.writer;
    this.#checkReady = options.checkReady;
  }

  async sealBundles(signatures: readonly BundleSignature[]): Promise<void> {
    this.#checkReady();
    try {
      await this.#writer.transaction(async (client) => {
        for (const { processId, place, signature } of signatures) {
          if (place === undefined) {
            await client.query(
              `update processes set bundle = overlay(bundle placing $2::bytea from 3)
                where process_id = $1 and ${IS_UNSIGNED}`,
              [processId, signature],
            );
          } else {
            await client.query(
              `update messages set bundle = overlay(bundle placing $2::bytea from 3)
                where row_id = $3 and process_id = $1 and ${IS_UNSIGNED}`,
              [processId, signature, place.rank],
            );
          }
        }
      });
    } catch (error) {
      throw toStoreError(error instanceof UnknownCommitError ? error.cause : error);
    }
  }
}
