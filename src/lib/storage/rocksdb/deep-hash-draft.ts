import type { Id } from '../../protocol/ids.js';
import type { BatchPuts } from './batch-puts.js';
import type { Database } from './database.js';
import {
  decodeHashOwner,
  encodeCoverage,
  encodeHashOwner,
  isBefore,
  type HashOwner,
} from './deep-hash-rows.js';
import { deepHashCoverageKey, deepHashKey } from './keys.js';
import type { FoundDuplicate, RunToWrite, WriteRequest } from './write-request.js';

/** The deep hashes of a batch that is being drawn up; in the writer thread, where nobody else writes. */
export class DeepHashDraft {
  readonly #database: Database;
  readonly #puts: BatchPuts;
  /** What the batch will have stored, by its key. */
  readonly #owners = new Map<string, HashOwner>();

  constructor(database: Database, puts: BatchPuts) {
    this.#database = database;
    this.#puts = puts;
  }

  /** The first entry of a run whose content is stored, or in the batch, or earlier in the run. */
  findDuplicate({ processId, entries }: RunToWrite): FoundDuplicate | undefined {
    const inRun = new Set<string>();
    for (const [index, { deepHashes, kind, messageId }] of entries.entries()) {
      if (deepHashes === undefined) continue;
      if (inRun.has(deepHashes.stored)) return { index, first: undefined };
      inRun.add(deepHashes.stored);
      for (const hash of deepHashes.matches) {
        const first = this.#find(keyOf(processId, deepHashes.version, hash))?.messageId;
        // A transaction that was assigned may still be posted once as a message: its identity decides, not its content.
        if (first !== undefined && !(kind === 'message' && first === messageId)) {
          return { index, first };
        }
      }
    }
    return undefined;
  }

  /** Puts the hashes of a run's entries into the batch. */
  add({ processId, entries }: RunToWrite): void {
    for (const { deepHashes, messageId, head } of entries) {
      if (deepHashes === undefined) continue;
      const { epoch, nonce } = head;
      const key = keyOf(processId, deepHashes.version, deepHashes.stored);
      this.#put(key, { messageId, epoch, nonce });
    }
  }

  /** Puts hashes of stored entries into the batch, and how far they reach; an earlier entry's hash stays. */
  addOld(request: Extract<WriteRequest, { kind: 'add-deep-hashes' }>): void {
    const { processId, version, hashes, coverage } = request;
    for (const { hash, messageId, epoch, nonce } of hashes) {
      this.#put(keyOf(processId, version, hash), { messageId, epoch, nonce });
    }
    if (coverage !== undefined) {
      this.#puts.put('default', deepHashCoverageKey(processId), encodeCoverage(coverage));
    }
  }

  #put(key: Buffer, owner: HashOwner): void {
    const known = this.#find(key);
    if (known !== undefined && !isBefore(owner, known)) return;
    this.#owners.set(key.toString('latin1'), owner);
    this.#puts.put('default', key, encodeHashOwner(owner));
  }

  #find(key: Buffer): HashOwner | undefined {
    const drafted = this.#owners.get(key.toString('latin1'));
    if (drafted !== undefined) return drafted;
    const value = this.#database.read('default', key);
    return value && decodeHashOwner(value);
  }
}

function keyOf(processId: Id, version: string, hash: string): Buffer {
  return deepHashKey(processId, version, Buffer.from(hash, 'base64url'));
}
