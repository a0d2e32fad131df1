import { expect } from 'chai';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  BLOB_REF_BYTES,
  encodeBlobRef,
  readBlobRef,
  removeBlobs,
  type BlobRef,
} from '../../../src/lib/storage/rocksdb/blob-files.js';
import { BlobReader } from '../../../src/lib/storage/rocksdb/blob-reader.js';
import { BlobWriter } from '../../../src/lib/storage/rocksdb/blob-writer.js';

const blobOf = (index: number): Buffer => Buffer.alloc(1 + ((index * 7919) % 5000), index % 256);

describe('blob files', () => {
  let folder: string;
  let writer: BlobWriter;
  let reader: BlobReader;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'su-blobs-'));
    writer = new BlobWriter(folder);
    reader = new BlobReader(folder);
  });

  afterEach(async () => {
    await writer.close();
    reader.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const append = (count: number): readonly BlobRef[] =>
    Array.from({ length: count }, (_, index) => writer.append(blobOf(index)));
  const read = async (refs: readonly BlobRef[]): Promise<readonly Buffer[]> =>
    (await reader.read(refs)).map(({ bytes }) => Buffer.from(bytes));
  const failureOf = async (refs: readonly BlobRef[]): Promise<string> =>
    reader.read(refs).then(
      () => 'no failure',
      (error: unknown) => String(error),
    );

  /** Runs lines with a `writer` where no file may get larger than one or two megabytes, as the shell likes; gives what they print. */
  const runLimited = (lines: string): string => {
    const sourceOf = (name: string): string =>
      JSON.stringify(new URL(`../../../src/lib/storage/rocksdb/${name}`, import.meta.url).href);
    const program = `
      import { statSync } from 'node:fs';
      import { encodeBlobRef } from ${sourceOf('blob-files.ts')};
      import { BlobWriter } from ${sourceOf('blob-writer.ts')};
      process.on('SIGXFSZ', () => {});
      const writer = new BlobWriter(${JSON.stringify(folder)});
      ${lines}
    `;
    const shell = 'ulimit -f 2000; exec "$@"';
    const node = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', program];
    const { stdout, stderr } = spawnSync('sh', ['-c', shell, 'sh', ...node], { encoding: 'utf8' });
    expect(stderr).to.equal('');
    return stdout;
  };

  for (const how of ['at once', 'on the thread pool']) {
    it(`give back what was appended ${how}, in whatever order`, async () => {
      const blobs = Array.from({ length: 600 }, (_, index) => blobOf(index));
      const refs = how === 'at once' ? append(600) : writer.beginAppend(blobs);
      await writer.flush();
      expect(await read(refs)).to.deep.equal(blobs);
    });
  }

  it('are read one by one, and together', async () => {
    const refs = append(600);
    expect(await read(refs)).to.deep.equal(refs.map((_, index) => blobOf(index)));
    const some = [5, 3, 4, 300, 301, 302, 3];
    expect(await read(some.map((index) => refs[index] as BlobRef))).to.deep.equal(some.map(blobOf));
    expect(reader.readSync(refs[77] as BlobRef)).to.deep.equal(blobOf(77));
    expect(await read([])).to.deep.equal([]);
  });

  it('have references of a fixed length', () => {
    const ref = { file: 4_000_000_000, offset: 2 ** 40, length: 77, checksum: 0xffff_ffff };
    const value = encodeBlobRef(ref);
    expect(value).to.have.lengthOf(BLOB_REF_BYTES);
    expect(readBlobRef(value, 0)).to.deep.equal(ref);
  });

  it('go on in the last file, also by another writer, and in a new one when that is full', async () => {
    const small = (): BlobWriter => new BlobWriter(folder, { fileBytesMax: 100_000 });
    const refs: BlobRef[] = [];
    let used = small();
    for (let round = 0; round < 12; round += 1) {
      const blob = Buffer.alloc(30_000, round);
      refs.push(...(round % 2 === 0 ? used.beginAppend([blob]) : [used.append(blob)]));
      if (round % 3 !== 1) continue;
      await used.close();
      used = small();
    }
    await used.close();
    expect(refs.map(({ file }) => file)).to.deep.equal([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    const blobs = await read(refs);
    expect(blobs.every((blob, round) => blob.equals(Buffer.alloc(30_000, round)))).to.equal(true);
  });

  it('overlap nothing when no new file can be made for a while', async () => {
    const used = new BlobWriter(folder, { fileBytesMax: 100_000 });
    const large = Array.from({ length: 40 }, (_, index) => Buffer.alloc(100_000, index));
    const refs = used.beginAppend(large);
    const next = join(folder, 'blobs', '00000002.blob');
    mkdirSync(next);
    expect(() => used.append(blobOf(1))).to.throw('EISDIR');
    rmdirSync(next);
    const later = used.append(blobOf(1));
    await used.flush();
    await used.close();
    expect(later).to.include({ file: 2, offset: 0 });
    expect(await read([...refs, later])).to.deep.equal([...large, blobOf(1)]);
  });

  it('are made when they are needed, and removed with their database', () => {
    expect(writer.beginAppend([])).to.deep.equal([]);
    expect(readdirSync(folder)).to.deep.equal([]);
    append(1);
    expect(readdirSync(join(folder, 'blobs'))).to.deep.equal(['00000001.blob']);
    removeBlobs(folder);
    removeBlobs(folder);
    expect(readdirSync(folder)).to.deep.equal([]);
  });

  it('tell what is cut short, overwritten or gone, and give the rest', async () => {
    const refs = append(100);
    await writer.close();
    const path = join(folder, 'blobs', '00000001.blob');
    const last = refs.at(-1) as BlobRef;
    truncateSync(path, statSync(path).size - 1);
    expect(await failureOf([last])).to.match(/at \d+ of 00000001\.blob is cut short/);
    expect(() => reader.readSync(last)).to.throw('is cut short');
    const whole = refs.slice(0, -1);
    expect(await read(whole)).to.have.lengthOf(99);
    const changed = refs[50] as BlobRef;
    writeFileSync(path, Buffer.from([1]), { flag: 'r+' });
    expect(await failureOf([refs[0] as BlobRef])).to.contain('its checksum differs');
    expect(await failureOf([{ ...changed, offset: changed.offset + 1 }])).to.contain('checksum');
    expect(await failureOf([{ ...changed, file: 9 }])).to.contain('ENOENT');
    expect(await read(refs.slice(1, -1))).to.have.lengthOf(98);
  });

  it('are read to the end by those who began before the reader was closed', async () => {
    const refs = append(200);
    const reading = read(refs);
    reader.close();
    expect(await reading).to.have.lengthOf(200);
    expect(await failureOf(refs)).to.contain('the store is closed');
  });

  it('are more than may be open at one time', async () => {
    const used = new BlobWriter(folder, { fileBytesMax: 1 });
    const refs = Array.from({ length: 150 }, (_, index) => used.append(blobOf(index)));
    await used.close();
    expect(refs.at(-1)?.file).to.equal(150);
    const turns = Array.from({ length: 5 }, () => read(refs.toReversed()));
    for (const blobs of await Promise.all(turns)) {
      expect(blobs).to.deep.equal(refs.map((_, index) => blobOf(index)).toReversed());
    }
    if (existsSync('/proc/self/fd')) {
      expect(readdirSync('/proc/self/fd').length).to.be.lessThan(150);
    }
  });

  it('lose nothing that was appended before an append that failed', async () => {
    const stdout = runLimited(`
      const refs = [];
      let failures = 0;
      for (let index = 0; index < 40; index += 1) {
        try {
          const blobs = [Buffer.alloc(30_000, index), Buffer.alloc(index % 2 === 0 ? 100 : 200_000, index)];
          const appended = index % 3 === 0 ? [writer.append(blobs[1])] : writer.beginAppend(blobs);
          await writer.flush();
          refs.push(...appended);
        } catch { failures += 1; }
      }
      console.log(JSON.stringify({ failures, refs: refs.map((ref) => encodeBlobRef(ref).toString('hex')) }));
    `);
    const { failures, refs } = JSON.parse(stdout) as { failures: number; refs: string[] };
    expect(failures).to.be.greaterThan(5);
    expect(refs.length).to.be.greaterThan(5);
    const places = refs.map((ref) => readBlobRef(Buffer.from(ref, 'hex'), 0));
    expect(await read(places)).to.have.lengthOf(refs.length);
  });

  it('give back the room of an append that failed', async () => {
    const stdout = runLimited(`
      const refs = [writer.append(Buffer.alloc(400_000, 1))];
      writer.keep();
      const sizes = [];
      const note = () => sizes.push(statSync(${JSON.stringify(join(folder, 'blobs', '00000001.blob'))}).size);
      const large = Buffer.alloc(3_000_000, 2);
      for (let round = 0; round < 3; round += 1) {
        try { writer.append(large); } catch { note(); }
        writer.beginAppend([Buffer.alloc(1000), large]);
        await writer.flush().catch(() => writer.cutOff().then(note));
      }
      refs.push(writer.append(Buffer.alloc(1000, 3)));
      console.log(JSON.stringify({ sizes, refs: refs.map((ref) => encodeBlobRef(ref).toString('hex')) }));
    `);
    const { sizes, refs } = JSON.parse(stdout) as { sizes: number[]; refs: string[] };
    expect(sizes).to.deep.equal(Array.from({ length: 6 }, () => 400_000));
    const places = refs.map((ref) => readBlobRef(Buffer.from(ref, 'hex'), 0));
    expect(await read(places)).to.deep.equal([Buffer.alloc(400_000, 1), Buffer.alloc(1000, 3)]);
  });

  it('are cut off in every file that was begun for them', async () => {
    const used = new BlobWriter(folder, { fileBytesMax: 1000 });
    const first = used.append(Buffer.alloc(600, 1));
    used.keep();
    for (let file = 1; file < 4; file += 1) used.append(Buffer.alloc(1000, 9));
    expect(used.newEnd).to.deep.equal({ file: 3, offset: 1000 });
    await used.cutOff();
    const sizes = readdirSync(join(folder, 'blobs')).map(
      (name) => statSync(join(folder, 'blobs', name)).size,
    );
    expect(sizes).to.deep.equal([600, 0, 0]);
    const next = used.append(Buffer.alloc(10, 2));
    expect(next).to.include({ file: 3, offset: 0 });
    await used.close();
    expect(await read([first, next])).to.deep.equal([Buffer.alloc(600, 1), Buffer.alloc(10, 2)]);
  });

  it('are written over where nothing is named behind a known end', async () => {
    const sizeOf = (name: string): number => statSync(join(folder, 'blobs', name)).size;
    const first = writer.append(Buffer.alloc(500, 1));
    writer.append(Buffer.alloc(300, 9));
    await writer.close();
    const again = new BlobWriter(folder, { end: { file: 1, offset: 500 } });
    const second = again.append(Buffer.alloc(300, 2));
    again.beginFile();
    again.append(Buffer.alloc(300, 9));
    await again.close();
    const later = new BlobWriter(folder, { end: { file: 1, offset: 800 } });
    const third = later.append(Buffer.alloc(300, 3));
    await later.close();
    expect([second, third].map(({ file, offset }) => [file, offset])).to.deep.equal([
      [1, 500],
      [2, 0],
    ]);
    expect([sizeOf('00000001.blob'), sizeOf('00000002.blob')]).to.deep.equal([800, 300]);
    const blobs = await read([first, second, third]);
    expect(blobs.map((blob) => blob[0])).to.deep.equal([1, 2, 3]);
  });

  it('go on behind what there is when less is there than was known', async () => {
    await writer.close();
    const ends = [
      { file: 7, offset: 10 },
      { file: 1, offset: 10_000 },
    ];
    for (const end of ends) {
      const used = new BlobWriter(folder, { end });
      expect(used.append(Buffer.alloc(100, 1))).to.include({ file: 1 });
      await used.close();
    }
    expect(statSync(join(folder, 'blobs', '00000001.blob')).size).to.equal(200);
  });
});
