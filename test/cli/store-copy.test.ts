import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import type { CopyReport } from '../../src/lib/migrator/copy-store.js';
import { emptyDatabase, type TestDatabase } from '../support/postgres.js';
import { waitFor } from '../support/su-process.js';
import { makeTempRocksdb, type TempRocksdb } from '../support/temp-rocksdb.js';
import { newLog } from '../storage/conformance/log-builder.js';
import { runSu, spawnSu } from './run-su.js';

const LOGS = 40;
/** Messages of each, its process's own entry apart. */
const MESSAGES = 50;
const KILLS = 3;
/** A copy has about 14 MB. */
const FOLDER_STEP_BYTES = 2_000_000;

describe('su store:copy', function () {
  this.timeout(180_000);
  let cwd: string;
  let temp: TempRocksdb;
  let source: string;
  let database: TestDatabase;

  before(async () => {
    cwd = await mkdtemp(join(tmpdir(), 'su-store-copy-'));
    temp = await makeTempRocksdb(1000);
    source = temp.folder;
    database = await emptyDatabase();
    const { store, close } = await temp.open();
    for (let made = 0; made < LOGS; made += 1) await store.append([(await newLog(MESSAGES)).run]);
    await close();
  });
  after(async () => {
    await database.drop();
    await temp.destroy();
    await rm(cwd, { recursive: true, force: true });
  });

  const args = (from: string, to: string): string[] => ['store:copy', '--from', from, '--to', to];
  const copy = async (from: string, to: string): Promise<CopyReport> => {
    const { status, stdout, stderr } = await runSu([...args(from, to), '--json'], { cwd });
    expect(status, stderr).to.equal(0);
    return JSON.parse(stdout) as CopyReport;
  };
  const killWhen = async (from: string, to: string, isTime: () => Promise<unknown>) => {
    const child = spawnSu(args(from, to), { cwd });
    const exited = once(child, 'exit');
    await isTime();
    child.kill('SIGKILL');
    await exited;
  };
  const bytesOf = async (folder: string): Promise<number> => {
    let bytes = 0;
    // Files come and go while they are counted, and at first there is no folder.
    for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
      bytes += (await stat(join(folder, name)).catch(() => undefined))?.size ?? 0;
    }
    return bytes;
  };
  const countRows = async (table: string): Promise<number> => {
    const [found] = await database.query<{ there: string | null }>(
      `select to_regclass('${table}') as there`,
    );
    if (found?.there == null) return 0;
    const [row] = await database.query<{ count: string }>(`select count(*) from ${table}`);
    return Number(row?.count);
  };

  it('killed again and again, goes on behind what is there and ends with the same on both sides', async () => {
    const there: number[] = [];
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const enough = Math.floor((kill * LOGS * MESSAGES) / (2 * KILLS));
      await killWhen(source, database.url, () =>
        waitFor(
          async () => ((await countRows('messages')) >= enough ? true : undefined),
          () => `never ${enough} rows`,
        ),
      );
      there.push(await countRows('messages'));
    }
    expect(there).to.deep.equal(there.toSorted((one, other) => one - other));
    const before = there.at(-1) ?? 0;
    expect(before).to.be.within(1, LOGS * MESSAGES - 1);

    const last = await copy(source, database.url);
    expect(last).to.include({ processes: LOGS, messages: LOGS * MESSAGES, complete: true });
    expect(last.written).to.equal(LOGS * MESSAGES - before);
    // Nothing was uploaded yet: every process and every message still has to be.
    expect(await countRows('su_outbox')).to.equal(LOGS * (1 + MESSAGES));

    const again = await copy(source, database.url);
    expect(again).to.include({ written: 0, queued: 0, digest: last.digest });
    expect(await countRows('su_outbox')).to.equal(LOGS * (1 + MESSAGES));
  });

  it('and back into a folder, killed as often', async () => {
    const { digest } = await copy(source, database.url);
    const target = join(cwd, 'target');
    for (let kill = 1; kill <= KILLS; kill += 1) {
      const enough = kill * FOLDER_STEP_BYTES;
      await killWhen(database.url, target, () =>
        waitFor(
          async () => ((await bytesOf(target)) >= enough ? true : undefined),
          () => `never ${enough} bytes`,
        ),
      );
    }
    const last = await copy(database.url, target);
    expect(last).to.include({ processes: LOGS, messages: LOGS * MESSAGES, digest });
    expect(last.written).to.be.lessThan(LOGS * MESSAGES);
    expect(await copy(database.url, target)).to.include({ written: 0, queued: 0, digest });
  });
});
