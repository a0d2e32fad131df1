import { expect } from 'chai';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { isSuError, SuError } from '../../src/lib/errors.js';
import type { PreparedRows, RowSource, RowSpan } from '../../src/lib/migrator/ports.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { makeTestDisk, type TestDisk } from '../support/disk.js';
import { generateRows } from '../support/generate-rows.js';
import { migratedDatabase, type TestDatabase } from '../support/postgres.js';

const ROWS = 3000;

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'no error';
  } catch (error) {
    return isSuError(error) ? `${error.code}: ${error.message}` : String(error);
  }
}

describe('a migration from the database to the disk', function () {
  this.timeout(60_000);
  let database: TestDatabase;
  let disk: TestDisk;

  before(async () => {
    database = await migratedDatabase();
    await generateRows(database.url, ROWS);
  });
  after(() => database.drop());
  beforeEach(async () => {
    disk = await makeTestDisk(database.url);
  });
  afterEach(() => disk.destroy());

  /** Every log is complete on the disk up to its head. */
  async function expectComplete(): Promise<void> {
    const { copy } = await disk.open();
    let messages = 0;
    for await (const piece of disk.sources.logs.readHeads(0)) {
      for (const { processId, head } of piece) {
        const watermark = await copy.findWatermark(processId);
        expect(head).to.not.equal(undefined);
        expect(watermark).to.include({ nonce: head?.nonce, hashChain: head?.hashChain });
        expect(watermark?.isOrdered).to.equal(true);
        if (watermark !== undefined) messages += await copy.countMessages(processId, watermark);
      }
    }
    const [row] = await database.query<{ count: string }>('select count(*) from messages');
    expect(messages).to.equal(Number(row?.count));
  }

  it('copies everything, the same bytes, and knows of every log that it is complete', async () => {
    const summary = await disk.migrate('0', { segments: 3, verify: true });
    expect(summary).to.include({
      range: '0',
      rows: ROWS,
      rowsCopied: ROWS,
      rowsVerified: ROWS,
      processes: 21,
      segments: 3,
    });
    await expectComplete();
  });

  it('has nothing to do when it is run again, and with --restart copies all again', async () => {
    await disk.migrate('0');
    expect(await disk.migrate('0')).to.include({ rows: ROWS, rowsCopied: 0 });
    expect(await disk.migrate('0', { restart: true })).to.include({ rowsCopied: ROWS });
  });

  it('with --restart takes no more room than before, once it is complete', async () => {
    const blobs = async (): Promise<readonly string[]> =>
      readdir(join(disk.folder, 'db', 'blobs')).then((names) => names.toSorted());
    await disk.migrate('0');
    expect(await blobs()).to.deep.equal(['00000001.blob']);
    await disk.migrate('1000-2000', { restart: true });
    expect(await blobs(), 'both are needed').to.deep.equal(['00000001.blob', '00000002.blob']);
    await disk.migrate('0', { restart: true, verify: true });
    expect(await blobs()).to.deep.equal(['00000003.blob']);
    const stop = new AbortController();
    const stopped = disk.migrate('0', {
      restart: true,
      signal: stop.signal,
      onBatch: () => stop.abort(),
    });
    expect(await codeOf(stopped)).to.match(/^interrupted/);
    expect(await blobs(), 'not complete').to.deep.equal(['00000003.blob', '00000004.blob']);
    await disk.close();
    await disk.migrate('0');
    expect(await blobs(), 'complete').to.deep.equal(['00000004.blob']);
    await disk.close();
    await expectComplete();
    expect(await disk.migrate('0', { verify: true })).to.include({ rowsCopied: 0 });
  });

  it('says what of its blob files is damaged, removes it when told, and with --restart copies it again', async () => {
    await disk.migrate('0');
    await disk.close();
    const path = join(disk.folder, 'db', 'blobs', '00000001.blob');
    const bytes = await readFile(path);
    for (let at = 100; at < bytes.length; at += 997) bytes[at] = 0x5a;
    await writeFile(path, bytes);
    expect(await codeOf(disk.migrate('0', { verify: true }))).to.match(
      /^refused-by-store: \d{3,} of 3000 rows are not on the disk.*has no bundle on the disk.*--restart/,
    );
    const [row] = await database.query<{ process_id: Id }>(
      'select process_id from messages limit 1',
    );
    const { copy } = await disk.open();
    await copy.forget(row?.process_id as Id);
    expect(await copy.findWatermark(row?.process_id as Id)).to.equal(undefined);
    const summary = await disk.migrate('0', { restart: true, verify: true });
    expect(summary).to.include({ rowsCopied: ROWS, rowsVerified: ROWS });
    await expectComplete();
  });

  it('takes ranges in any order: they neither overlap nor leave a row out', async () => {
    const copied = [];
    for (const range of ['2000', '0-1000', '1000-2000']) {
      copied.push((await disk.migrate(range)).rowsCopied);
    }
    expect(copied).to.deep.equal([1000, 1000, 1000]);
    await expectComplete();
  });

  it('shows nothing of a log behind rows that are missing', async () => {
    await disk.migrate('0-1000');
    await disk.migrate('2000');
    const { copy } = await disk.open();
    const [long] = await database.query<{ process_id: string; nonce: number }>(
      `select process_id, max(nonce) as nonce from (select * from messages order by row_id limit 1000) first
        group by process_id order by 2 desc limit 1`,
    );
    const watermark = await copy.findWatermark(long?.process_id as never);
    expect(watermark?.nonce).to.equal(long?.nonce);
  });

  it('ends an open range with the table, also one that asks for more', async () => {
    expect(await disk.migrate(`${ROWS - 10}-${ROWS + 500}`)).to.include({
      rows: 10,
      rowsCopied: 10,
    });
    expect(await disk.migrate(String(ROWS + 1))).to.include({ rows: 0, rowsCopied: 0 });
  });

  it('waits for rows that are being written, and does not wait for later ones', async () => {
    const writer = new pg.Client({ connectionString: database.url });
    await writer.connect();
    const own = await migratedCopy();
    try {
      await writer.query('begin');
      await writer.query('lock table messages in row exclusive mode');
      let isDone = false;
      const horizon = own.sources.rows
        .readHorizon(new AbortController().signal)
        .then((row) => [row, (isDone = true)] as const);
      await new Promise((resolve) => setTimeout(resolve, 150));
      expect(isDone).to.equal(false);
      const late = new pg.Client({ connectionString: database.url });
      await late.connect();
      await late.query('begin; lock table messages in row exclusive mode');
      await writer.query('commit');
      const [last] = await database.query<{ last: number }>(
        'select max(row_id) as last from messages',
      );
      expect((await horizon)[0]).to.equal(last?.last);
      await late.end();
    } finally {
      await writer.end();
      await own.destroy();
    }
  });

  const migratedCopy = (): Promise<TestDisk> => makeTestDisk(database.url);

  it('stopped at a batch, goes on there and reads no row twice', async () => {
    const stop = new AbortController();
    let first = 0;
    const stopped = await codeOf(
      disk.migrate('0', {
        signal: stop.signal,
        onBatch: (rows) => {
          first += rows;
          if (first >= 500) stop.abort();
        },
      }),
    );
    expect(stopped).to.match(/^interrupted: .*su migrate-disk 0 goes on from there/);
    expect(first).to.be.lessThan(ROWS);
    expect((await disk.migrate('0', { verify: true })).rowsCopied).to.equal(ROWS - first);
    await expectComplete();
  });

  it('stopped while it copies the processes, says how to go on as well, and does', async () => {
    const stopped = await codeOf(disk.migrate('0', { signal: AbortSignal.abort() }));
    expect(stopped).to.match(/^interrupted: .*processes.*su migrate-disk 0 goes on from there/);
    expect((await disk.migrate('0', { verify: true })).rowsCopied).to.equal(ROWS);
    await expectComplete();
  });

  it('tries a failed batch again, and names the range when it stays failed', async () => {
    let failures = 3;
    const failing = (isDown: (span: RowSpan) => boolean): RowSource => ({
      ...bind(disk.sources.rows),
      readRows: async (span, rowsMax, take) => {
        if (isDown(span)) throw new SuError('store-unavailable', 'away');
        return disk.sources.rows.readRows(span, rowsMax, take);
      },
    });
    const passing = failing(() => failures-- > 0);
    expect((await disk.migrate('0-500', { source: passing })).rowsCopied).to.equal(500);
    const [middle] = await database.query<{ row_id: number }>(
      'select row_id from messages order by row_id offset 1500 limit 1',
    );
    const broken = failing(({ after }) => after > (middle?.row_id ?? 0));
    expect(await codeOf(disk.migrate('500', { source: broken }))).to.match(
      /^store-unavailable: range 500 is not complete, \d+ of its 2500 rows .*run su migrate-disk 500 again/,
    );
    await disk.migrate('500');
    await expectComplete();
  });

  it('says what differs when it compares', async () => {
    const { copy } = await disk.open();
    const lossy = {
      ...bindCopy(copy),
      prepareRows: () => {
        const prepared = copy.prepareRows();
        let rows = 0;
        // Loses the first row of each batch.
        const add = prepared.add.bind(prepared);
        prepared.add = (row) => {
          rows += 1;
          if (rows > 1) add(row);
        };
        return prepared;
      },
    };
    expect(await codeOf(disk.migrate('0', { copy: lossy, verify: true }))).to.match(
      /^refused-by-store: \d+ of 3000 rows are not on the disk.*is not on the disk.*--restart/,
    );
  });

  it('reads a batch again that could not be written', async () => {
    const { copy } = await disk.open();
    let failures = 2;
    const failing = {
      ...bindCopy(copy),
      writeRows: async (rows: PreparedRows, span: RowSpan) => {
        await copy.writeRows(rows, span);
        // It may or may not have been written.
        if (failures-- > 0) throw new SuError('store-unavailable', 'the disk is away');
      },
    };
    const summary = await disk.migrate('0', { copy: failing, segments: 3, verify: true });
    expect(summary).to.include({ rowsCopied: ROWS, rowsVerified: ROWS });
    expect(failures).to.be.lessThan(0);
    await expectComplete();
  });

  it('holds few batches in memory, however many segments there are', async () => {
    const { copy } = await disk.open();
    let held = 0;
    let heldMax = 0;
    const counting = {
      ...bindCopy(copy),
      prepareRows: () => {
        held += 1;
        heldMax = Math.max(heldMax, held);
        return copy.prepareRows();
      },
      writeRows: (rows: PreparedRows, span: RowSpan) =>
        copy.writeRows(rows, span).finally(() => (held -= 1)),
    };
    await disk.migrate('0', { copy: counting, segments: 12, batchRows: 50 });
    expect(heldMax).to.be.within(2, 3);
    await expectComplete();
  });

  it('ends when every segment fails at once, and goes on from there', async () => {
    const { copy } = await disk.open();
    const broken = {
      ...bindCopy(copy),
      writeRows: () => Promise.reject(new SuError('refused-by-store', 'no')),
    };
    expect(await codeOf(disk.migrate('0', { copy: broken, segments: 8 }))).to.equal(
      'refused-by-store: no',
    );
    expect(await disk.migrate('0', { verify: true })).to.include({ rowsCopied: ROWS });
    await expectComplete();
  });

  it('finds a message in all places that its rows give it', async () => {
    const own = await migratedDatabase();
    await generateRows(own.url, 300);
    // The first message of the long log again, behind its head.
    await own.query(
      `insert into messages (process_id, message_id, assignment_id, epoch, nonce, timestamp, hash_chain, message_data, bundle)
       select process_id, message_id, null, epoch, head + place, timestamp + head + place, hash_chain, '{}', bundle
         from (select * from messages order by row_id limit 1) first,
              lateral (select max(nonce) as head from messages m where m.process_id = first.process_id) log,
              generate_series(1, 3) as place`,
    );
    const theirs = await makeTestDisk(own.url);
    try {
      const [first] = await own.query<{ message_id: Id; process_id: Id; nonce: number }>(
        'select message_id, process_id, nonce from messages order by row_id limit 1',
      );
      // Two of the four in one batch.
      await theirs.migrate('0-302', { batchRows: 302 });
      await theirs.migrate('302', { batchRows: 1 });
      expect((await theirs.migrate('0', { verify: true })).rowsVerified).to.equal(303);
      const { copy, reader } = await theirs.open();
      const entry = await reader.findEntry(first?.message_id as Id, undefined);
      expect(entry?.nonce).to.equal(first?.nonce);
      const watermark = await copy.findWatermark(first?.process_id as Id);
      expect(watermark?.nonce).to.equal(153);
      await copy.forget(first?.process_id as Id);
      expect(await reader.findEntry(first?.message_id as Id, undefined)).to.equal(undefined);
    } finally {
      await theirs.destroy();
      await own.drop();
    }
  });

  it('refuses a folder that holds the copy of another database', async () => {
    await disk.migrate('0-10');
    const other = await migratedDatabase();
    await generateRows(other.url, 10);
    const theirs = await makeTestDisk(other.url);
    try {
      expect(await codeOf(disk.migrate('0', { source: theirs.sources.rows }))).to.match(
        /^folder-refused: the folder holds the copy of another database/,
      );
    } finally {
      await theirs.destroy();
      await other.drop();
    }
  });

  const bind = (rows: RowSource): RowSource => ({
    readHorizon: (signal) => rows.readHorizon(signal),
    readIdentity: () => rows.readIdentity(),
    countRows: (span) => rows.countRows(span),
    findRow: (span, count) => rows.findRow(span, count),
    readRows: (span, rowsMax, take) => rows.readRows(span, rowsMax, take),
    readProcesses: (after) => rows.readProcesses(after),
    readFloors: (after) => rows.readFloors(after),
    readProcessIds: (after) => rows.readProcessIds(after),
  });
  const bindCopy = (copy: Awaited<ReturnType<TestDisk['open']>>['copy']): typeof copy => ({
    findWatermark: (id) => copy.findWatermark(id),
    writePiece: (piece) => copy.writePiece(piece),
    prepareRows: () => copy.prepareRows(),
    writeRows: (rows, span) => copy.writeRows(rows, span),
    writeProcesses: (processes) => copy.writeProcesses(processes),
    settle: (logs) => copy.settle(logs),
    forget: (id) => copy.forget(id),
    countMessages: (id, through) => copy.countMessages(id, through),
    compareRows: (rows) => copy.compareRows(rows),
    readSpans: () => copy.readSpans(),
    clearSpans: () => copy.clearSpans(),
    removeUnused: () => copy.removeUnused(),
    readIdentity: () => copy.readIdentity(),
    writeIdentity: (identity) => copy.writeIdentity(identity),
  });
});
