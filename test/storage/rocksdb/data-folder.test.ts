import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SuError } from '../../../src/lib/errors.js';
import { prepareDataFolder } from '../../../src/lib/storage/rocksdb/data-folder.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { newLog } from '../conformance/log-builder.js';

const CHILD = fileURLToPath(new URL('./appending-child.ts', import.meta.url));

async function refusal(work: Promise<unknown>): Promise<SuError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof SuError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}

describe('the data folder', () => {
  let temp: TempRocksdb;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
  });
  afterEach(() => temp.destroy());

  const mark = async (): Promise<unknown> =>
    JSON.parse(await readFile(join(temp.folder, 'su-data.json'), 'utf8'));

  it('is made with all folders above it, marked, and opened again', async () => {
    await rm(temp.folder, { recursive: true });
    const opened = await temp.open();
    await opened.close();
    expect(await mark()).to.deep.equal({
      format: 'su-data',
      layout: 4,
      state: 'ready',
      use: 'store',
    });
    await (await temp.open()).close();
  });

  it('of the version before is used, and belongs to this one from then on', async () => {
    await (await temp.open()).close();
    const path = join(temp.folder, 'su-data.json');
    await writeFile(path, '{"format":"su-data","layout":1,"state":"ready","use":"store"}\n');
    await (await temp.open()).close();
    const expected = { format: 'su-data', layout: 4, state: 'ready', use: 'store' };
    expect(await mark()).to.deep.equal(expected);
  });

  it('that is new goes to one of several that begin at once, and the others are told that it is in use', async () => {
    await rm(temp.folder, { recursive: true });
    const outcomes = await Promise.allSettled([1, 2, 3, 4].map(() => temp.open()));
    const opened = outcomes.filter((each) => each.status === 'fulfilled');
    expect(opened).to.have.length(1);
    for (const each of outcomes) {
      if (each.status === 'rejected') expect(each.reason).to.include({ code: 'folder-in-use' });
      else await each.value.close();
    }
    await (await temp.open()).close();
    expect(await mark()).to.deep.include({ state: 'ready' });
  });

  it('is accepted as a fresh volume, with what a killed first start left, and with files put in after its mark', async () => {
    await mkdir(join(temp.folder, 'lost+found'));
    await writeFile(join(temp.folder, 'su-data.json.new'), '{"form');
    const prepared = await prepareDataFolder(temp.folder);
    expect(prepared.isNew).to.equal(true);
    expect(await mark()).to.deep.include({ state: 'new' });
    await writeFile(join(temp.folder, 'wallet.json'), '{}');
    await mkdir(join(temp.folder, 'network'));
    const opened = await temp.open();
    await opened.close();
    expect(await mark()).to.deep.include({ state: 'ready' });
  });

  it('is refused when it holds something else, says the way out, and is not written to', async () => {
    await writeFile(join(temp.folder, 'CURRENT'), 'MANIFEST-000004\n');
    await writeFile(join(temp.folder, 'IDENTITY'), 'x');
    const error = await refusal(temp.open());
    expect(error.code).to.equal('folder-refused');
    expect(error.message)
      .to.contain(temp.folder)
      .and.to.contain('migrate-disk')
      .and.to.contain('CURRENT');
    expect((await readdir(temp.folder)).toSorted()).to.deep.equal(['CURRENT', 'IDENTITY']);
  });

  it('is refused when its mark is of another version or of another program', async () => {
    for (const [text, word] of [
      ['{"format":"su-data","layout":5,"state":"ready"}', 'version 5'],
      ['{"format":"other","layout":1}', 'su-data.json'],
      ['not json', 'su-data.json'],
      ['null', 'su-data.json'],
    ] as const) {
      await writeFile(join(temp.folder, 'su-data.json'), text);
      const error = await refusal(temp.open());
      expect(error.code).to.equal('folder-refused');
      expect(error.message).to.contain(word);
      expect(await readdir(temp.folder)).to.deep.equal(['su-data.json']);
    }
  });

  it('is refused when its database is gone, rather than begun anew', async () => {
    await (await temp.open()).close();
    await rm(join(temp.folder, 'db'), { recursive: true });
    const error = await refusal(temp.open());
    expect(error.code).to.equal('folder-refused');
    expect(error.message).to.contain('backup');
    expect(await readdir(temp.folder)).to.deep.equal(['su-data.json']);
  });

  it('is refused when it is a file', async () => {
    await rm(temp.folder, { recursive: true });
    await writeFile(temp.folder, '');
    expect((await refusal(temp.open())).code).to.equal('folder-refused');
  });

  it('is in use while it is open, in this program and in another', async () => {
    const opened = await temp.open();
    try {
      const { run, builder } = await newLog(1);
      await opened.store.append([run]);
      const error = await refusal(temp.open());
      expect(error.code).to.equal('folder-in-use');
      expect(error.message).to.contain(temp.folder);
      const child = spawn(process.execPath, ['--import', 'tsx', CHILD, temp.folder]);
      let said = '';
      child.stderr.on('data', (text: Buffer) => {
        said += text.toString('utf8');
      });
      const [code] = (await once(child, 'close')) as [number];
      expect(code).to.equal(1);
      expect(said).to.contain('folder-in-use');
      expect(await opened.store.readHeads([builder.processId])).to.deep.equal([builder.head]);
    } finally {
      await opened.close();
    }
  }).timeout(30_000);
});
