import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { lockFolder, type FolderLock } from '../../src/lib/local-network/folder-lock.js';
import { openLocalNetwork } from '../../src/lib/local-network/local-network.js';

const outcome = (work: Promise<FolderLock>): Promise<FolderLock | string> =>
  work.catch((error: unknown) => (isSuError(error) ? error.code : String(error)));

describe('the lock of a local network', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-lock-'));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('is held by one at a time, and free again once it is closed', async () => {
    const first = await lockFolder(folder);
    expect(await outcome(lockFolder(folder))).to.equal('folder-in-use');
    await first.close();
    await first.close();
    await (await lockFolder(folder)).close();
    expect(await readdir(folder)).to.deep.equal([]);
  });

  it('of a program that was killed is taken over, by one of those that try', async () => {
    const path = JSON.stringify(join(folder, 'lock'));
    const script = `require('node:net').createServer().listen(${path}, () => console.log('held'));`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    expect(await outcome(lockFolder(folder))).to.equal('folder-in-use');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const outcomes = await Promise.all([1, 2].map(() => outcome(lockFolder(folder))));
    const locks = outcomes.filter((each) => typeof each !== 'string');
    expect(locks).to.have.length(1);
    expect(outcomes).to.include('folder-in-use');
    for (const lock of locks) await lock.close();
  });

  it('refuses a folder whose path no socket can have', async () => {
    expect(await outcome(lockFolder(join(folder, 'x'.repeat(120))))).to.equal('folder-refused');
  });

  it('keeps a second network from the files of the first', async () => {
    const quiet = { warn: () => {}, error: () => {} };
    const options = { folder, host: '127.0.0.1', port: 0, clock: Date.now, log: quiet };
    const network = await openLocalNetwork(options);
    try {
      const error: unknown = await openLocalNetwork(options).catch((reason: unknown) => reason);
      expect(isSuError(error, 'folder-in-use')).to.equal(true);
    } finally {
      await network.close();
    }
    await (await openLocalNetwork(options)).close();
  });
});
