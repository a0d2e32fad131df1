import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { catchUpLog } from '../../src/lib/migrator/catch-up.js';
import { makeCopiedReader } from '../../src/lib/scheduler/copied-reader.js';
import type { LogReader } from '../../src/lib/scheduler/ports.js';
import { openCopySources } from '../../src/lib/storage/postgres/copy-source.js';
import { openDiskCopy, type OpenDiskCopy } from '../../src/lib/storage/rocksdb/disk-copy.js';
import { migratedDatabase, silentLog } from '../support/postgres.js';
import { newLog, type LogBuilder } from '../storage/conformance/log-builder.js';
import { openStoreOn } from '../storage/postgres/opened-store.js';

const ENTRIES = 2400;

describe('a page from a disk copy', function () {
  this.timeout(60_000);
  const closing: (() => Promise<unknown>)[] = [];
  let builder: LogBuilder;
  let disk: OpenDiskCopy;
  let reader: LogReader;
  let makeReader: (copied: LogReader) => LogReader;
  let copyAgain: () => Promise<unknown>;

  before(async () => {
    const database = await migratedDatabase();
    closing.push(() => database.drop());
    const folder = await mkdtemp(join(tmpdir(), 'su-copied-'));
    closing.push(() => rm(folder, { recursive: true, force: true }));
    const store = await openStoreOn(database);
    closing.push(() => store.close());
    disk = await openDiskCopy({ folder, log: silentLog });
    closing.push(() => disk.close());
    const sources = openCopySources({
      url: database.url,
      connections: 3,
      clock: Date.now,
      log: silentLog,
    });
    closing.push(() => sources.close());
    const made = await newLog(ENTRIES);
    ({ builder } = made);
    await store.store.append([made.run]);
    const { signal } = new AbortController();
    copyAgain = () =>
      catchUpLog(builder.processId, { source: sources.logs, copy: disk.copy, signal });
    makeReader = (copied) =>
      makeCopiedReader({
        copy: { ...disk, reader: copied, findWatermark: (id) => disk.copy.findWatermark(id) },
        database: store.reader,
        onBehind: () => undefined,
        onFailure: (error) => {
          throw error;
        },
        onRead: () => undefined,
      });
    reader = makeReader(disk.reader);
  });
  after(async () => {
    for (const close of closing.toReversed()) await close();
  });
  beforeEach(() => copyAgain());

  /** Reads the whole log, and does something after one of its pieces. */
  async function readAll(
    afterPiece: number,
    disturb: () => Promise<unknown>,
    from = reader,
  ): Promise<number[]> {
    const nonces: number[] = [];
    let pieces = 0;
    const range = { by: 'nonce', from: undefined, to: undefined, limit: 1e6 } as const;
    for await (const piece of from.readRange({
      ...range,
      processId: builder.processId,
      showAnchor: false,
    })) {
      nonces.push(...piece.map(({ nonce }) => nonce));
      pieces += 1;
      if (pieces === afterPiece) await disturb();
    }
    expect(pieces).to.be.greaterThan(afterPiece);
    return nonces;
  }
  const whole = Array.from({ length: ENTRIES }, (_, index) => index + 1);

  for (const afterPiece of [1, 2, 3]) {
    it(`is whole when its log is removed after piece ${afterPiece}`, async () => {
      const read = await readAll(afterPiece, () => disk.copy.forget(builder.processId));
      expect(read).to.deep.equal(whole);
    });

    it(`is whole when its log is copied anew after piece ${afterPiece}`, async () => {
      const read = await readAll(afterPiece, async () => {
        await disk.copy.forget(builder.processId);
        await copyAgain();
      });
      expect(read).to.deep.equal(whole);
    });

    it(`is whole while its log is being removed, from piece ${afterPiece} on`, async () => {
      let removed: Promise<void> | undefined;
      const read = await readAll(afterPiece, async () => {
        removed = disk.copy.forget(builder.processId);
      });
      await removed;
      expect(read).to.deep.equal(whole);
    });
  }

  it('is whole when its copy seems to end because it is being removed', async () => {
    const copied = Object.create(disk.reader) as LogReader;
    copied.readRange = async function* readRange(range) {
      for await (const piece of disk.reader.readRange(range)) {
        yield piece;
        await disk.copy.forget(builder.processId);
        return;
      }
    };
    const read = await readAll(1, async () => undefined, makeReader(copied));
    expect(read).to.deep.equal(whole);
  });

  it('is the database’s while the copy of its log is being removed', async () => {
    const removed = disk.copy.forget(builder.processId);
    expect(disk.generation(builder.processId)).to.equal(undefined);
    const read = await readAll(1, async () => undefined);
    expect(read).to.deep.equal(whole);
    await removed;
    expect(disk.generation(builder.processId)).to.be.a('number');
  });
});
