import { LRUCache } from 'lru-cache';
import type { Id } from '../../protocol/ids.js';
import type { Head, ReceiptQuery } from '../../scheduler/ports.js';
import { BatchPuts } from './batch-puts.js';
import { decodeBlobEnd, encodeBlobEnd } from './blob-files.js';
import { BlobWriter } from './blob-writer.js';
import { drawSeals } from './bundle-sealer.js';
import { drawCopy } from './copy-draft.js';
import type { Database } from './database.js';
import { DeepHashDraft } from './deep-hash-draft.js';
import { DiskDraft } from './disk-draft.js';
import { findFirstAssign } from './find-assign.js';
import {
  assignDigest,
  assignKey,
  assignmentKey,
  BLOB_END_KEY,
  COUNTERS_KEY,
  entryKey,
  headKey,
  messageKey,
  NO_VALUE,
  processKey,
  spawnKey,
  timeKey,
} from './keys.js';
import { NodeDraft } from './node-draft.js';
import { OutboxDraft } from './outbox-draft.js';
import {
  decodeCounters,
  decodeHead,
  encodeCounters,
  encodeHead,
  encodePlaces,
  encodeSpawn,
  isSameHead,
  type Counters,
  type Placed,
} from './rows.js';
import type {
  EntryToWrite,
  RunToWrite,
  WriteAnswer,
  WriteRequest,
  WrittenRun,
} from './write-request.js';

/** What a batch will have changed once it is written. */
interface Draft {
  readonly puts: BatchPuts;
  readonly nodes: NodeDraft;
  readonly outbox: OutboxDraft;
  readonly deepHashes: DeepHashDraft;
  readonly disk: DiskDraft;
  readonly heads: Map<Id, Head>;
  /** Processes that the batch copies. */
  readonly copied: Set<Id>;
  /** Messages and assigns that the batch stores. */
  readonly messages: Set<Id>;
  readonly assigns: Map<string, number>;
  /** A batch that only settles need not be flushed: a lost settlement is a second upload. */
  sync: boolean;
}

/**
 * Draws up and writes batches, in the writer thread and nowhere else: what it reads no one can change before it has
 * written. After a failed write it must be thrown away with its database.
 */
export class BatchWriter {
  readonly #database: Database;
  readonly #blobs: BlobWriter;
  readonly #heads: LRUCache<Id, Head>;
  #counters: Counters;

  constructor(database: Database, headsMax: number) {
    this.#database = database;
    const end = database.read('default', BLOB_END_KEY);
    this.#blobs = new BlobWriter(database.folder, { end: end && decodeBlobEnd(end) });
    this.#heads = new LRUCache({ max: headsMax });
    this.#counters = decodeCounters(database.read('default', COUNTERS_KEY));
  }

  /**
   * Does what is asked, in order, in one atomic batch, flushed when anything is appended.
   *
   * @throws whatever RocksDB throws; then whether the batch is stored is unknown
   */
  async write(requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
    const puts = new BatchPuts(this.#database);
    const nodes = new NodeDraft(this.#database, puts, this.#blobs);
    const outbox = new OutboxDraft(this.#database, puts, this.#counters);
    const draft: Draft = {
      puts,
      nodes,
      outbox,
      deepHashes: new DeepHashDraft(this.#database, puts),
      disk: new DiskDraft(this.#database, { puts, nodes, blobs: this.#blobs }),
      heads: new Map(),
      copied: new Set(),
      messages: new Set(),
      assigns: new Map(),
      sync: false,
    };
    const answers = await this.#drawAll(draft, requests);
    if (puts.isEmpty) {
      await puts.drop();
      return answers;
    }
    puts.put('default', COUNTERS_KEY, encodeCounters(outbox.counters));
    const end = this.#blobs.newEnd;
    if (end !== undefined) puts.put('default', BLOB_END_KEY, encodeBlobEnd(end));
    // THE commit point of the embedded store.
    await puts.write({ sync: draft.sync });
    this.#blobs.keep();
    this.#counters = outbox.counters;
    for (const [processId, head] of draft.heads) this.#heads.set(processId, head);
    return answers;
  }

  /** To be called once nothing is being written; what a failed write has begun ends first. */
  close(): Promise<void> {
    return this.#blobs.close();
  }

  /** Draws everything and has its blobs written; when that fails, nothing names those that are. */
  async #drawAll(draft: Draft, requests: readonly WriteRequest[]): Promise<readonly WriteAnswer[]> {
    try {
      const answers = requests.map((request) => this.#draw(draft, request));
      draft.nodes.finish();
      await this.#blobs.flush();
      return answers;
    } catch (error) {
      await this.#blobs.cutOff();
      throw error;
    }
  }

  #draw(draft: Draft, request: WriteRequest): WriteAnswer {
    switch (request.kind) {
      case 'append':
        return { kind: 'append', runs: this.#drawRuns(draft, request.runs, request.now) };
      case 'settle':
        draft.outbox.settle(request.settlements, request.now);
        return { kind: 'settle' };
      case 'retry':
        return { kind: 'retry', sequences: draft.outbox.retry(request.sequences, request.now) };
      case 'put-rows':
        for (const [key, value] of request.puts) draft.puts.put('default', key, value);
        for (const key of request.removals) draft.puts.remove('default', key);
        draft.sync = true;
        return { kind: 'put-rows' };
      case 'queue-uploads':
        draft.sync = true;
        return {
          kind: 'queue-uploads',
          sequences: request.rows.map((row) => draft.outbox.queueStored(row, request.now)),
        };
      case 'seal':
        if (drawSeals({ database: this.#database, puts: draft.puts }, request.signatures)) {
          draft.sync = true;
        }
        return { kind: 'seal' };
      case 'copy':
        return this.#drawCopy(draft, request);
      case 'add-deep-hashes':
        draft.deepHashes.addOld(request);
        return { kind: 'add-deep-hashes' };
      case 'disk-rows':
      case 'disk-settle':
      case 'disk-forget':
      case 'disk-restart':
        // Not flushed: what a crash of the machine takes from a copy is copied again.
        return draft.disk.draw(request);
    }
  }

  /** What an earlier request of the batch has written of a process the database does not show yet. */
  #drawCopy(draft: Draft, request: Extract<WriteRequest, { kind: 'copy' }>): WriteAnswer {
    const { processId } = request.process;
    if (draft.heads.has(processId) || draft.copied.has(processId)) {
      return { kind: 'copy', status: 'again' };
    }
    const { answer, head } = drawCopy(
      { database: this.#database, puts: draft.puts, nodes: draft.nodes },
      request,
    );
    draft.copied.add(processId);
    if (head !== undefined) draft.heads.set(processId, head);
    if (answer.status === 'written') draft.sync = true;
    return answer;
  }

  #drawRuns(draft: Draft, runs: readonly RunToWrite[], now: number): readonly WrittenRun[] {
    const heads = this.#readHeads(draft, runs);
    const messages = this.#readStoredMessages(runs);
    const written: WrittenRun[] = [];
    for (const run of runs) {
      const head = draft.heads.get(run.processId) ?? heads.get(run.processId);
      if (!isSameHead(run.onto, head) || !this.#areNew(draft, run, messages)) {
        written.push({ status: 'moved' });
        continue;
      }
      const duplicate = draft.deepHashes.findDuplicate(run);
      if (duplicate === undefined) {
        draft.deepHashes.add(run);
        written.push({
          status: 'appended',
          sequences: run.entries.map((entry) => this.#drawEntry(draft, { run, entry, now })),
        });
        draft.sync = true;
      } else {
        written.push({ status: 'duplicate', ...duplicate });
      }
    }
    return written;
  }

  /** The heads of all runs, from memory or with one look into the database. */
  #readHeads(draft: Draft, runs: readonly RunToWrite[]): ReadonlyMap<Id, Head> {
    const heads = new Map<Id, Head>();
    const missing: Id[] = [];
    for (const { processId } of runs) {
      if (draft.heads.has(processId)) continue;
      const head = this.#heads.get(processId);
      if (head === undefined) missing.push(processId);
      else heads.set(processId, head);
    }
    const values = this.#database.readMany('default', missing.map(headKey));
    missing.forEach((processId, index) => {
      const value = values[index];
      if (value !== undefined) heads.set(processId, decodeHead(value));
    });
    return heads;
  }

  #readStoredMessages(runs: readonly RunToWrite[]): ReadonlySet<Id> {
    const ids = runs.flatMap(({ entries }) =>
      entries.flatMap(({ identity }) => (identity.kind === 'message' ? [identity.id] : [])),
    );
    const values = this.#database.readMany('default', ids.map(messageKey));
    return new Set(ids.filter((_, index) => values[index] !== undefined));
  }

  /** True when nothing of the run is stored, or in the draft, or in the run twice; then it is noted in the draft. */
  #areNew(draft: Draft, run: RunToWrite, stored: ReadonlySet<Id>): boolean {
    const messages = new Set<Id>();
    const assigns = new Map<string, number>();
    for (const { identity, head } of run.entries) {
      if (identity.kind !== 'assign') {
        // A process is new when it has no head, which is what the run was compared with.
        if (identity.kind === 'process') continue;
        const { id } = identity;
        if (stored.has(id) || draft.messages.has(id) || messages.has(id)) return false;
        messages.add(id);
        continue;
      }
      const name = Buffer.from(assignDigest(identity)).toString('latin1');
      const latest = assigns.get(name) ?? draft.assigns.get(name);
      const isShared = identity.attempts === undefined;
      if (isShared && latest !== undefined && latest >= identity.since) return false;
      if (findFirstAssign(this.#database, identity) !== undefined) return false;
      assigns.set(name, head.timestamp);
    }
    for (const id of messages) draft.messages.add(id);
    for (const [name, timestamp] of assigns) draft.assigns.set(name, timestamp);
    return true;
  }

  /** Everything that is stored of one entry; returns the sequence number of its outbox row. */
  #drawEntry(
    draft: Draft,
    { run, entry, now }: { run: RunToWrite; entry: EntryToWrite; now: number },
  ): number {
    const { processId } = run;
    const { head, assignmentId } = entry;
    draft.puts.put('default', headKey(processId), encodeHead(head));
    draft.heads.set(processId, head);
    if (entry.kind === 'process') {
      this.#drawProcess(draft, processId, entry);
    } else {
      const place: Placed = {
        processId,
        epoch: head.epoch,
        nonce: head.nonce,
        suffix: 0,
        timestamp: head.timestamp,
      };
      const key = entryKey(place);
      draft.nodes.put(place, entry.json, { isAtHead: true });
      draft.puts.put('bundles', key, entry.bundle);
      draft.puts.put('default', timeKey(place, place.timestamp), NO_VALUE);
      const places = encodePlaces([place]);
      if (entry.kind === 'message') draft.puts.put('default', messageKey(entry.messageId), places);
      if (assignmentId !== undefined)
        draft.puts.put('default', assignmentKey(assignmentId), places);
      this.#drawAssign(draft, entry.identity, {
        timestamp: head.timestamp,
        nonce: head.nonce,
        assignmentId,
      });
    }
    return draft.outbox.queue(processId, entry, now);
  }

  #drawProcess(
    draft: Draft,
    processId: Id,
    { head, assignmentId, bundle, json }: EntryToWrite,
  ): void {
    const hasAssignment = assignmentId !== undefined;
    const spawn = encodeSpawn({ ...head, hasAssignment, nonce: hasAssignment ? head.nonce : 0 });
    draft.puts.put('default', spawnKey(processId), spawn);
    draft.puts.put('bundles', processKey(processId), bundle);
    if (json !== undefined) draft.puts.put('nodes', processKey(processId), json);
  }

  #drawAssign(
    draft: Draft,
    identity: ReceiptQuery,
    {
      timestamp,
      nonce,
      assignmentId,
    }: { timestamp: number; nonce: number; assignmentId: Id | undefined },
  ): void {
    if (identity.kind !== 'assign' || assignmentId === undefined) return;
    const key = assignKey(assignDigest(identity), timestamp, nonce);
    draft.puts.put('default', key, Buffer.from(assignmentId, 'base64url'));
  }
}
