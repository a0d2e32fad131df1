import { SuError } from '../../errors.js';
import type { Id } from '../../protocol/ids.js';
import type {
  DeepHashCoverage,
  DeepHashes,
  DeepHashStore,
  OldDeepHash,
  Position,
} from '../../scheduler/ports.js';
import { decodeCoverage, decodeHashOwner, isBefore } from './deep-hash-rows.js';
import type { Engine } from './engine.js';
import {
  deepHashCoverageKey,
  deepHashKey,
  entryFloor,
  entryRange,
  placeOfEntryKey,
} from './keys.js';

/** A bundle may have ten megabytes; the work behind this is in no hurry. */
const NEWEST_ENTRIES = 16;
const NEWEST_BYTES_MAX = 4 * 1024 * 1024;

/** The look-ups of `DeepHashStore` on the embedded store. */
export class RocksdbDeepHashes implements DeepHashStore {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async findDuplicates(
    queries: readonly { readonly processId: Id; readonly hashes: DeepHashes }[],
  ): Promise<readonly (Id | undefined)[]> {
    const database = await this.#engine.database();
    const keys = queries.map(({ processId, hashes: { version, matches } }) =>
      matches.map((hash) => deepHashKey(processId, version, Buffer.from(hash, 'base64url'))),
    );
    const values = database.readMany('default', keys.flat());
    let next = 0;
    return keys.map((ofQuery) => {
      const owners = ofQuery.flatMap(() => {
        const value = values[next++];
        return value === undefined ? [] : [decodeHashOwner(value)];
      });
      return owners.toSorted((a, b) => (isBefore(a, b) ? -1 : 1))[0]?.messageId;
    });
  }

  async findCoverage(processId: Id): Promise<DeepHashCoverage | undefined> {
    const database = await this.#engine.database();
    const value = database.read('default', deepHashCoverageKey(processId));
    return value && decodeCoverage(value);
  }

  async readNewest(
    processId: Id,
    below: Position | undefined,
  ): Promise<readonly (Position & { readonly bundle: Uint8Array })[]> {
    const database = await this.#engine.database();
    const { gte, lt } = entryRange(processId);
    const rows = await database.readRange('bundles', {
      gte,
      lt: below === undefined ? lt : entryFloor(processId, below.epoch, below.nonce),
      reverse: true,
      limit: NEWEST_ENTRIES,
      highWaterMarkBytes: NEWEST_BYTES_MAX,
    });
    return rows.map(([key, bundle]) => ({ ...placeOfEntryKey(key), bundle }));
  }

  async addOldHashes(
    processId: Id,
    { version, hashes }: { readonly version: string; readonly hashes: readonly OldDeepHash[] },
    coverage?: DeepHashCoverage,
  ): Promise<void> {
    const answer = await this.#engine.write({
      kind: 'add-deep-hashes',
      processId,
      version,
      hashes,
      coverage,
    });
    if (answer.kind !== 'add-deep-hashes') {
      throw new SuError('invariant', 'the writer answered another request');
    }
  }
}
