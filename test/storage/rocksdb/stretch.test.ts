import { expect } from 'chai';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseMessageBundle } from '../../../src/lib/protocol/bundle.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import { renderNode } from '../../../src/lib/protocol/wire.js';
import type { LogEntry, RangeQuery } from '../../../src/lib/scheduler/ports.js';
import { BlobWriter } from '../../../src/lib/storage/rocksdb/blob-writer.js';
import { BatchPuts } from '../../../src/lib/storage/rocksdb/batch-puts.js';
import { Database } from '../../../src/lib/storage/rocksdb/database.js';
import {
  entryFloor,
  entryKey,
  entryRange,
  stretchKey,
} from '../../../src/lib/storage/rocksdb/keys.js';
import { NodeDraft } from '../../../src/lib/storage/rocksdb/node-draft.js';
import { NodeRange } from '../../../src/lib/storage/rocksdb/node-range.js';
import { decodeNode, type Placed, type StoredNode } from '../../../src/lib/storage/rocksdb/rows.js';
import {
  decodeStretch,
  encodeStretch,
  ownBytes,
  withStretched,
} from '../../../src/lib/storage/rocksdb/stretch.js';
import { seeded } from '../../support/lane-harness.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { newLog, randomId, runOf } from '../conformance/log-builder.js';
import { collect } from '../conformance/open-store.js';

interface Row {
  readonly epoch: number;
  readonly nonce: number;
  readonly suffix: number;
}

const textOf = ({ epoch, nonce, suffix }: Row): string => `{"at":"${epoch} ${nonce} ${suffix}"}`;

/** A database of its own, with the entries of one log. */
class Entries {
  readonly processId: Id = randomId();
  readonly #folder: string;
  readonly database: Database;
  readonly blobs: BlobWriter;
  readonly damages: unknown[] = [];

  private constructor(folder: string, database: Database) {
    this.#folder = folder;
    this.database = database;
    this.blobs = new BlobWriter(database.folder);
  }

  static async open(): Promise<Entries> {
    const folder = await mkdtemp(join(tmpdir(), 'su-stretch-'));
    const database = await Database.open(join(folder, 'db'), { createIfMissing: true });
    return new Entries(folder, database);
  }

  async close(): Promise<void> {
    await this.blobs.close();
    await this.database.close();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** Writes rows in one batch; rows of the nonces in `large` have no JSON. */
  async write(
    rows: readonly Row[],
    options: { readonly isAtHead?: boolean; readonly large?: readonly number[] } = {},
  ): Promise<void> {
    const { isAtHead = false, large = [] } = options;
    await this.draw((draft) => {
      for (const row of rows) {
        const json = large.includes(row.nonce) ? undefined : Buffer.from(textOf(row));
        draft.put(this.placeOf(row), json, { isAtHead });
      }
    });
  }

  async draw(work: (draft: NodeDraft, puts: BatchPuts) => void): Promise<void> {
    const puts = new BatchPuts(this.database);
    const draft = new NodeDraft(this.database, puts, this.blobs);
    work(draft, puts);
    draft.finish();
    await puts.write({ sync: false });
  }

  placeOf(row: Row): Placed {
    return { ...row, processId: this.processId, timestamp: 1000 + row.nonce };
  }

  hasStretch(nonce: number, epoch = 0): boolean {
    const key = stretchKey({ processId: this.processId, epoch, nonce });
    return this.database.read('nodes', key) !== undefined;
  }

  node(row: Row): StoredNode | undefined {
    const value = this.database.read('nodes', entryKey(this.placeOf(row)));
    return value && decodeNode(value);
  }

  readAll(): Promise<readonly StoredNode[]> {
    const { lt } = entryRange(this.processId);
    return this.read({ gte: entryFloor(this.processId, 0, 0), lt }, () => 500);
  }

  async read(
    bounds: { readonly gte: Buffer; readonly lt: Buffer },
    wanted: () => number,
  ): Promise<readonly StoredNode[]> {
    const range = new NodeRange({
      processId: this.processId,
      ...bounds,
      withStretches: true,
      onDamage: (error) => this.damages.push(error),
    });
    const nodes: StoredNode[] = [];
    while (!range.isEnd) {
      const most = wanted();
      const piece = await range.read(() => Promise.resolve(this.database), most);
      expect(piece.length).to.be.at.most(most);
      nodes.push(...piece);
    }
    return nodes;
  }
}

const rowsOf = (first: number, last: number): Row[] =>
  Array.from({ length: last - first + 1 }, (_, i) => ({ epoch: 0, nonce: first + i, suffix: 0 }));

describe('stretches of entries', () => {
  let entries: Entries;

  beforeEach(async () => {
    entries = await Entries.open();
  });
  afterEach(() => entries.close());

  it('are made by their last entry, from the batch and from what is stored', async () => {
    await entries.write(rowsOf(1, 20), { isAtHead: true });
    await entries.write(rowsOf(21, 31), { isAtHead: true });
    expect(entries.hasStretch(1)).to.equal(false);
    expect(entries.node({ epoch: 0, nonce: 31, suffix: 0 })?.json?.toString()).to.equal(
      '{"at":"0 31 0"}',
    );
    await entries.write(rowsOf(32, 70), { isAtHead: true });
    expect([1, 33, 65].map((nonce) => entries.hasStretch(nonce))).to.deep.equal([
      true,
      true,
      false,
    ]);
    const moved = entries.node({ epoch: 0, nonce: 31, suffix: 0 });
    expect(moved).to.include({ json: undefined, isInStretch: true, timestamp: 1031 });
    const [shown] = withStretched(entries.database, [
      moved && { ...moved, processId: entries.processId },
    ]);
    expect(shown?.json?.toString()).to.equal('{"at":"0 31 0"}');
  });

  it('are not made where an entry is missing or is there twice, or none has its JSON stored', async () => {
    const [, ...withHole] = rowsOf(1, 32);
    await entries.write(withHole);
    await entries.write([...rowsOf(33, 64), { epoch: 0, nonce: 40, suffix: 7 }]);
    await entries.write(rowsOf(65, 96), { large: rowsOf(65, 96).map(({ nonce }) => nonce) });
    await entries.write([{ epoch: 0, nonce: 100, suffix: 3 }]);
    await entries.write(rowsOf(97, 128));
    for (const nonce of [1, 33, 65, 97]) expect(entries.hasStretch(nonce)).to.equal(false);
    const nodes = await entries.readAll();
    expect(nodes).to.have.lengthOf(31 + 33 + 32 + 33);
    for (const { json, nonce } of nodes) {
      expect(json === undefined, `nonce ${nonce}`).to.equal(nonce >= 65 && nonce <= 96);
    }
  });

  it('keep the places of entries whose JSON is not stored, first and last too', async () => {
    const large = [1, 7, 8, 32];
    await entries.write(rowsOf(1, 20), { isAtHead: true, large });
    await entries.write(rowsOf(21, 32), { isAtHead: true, large });
    expect(entries.hasStretch(1)).to.equal(true);
    const nodes = await entries.readAll();
    expect(nodes.map(({ nonce }) => nonce)).to.deep.equal(rowsOf(1, 32).map(({ nonce }) => nonce));
    for (const node of nodes) {
      const isLarge = large.includes(node.nonce);
      expect(node.json?.toString()).to.equal(isLarge ? undefined : textOf(node));
      expect('edge' in node, `nonce ${node.nonce}`).to.equal(!isLarge);
      // It says whether the bundle is small.
      expect(node.isInStretch).to.equal(!isLarge);
      const row = entries.node({ epoch: 0, nonce: node.nonce, suffix: 0 });
      expect(row).to.include({ json: undefined, isInStretch: !isLarge });
      const [shown] = withStretched(entries.database, [
        row && { ...row, processId: entries.processId },
      ]);
      expect(shown?.json?.toString()).to.equal(node.json?.toString());
    }
    expect(entries.damages).to.deep.equal([]);
  });

  it('are gone when an entry without stored JSON is written again: the others are rendered', async () => {
    await entries.write(rowsOf(1, 32), { large: [9] });
    await entries.write(rowsOf(9, 9), { large: [9] });
    expect(entries.hasStretch(1)).to.equal(false);
    const nodes = await entries.readAll();
    expect(nodes).to.have.lengthOf(32);
    expect(nodes.filter(({ isInStretch }) => !isInStretch).map(({ nonce }) => nonce)).to.deep.equal(
      [9],
    );
  });

  it('are not made of entries too large for one value', async () => {
    const json = Buffer.alloc(40_000, 'x');
    await entries.draw((draft) => {
      for (const row of rowsOf(1, 32)) draft.put(entries.placeOf(row), json, { isAtHead: true });
    });
    expect(entries.hasStretch(1)).to.equal(false);
    expect(entries.node({ epoch: 0, nonce: 5, suffix: 0 })?.json?.length).to.equal(40_000);
  });

  it('end when something else is written into their places, and nothing is hidden', async () => {
    await entries.write(rowsOf(1, 64));
    await entries.write([{ epoch: 0, nonce: 10, suffix: 9 }]);
    expect([entries.hasStretch(1), entries.hasStretch(33)]).to.deep.equal([false, true]);
    const nodes = await entries.readAll();
    expect(nodes.filter(({ nonce }) => nonce === 10).map(({ suffix }) => suffix)).to.deep.equal([
      0, 9,
    ]);
    expect(nodes).to.have.lengthOf(65);
  });

  it('are told from what the rows say, so that a comparison sees what a page shows', async () => {
    await entries.write(rowsOf(1, 32));
    const key = stretchKey({ processId: entries.processId, epoch: 0, nonce: 1 });
    const old = entries.database.read('nodes', key) ?? Buffer.alloc(0);
    await entries.write(rowsOf(1, 31).map((row) => ({ ...row, suffix: 4 })));
    expect(entries.hasStretch(1)).to.equal(false);
    const puts = new BatchPuts(entries.database);
    puts.put('nodes', key, old);
    await puts.write({ sync: false });
    const row = entries.node({ epoch: 0, nonce: 3, suffix: 4 });
    expect(row?.json?.toString()).to.equal('{"at":"0 3 4"}');
    const [shown] = withStretched(entries.database, [
      row && { ...row, processId: entries.processId },
    ]);
    expect(shown?.json?.toString()).to.equal('');
  });

  it('are refused when they are of another place, or their edges are not the ones of their nonces', async () => {
    const value =
      encodeStretch(
        rowsOf(1, 32).map((row) => ({
          place: entries.placeOf(row),
          json: Buffer.from(textOf(row)),
        })),
      ) ?? Buffer.alloc(0);
    const decode = (bytes: Buffer, at: { epoch: number; nonce: number }): unknown[] => [
      ...decodeStretch(ownBytes(bytes), at).nodes,
    ];
    const place = { epoch: 0, nonce: 1 };
    expect(decode(value, place)).to.have.lengthOf(32);
    const cut = value.subarray(0, value.length - 1);
    const longer = Buffer.concat([value, Buffer.from(' ')]);
    const wrong: Buffer[] = [cut, longer, Buffer.alloc(0), value.subarray(0, 100)];
    // What says where each edge ends.
    for (let index = 0; index < 32; index += 1) {
      for (const by of [1, -1, 40, -40]) {
        const at = 17 + 20 * index + 16;
        const changed = Buffer.from(value);
        changed.writeUInt32BE(value.readUInt32BE(at) + by, at);
        wrong.push(changed);
      }
    }
    for (const bytes of wrong) expect(() => decode(bytes, place)).to.throw('stretch');
    for (const other of [
      { epoch: 1, nonce: 1 },
      { epoch: 0, nonce: 33 },
    ]) {
      expect(() => decode(value, other)).to.throw('another place');
    }
  });

  it('are read a little ahead of whoever takes them, and no further', async () => {
    const json = Buffer.from(`"${'x'.repeat(30_000)}"`);
    await entries.draw((draft) => {
      for (const row of rowsOf(1, 320)) draft.put(entries.placeOf(row), json, { isAtHead: true });
    });
    let pieces = 0;
    const { database } = entries;
    const watched = new Proxy(database, {
      get(target, name) {
        // As a promise's value it is also asked whether it is one.
        if (name === 'then') return undefined;
        if (name === 'readBlobs') pieces += 1;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const { lt } = entryRange(entries.processId);
    const range = new NodeRange({
      processId: entries.processId,
      gte: entryFloor(entries.processId, 0, 1),
      lt,
      withStretches: true,
      onDamage: (error) => entries.damages.push(error),
    });
    const nonces: number[] = [];
    const readOne = async (): Promise<void> => {
      const nodes = await range.read(() => Promise.resolve(watched), 1000);
      nonces.push(...nodes.map(({ nonce }) => nonce));
    };
    await readOne();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(nonces).to.have.lengthOf(32);
    expect(pieces).to.equal(2);
    while (!range.isEnd) await readOne();
    expect(nonces).to.deep.equal(rowsOf(1, 320).map(({ nonce }) => nonce));
    expect(pieces).to.equal(10);
    expect(entries.damages).to.deep.equal([]);
  });

  it('are read as earlier versions wrote them, beside those in blob files', async () => {
    await entries.write(rowsOf(1, 96));
    for (const first of [1, 65]) {
      const rows = rowsOf(first, first + 31);
      const all = rows.map((row) => ({
        place: entries.placeOf(row),
        json: Buffer.from(textOf(row)),
      }));
      const puts = new BatchPuts(entries.database);
      const key = stretchKey({ processId: entries.processId, epoch: 0, nonce: first });
      puts.put('nodes', key, encodeStretch(all) ?? Buffer.alloc(0));
      await puts.write({ sync: false });
    }
    const nodes = await entries.readAll();
    expect(nodes.map(({ json }) => json?.toString())).to.deep.equal(rowsOf(1, 96).map(textOf));
    expect(nodes.filter(({ edge }) => edge !== undefined)).to.have.lengthOf(96);
    expect(entries.damages).to.deep.equal([]);
  });

  it('are left out when the file system takes none, and entries are written all the same', async () => {
    const append = entries.blobs.append.bind(entries.blobs);
    entries.blobs.append = () => {
      throw new Error('no space left on device');
    };
    await entries.write(rowsOf(1, 64));
    expect(entries.hasStretch(1)).to.equal(false);
    entries.blobs.append = append;
    await entries.write(rowsOf(65, 96));
    expect(entries.hasStretch(65)).to.equal(true);
    const nodes = await entries.readAll();
    expect(nodes.map(({ json }) => json?.toString())).to.deep.equal(rowsOf(1, 96).map(textOf));
  });

  it('are made again when all entries are written again', async () => {
    await entries.write(rowsOf(1, 32));
    await entries.write(rowsOf(5, 32));
    expect(entries.hasStretch(1), 'four have no JSON any more').to.equal(false);
    await entries.write(rowsOf(1, 32));
    expect(entries.hasStretch(1)).to.equal(true);
  });

  it('are not made of entries that the same batch removes', async () => {
    await entries.write(rowsOf(1, 31));
    await entries.draw((draft, puts) => {
      draft.put(entries.placeOf({ epoch: 0, nonce: 31, suffix: 0 }), Buffer.from('{}'), {
        isAtHead: false,
      });
      draft.forget(entries.processId);
      for (const row of rowsOf(1, 31)) puts.remove('nodes', entryKey(entries.placeOf(row)));
      draft.put(entries.placeOf({ epoch: 0, nonce: 32, suffix: 0 }), Buffer.from('{}'), {
        isAtHead: false,
      });
    });
    expect(entries.hasStretch(1)).to.equal(false);
    const nodes = await entries.readAll();
    expect(nodes.map(({ nonce }) => nonce)).to.deep.equal([32]);
  });

  for (const seed of ['one', 'two', 'three', 'four', 'five', 'six']) {
    it(`are read as the entries they are made of, whatever the log looks like (seed ${seed})`, async () => {
      const random = seeded(`stretch ${seed}`);
      const pick = (below: number): number => Math.floor(random() * below);
      const stored = new Map<string, Row>();
      const large = Array.from({ length: 60 }, () => pick(1500));
      let row: Row = { epoch: 0, nonce: pick(3), suffix: 0 };
      while (stored.size < 700) {
        const batch: Row[] = [];
        for (let count = 1 + pick(60); count > 0; count -= 1) {
          batch.push(row);
          const luck = random();
          const { epoch, nonce, suffix } = row;
          if (luck < 0.004) row = { epoch, nonce, suffix: suffix + 1 };
          else if (luck < 0.006) row = { epoch, nonce: nonce + 2 + pick(100), suffix: 0 };
          else if (luck < 0.008) row = { epoch: epoch + 1, nonce: pick(2), suffix: 0 };
          else row = { epoch, nonce: nonce + 1, suffix: 0 };
        }
        // Now and then a batch is written later, or twice.
        const again = random() < 0.1 ? batch.slice(0, pick(batch.length)) : [];
        await entries.write(random() < 0.2 ? batch.toReversed() : batch, { large });
        if (again.length > 0) await entries.write(again, { large });
        for (const one of batch) stored.set(textOf(one), one);
      }
      const all = [...stored.values()].toSorted(
        (a, b) => a.epoch - b.epoch || a.nonce - b.nonce || a.suffix - b.suffix,
      );
      const range = entryRange(entries.processId);
      let fromStretches = 0;
      for (let round = 0; round < 150; round += 1) {
        const begin = pick(all.length);
        const end = round < 3 ? all.length : begin + pick(all.length - begin);
        const first = all[begin];
        const behind = all[end];
        if (first === undefined) continue;
        const isFloor = random() < 0.5;
        const gte = isFloor
          ? entryFloor(entries.processId, first.epoch, first.nonce)
          : entryKey(entries.placeOf(first));
        const lt = behind === undefined ? range.lt : entryKey(entries.placeOf(behind));
        const expected = all.filter((one) => {
          const key = entryKey(entries.placeOf(one));
          return key.compare(gte) >= 0 && key.compare(lt) < 0;
        });
        const most = 1 + pick(300);
        const nodes = await entries.read({ gte, lt }, () => Math.max(1, pick(most)));
        expect(
          nodes.map(({ epoch, nonce, suffix }) => textOf({ epoch, nonce, suffix })),
        ).to.deep.equal(expected.map(textOf));
        for (const { json, edge, timestamp, isInStretch, epoch, nonce, suffix } of nodes) {
          const place = { epoch, nonce, suffix };
          if (json !== undefined) expect(json.toString()).to.equal(textOf(place));
          if (large.includes(place.nonce)) {
            expect({ json, edge, isInStretch }).to.deep.equal({
              json: undefined,
              edge: undefined,
              isInStretch: false,
            });
          } else if (json === undefined) {
            expect(isInStretch).to.equal(true);
          }
          expect(timestamp).to.equal(1000 + place.nonce);
          if (edge === undefined) continue;
          fromStretches += 1;
          const shown = edge.lent.bytes.toString('utf8', edge.begin, edge.end);
          expect(shown).to.equal(`,{"node":${textOf(place)},"cursor":"${place.nonce}"}`);
        }
      }
      expect(fromStretches).to.be.greaterThan(1000);
      expect(entries.damages).to.deep.equal([]);
    });
  }
});

describe('the embedded store with stretches', () => {
  let temp: TempRocksdb;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
  });
  afterEach(() => temp.destroy());

  const query: RangeQuery = {
    processId: '' as unknown as Id,
    by: 'nonce',
    from: undefined,
    to: undefined,
    limit: 1000,
    showAnchor: false,
  };

  it('shows the same entries from them, without them, and where only some are left', async () => {
    const opened = await temp.open();
    const { builder, run } = await newLog(10);
    const { processId } = builder;
    const all = run.entries.slice(1);
    await opened.store.append([run]);
    for (let count = 1; all.length < 150; count += 1) {
      const onto = builder.head;
      const more = await builder.messages(count);
      // Of these the JSON is not stored.
      if (count % 4 === 0) more.push(await builder.message({ data: Buffer.alloc(70_000, 'x') }));
      await opened.store.append([runOf(onto, ...more)]);
      all.push(...more);
    }
    const expected = all.map(({ bundle }) => renderNode(parseMessageBundle(bundle)));
    const texts = (found: readonly LogEntry[]): string[] =>
      found.map(({ node }) => Buffer.from(node).toString());
    const assertSame = async (reader: typeof opened.reader): Promise<void> => {
      expect(texts(await collect(reader.readRange({ ...query, processId })))).to.deep.equal(
        expected,
      );
      for (const limit of [1, 7, 8, 33, 100]) {
        const inside = { ...query, processId, from: 20, limit };
        expect(texts(await collect(reader.readRange(inside)))).to.deep.equal(
          expected.slice(20, 20 + limit),
        );
      }
      const since = {
        ...query,
        processId,
        by: 'timestamp',
        from: all[40]?.head.timestamp,
      } as const;
      const upTo = { ...since, to: all[90]?.head.timestamp };
      expect(texts(await collect(reader.readRange(since)))).to.deep.equal(expected.slice(41));
      expect(texts(await collect(reader.readRange(upTo)))).to.deep.equal(expected.slice(41, 91));
      const [last, inner] = [all.at(-1), all[50]];
      expect(Buffer.from((await reader.findLatest(processId))?.node ?? []).toString()).to.equal(
        expected.at(-1),
      );
      const found = await reader.findEntry(inner?.messageId ?? processId, undefined);
      expect(Buffer.from(found?.node ?? []).toString()).to.equal(expected[50]);
      expect(last).not.to.equal(undefined);
    };
    await assertSame(opened.reader);
    await opened.close();
    for (const lost of [[33], [1, 65, 97, 129]]) {
      const database = await Database.open(join(temp.folder, 'db'), { createIfMissing: false });
      const puts = new BatchPuts(database);
      for (const nonce of lost) {
        const key = stretchKey({ processId, epoch: 0, nonce });
        if (nonce < 129) expect(database.read('nodes', key)).not.to.equal(undefined);
        puts.remove('nodes', key);
      }
      await puts.write({ sync: false });
      await database.close();
      const again = await temp.open();
      await assertSame(again.reader);
      await again.close();
    }
  });
});
