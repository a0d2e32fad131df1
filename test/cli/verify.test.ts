import { expect } from 'chai';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Id } from '../../src/lib/protocol/ids.js';
import { Database } from '../../src/lib/storage/rocksdb/database.js';
import { entryKey } from '../../src/lib/storage/rocksdb/keys.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { runSu, type SuRun } from './run-su.js';

interface Line {
  readonly type: string;
  readonly [key: string]: unknown;
}

const WALLET = quickWallet();
const MESSAGES = 12;

function linesOf({ stdout }: SuRun): readonly Line[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

async function post(url: string, bytes: Uint8Array): Promise<void> {
  const response = await fetch(url, { method: 'POST', body: new Uint8Array(bytes) });
  if (response.status !== 200) throw new Error(await response.text());
}

describe('su verify', () => {
  let cwd = '';
  let su: SuProcess;
  let processId: Id;

  before(async function () {
    this.timeout(120_000);
    cwd = mkdtempSync(join(tmpdir(), 'su-verify-'));
    su = await startSu({ cwd, env: {}, args: ['--local'] });
    const process = quickProcess(WALLET);
    processId = process.id;
    await post(su.url, process.bytes);
    await post(su.url, quickProcess(WALLET).bytes);
    for (let sent = 0; sent < MESSAGES; sent += 1) {
      await post(su.url, quickMessage(WALLET, processId).bytes);
    }
  });
  after(async () => {
    await su.stop('SIGKILL');
    rmSync(cwd, { recursive: true });
  });

  it('explains itself with examples and exit statuses', async () => {
    const { status, stdout } = await runSu(['verify', '--help']);
    expect(status).to.equal(0);
    expect(stdout).to.include('EXAMPLES').and.include('Exit status:');
  });

  it('audits the store of a running server through it', async () => {
    const run = await runSu(['verify'], { cwd });
    expect(run.status, run.stdout + run.stderr).to.equal(0);
    const entries = MESSAGES + 2;
    expect(run.stdout).to.match(
      new RegExp(
        `^2 processes, ${entries} entries, ${2 * entries} signatures verified in .*: 0 faults, 0 warnings`,
      ),
    );
    expect((await fetch(`${su.url}/health`)).status).to.equal(200);
  }).timeout(60_000);

  it('audits one process over HTTP', async () => {
    const run = await runSu(['verify', processId, '--url', su.url, '--json'], { cwd });
    expect(run.status, run.stdout + run.stderr).to.equal(0);
    const [note, summary] = linesOf(run);
    // Anchors of random bytes are in no JSON.
    expect(note).to.include({ type: 'finding', code: 'not-verifiable', severity: 'information' });
    expect(summary).to.include({ type: 'summary', processes: 1, entries: MESSAGES + 1 });
    expect(summary?.['severities']).to.deep.equal({ fault: 0, warning: 0, information: 1 });
  }).timeout(60_000);

  it('takes an id that begins with a hyphen for an id, wherever it stands', async () => {
    const id = '-JRkFuuVbHkYfRxv68xbDrt592P1ReJfi_0pvRpySBI';
    const orders = [
      ['verify', id, '--url', su.url],
      ['verify', '--url', su.url, id],
      ['verify', '--url', su.url, '--', id],
    ];
    for (const args of orders) {
      const run = await runSu(args, { cwd });
      expect(run.stdout + run.stderr, args.join(' '))
        .to.include(id)
        .and.not.include('flag');
    }
  }).timeout(60_000);

  it('ends with 2 when it cannot run', async () => {
    const nobody = 'http://127.0.0.1:1';
    const cases: readonly (readonly string[])[] = [
      ['--url', su.url],
      [processId, '--url', 'ftp://example.org'],
      ['not-an-id'],
      ['--since', 'yesterday'],
      ['--checkpoint', join(cwd, 'no-such-folder', 'place'), '--no-signatures'],
      ['--store', '--url', su.url, processId],
    ];
    const verify = (args: readonly string[]): ReturnType<typeof runSu> =>
      runSu(['verify', ...args], { cwd });
    const [json, ...runs] = await Promise.all([
      verify([processId, '--url', nobody, '--json']),
      ...cases.map(verify),
    ]);
    for (const [index, run] of runs.entries()) {
      const args = cases[index]?.join(' ');
      expect(run.status, `${args}: ${run.stdout}${run.stderr}`).to.equal(2);
      expect(run.stderr, args).to.match(/^su: .+\n$/);
    }
    expect(json.status).to.equal(2);
    expect(linesOf(json)[0]).to.include({ code: 'store-unavailable' });
  }).timeout(120_000);

  it('names the process, the nonce and what is wrong, and ends with 1', async function () {
    this.timeout(120_000);
    await su.stop('SIGTERM');
    const database = await Database.open(join(cwd, 'su-data', 'db'), { createIfMissing: false });
    const batch = database.batch();
    const key = (nonce: number): Buffer => entryKey({ processId, epoch: 0, nonce, suffix: 0 });
    const bundle = Buffer.from(database.read('bundles', key(4)) ?? []);
    bundle[bundle.length - 1] = (bundle.at(-1) ?? 0) ^ 1;
    batch.put(key(4), bundle, { column: database.column('bundles') });
    for (const column of ['nodes', 'bundles'] as const) {
      batch.del(key(8), { column: database.column(column) });
    }
    await batch.write({ sync: true });
    await database.close();
    const checkpoint = join(cwd, 'place');
    const run = await runSu(['verify', '--checkpoint', checkpoint], { cwd });
    expect(run.status, run.stderr).to.equal(1);
    const [first, second, summary] = run.stdout.split('\n');
    expect(first).to.match(
      new RegExp(
        `^fault {2}message-signature {2}${processId} nonce 4: expected a signature of .*stored-json`,
      ),
    );
    expect(second).to.equal(
      `fault  nonce-hole  ${processId} nonce 8: expected nonce 8, found nonce 9`,
    );
    expect(summary).to.include('2 faults, 0 warnings');
    expect(existsSync(checkpoint)).to.equal(false);
    const quick = await runSu(['verify', processId, '--no-signatures', '--json'], { cwd });
    expect(
      linesOf(quick)
        .map(({ code, nonce }) => `${String(code)} ${String(nonce)}`)
        .slice(0, 2),
    ).to.deep.equal(['stored-json 4', 'nonce-hole 8']);
    expect(quick.status).to.equal(1);
  });
});
