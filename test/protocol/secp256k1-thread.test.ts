import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { parseDataItem } from '../../src/lib/protocol/data-item.js';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { Secp256k1Thread, startVerifyWorker } from '../../src/lib/protocol/secp256k1-thread.js';
import type { Secp256k1Signature } from '../../src/lib/protocol/secp256k1.js';
import { oracleItem, oracleSigner } from './oracle-signers.js';

describe('the thread that verifies secp256k1 signatures', function () {
  this.timeout(20_000);
  let thread: Secp256k1Thread;
  let job: Secp256k1Signature;

  before(async () => {
    const item = parseDataItem(await oracleItem(await oracleSigner(3), 'data'), 'posted');
    const { owner, signature } = item;
    job = { signatureType: 3, owner, signature, message: signatureMessageSync(item) };
  });

  beforeEach(() => {
    thread = new Secp256k1Thread();
  });

  afterEach(() => thread.close());

  it('answers each of many that ask at once with its own outcome', async () => {
    const wrong = { ...job, message: Buffer.alloc(48, 1) };
    const jobs = Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? wrong : job));
    const outcomes = await Promise.all(jobs.map((each) => thread.verify(each)));
    expect(outcomes).to.deep.equal(jobs.map((each) => each === job));
  });

  it('refuses whoever comes while 1024 wait, and takes up again afterwards', async () => {
    const waiting = Array.from({ length: 1024 }, () => thread.verify(job));
    const error = await thread.verify(job).catch((reason: unknown) => reason);
    expect(isSuError(error, 'scheduler-busy')).to.equal(true);
    const settled = Promise.allSettled(waiting);
    await thread.close();
    await settled;
    expect(await thread.verify(job)).to.equal(true);
  });

  it('refuses those who wait when it is ended, and starts again for the next', async () => {
    const waiting = thread.verify(job).catch((reason: unknown) => reason);
    await thread.close();
    expect(isSuError(await waiting, 'scheduler-busy')).to.equal(true);
    expect(await thread.verify(job)).to.equal(true);
  });

  it('refuses those who wait when it dies, with the reason for the log, and starts again', async () => {
    const dying = `const { parentPort } = require('node:worker_threads');
      parentPort.on('message', () => { throw new Error('out of luck'); });`;
    let starts = 0;
    const mortal = new Secp256k1Thread(() => {
      starts += 1;
      return starts === 1 ? new Worker(dying, { eval: true }) : startVerifyWorker();
    });
    const errors = await Promise.all(
      [job, job].map((each) => mortal.verify(each).catch((reason: unknown) => reason)),
    );
    for (const error of errors) {
      expect(isSuError(error, 'scheduler-busy')).to.equal(true);
      expect(String((error as Error).cause)).to.include('out of luck');
    }
    expect(await mortal.verify(job)).to.equal(true);
    expect(starts).to.equal(2);
    await mortal.close();
  });

  it('keeps the program alive while somebody waits, and no longer', async () => {
    const source = new URL('../../src/lib/protocol/secp256k1-thread.ts', import.meta.url).href;
    const script = `const { Secp256k1Thread } = await import(${JSON.stringify(source)});
      const bytes = (length) => new Uint8Array(length);
      const job = { signatureType: 3, owner: bytes(65), message: bytes(48), signature: bytes(65) };
      new Secp256k1Thread().verify(job).then((verified) => console.log('verified', verified));`;
    const args = ['--import', 'tsx', '--input-type=module', '-e', script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 15_000 });
    expect(stdout).to.equal('verified false\n');
  });

  it('may be closed twice and without having been used', async () => {
    await thread.close();
    await thread.close();
  });
});
