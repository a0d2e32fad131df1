import { expect } from 'chai';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../support/postgres.js';
import { waitFor } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import { runSu, spawnSu, spawnSuOnto } from './run-su.js';

const { commands } = JSON.parse(
  readFileSync(new URL('../../oclif.manifest.json', import.meta.url), 'utf8'),
) as { commands: Readonly<Record<string, unknown>> };
const COMMANDS = Object.keys(commands);

describe('su', () => {
  it('shows help without arguments where there is no terminal', async () => {
    const { status, stdout } = await runSu([]);
    expect(status).to.equal(0);
    expect(stdout).to.include('USAGE');
  });

  it('tells its version', async () => {
    const { status, stdout } = await runSu(['--version']);
    expect(status).to.equal(0);
    expect(stdout).to.match(/^ao-su\/\d+\.\d+\.\d+ /);
  });

  for (const command of COMMANDS) {
    it(`explains ${command} with examples and exit statuses`, async () => {
      const { status, stdout } = await runSu([command, '--help']);
      expect(status).to.equal(0);
      expect(stdout).to.include('EXAMPLES').and.include('Exit status:');
    });
  }

  it('answers "su help serve" as it does "su serve --help"', async () => {
    const [help, flag] = await Promise.all([runSu(['help', 'serve']), runSu(['serve', '--help'])]);
    expect(help.stdout).to.equal(flag.stdout);
  });

  for (const args of [['-', 'postgres'], ['root']]) {
    it(`says where the other su is, called su ${args.join(' ')}`, async () => {
      const { status, stdout, stderr } = await runSu(args);
      expect(status).to.equal(2);
      expect(stdout).to.equal('');
      expect(stderr).to.match(/^su: this is su, the ao Scheduler Unit.*\/bin\/su.*\n$/);
    });
  }

  it('answers a wrong flag with one line and status 2', async () => {
    const { status, stderr } = await runSu(['serve', '--port', '1']);
    expect(status).to.equal(2);
    expect(stderr).to.equal('su: Nonexistent flag: --port (--help tells more)\n');
  });

  it('does not take a topic and a word for done', async () => {
    const { status, stdout, stderr } = await runSu(['db', 'migrate', '--status']);
    expect({ status, stdout }).to.deep.equal({ status: 2, stdout: '' });
    expect(stderr).to.equal('su: a command is one word: su db:migrate --status\n');
  });

  it('ends quietly when the reader of its output has gone', async () => {
    const child = spawnSu(['db:migrate', '--help']);
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdout.destroy();
    const [status] = (await once(child, 'close')) as [number];
    expect({ status, stderr }).to.deep.equal({ status: 141, stderr: '' });
  });

  it('says in one line that its output cannot be written', async function () {
    if (!existsSync('/dev/full')) this.skip();
    const full = openSync('/dev/full', 'w');
    try {
      const child = spawnSuOnto(['db:migrate', '--help'], { stdout: full });
      let stderr = '';
      child.stderr?.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
      const [status] = (await once(child, 'close')) as [number];
      expect(status).to.equal(2);
      expect(stderr).to.match(/^su: the output cannot be written: .*ENOSPC.*\n$/);
    } finally {
      closeSync(full);
    }
  });

  it('runs no code from SU_DATA_DIR', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'su-plugin-'));
    try {
      const plugin = join(folder, 'node_modules', 'planted');
      mkdirSync(plugin, { recursive: true });
      const entry = { name: 'planted', type: 'user', version: '1.0.0' };
      const user = { oclif: { plugins: [entry] } };
      const pjson = {
        name: 'planted',
        version: '1.0.0',
        oclif: { commands: './commands', hooks: { init: './hook.js' } },
      };
      writeFileSync(join(folder, 'package.json'), JSON.stringify(user));
      writeFileSync(join(plugin, 'package.json'), JSON.stringify(pjson));
      const mark = join(folder, 'was-run');
      writeFileSync(
        join(plugin, 'hook.js'),
        `module.exports = async () => require('fs').writeFileSync(${JSON.stringify(mark)}, '');`,
      );
      await runSu(['db:migrate', '--help'], { env: { SU_DATA_DIR: folder } });
      await runSu(['wallet:info'], { env: { SU_DATA_DIR: folder } });
      expect(existsSync(mark)).to.equal(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('shows a stack trace only when DEBUG is set', async () => {
    const { stderr } = await runSu(['db:migrate'], { env: { DEBUG: '1' } });
    expect(stderr).to.match(/^ +at /m);
    expect((await runSu(['db:migrate'])).stderr).to.not.match(/^ +at /m);
  });
});

describe('su in a folder', () => {
  let cwd = '';
  beforeEach(() => {
    cwd = mkdtempSync(join(tmpdir(), 'su-cli-'));
  });
  afterEach(() => rmSync(cwd, { recursive: true }));

  it('reports all that serve lacks at once, with status 2, and leaves nothing behind', async () => {
    const { status, stderr } = await runSu(['serve', 'su', '99999'], { cwd });
    expect(status).to.equal(2);
    for (const name of ['SU_WALLET_PATH', 'GATEWAY_URL', 'UPLOAD_NODE_URL', 'PORT', '--local']) {
      expect(stderr).to.include(name);
    }
    expect(existsSync(join(cwd, 'su-data'))).to.equal(false);
  });

  it('reports all that serve router lacks at once, with status 2', async () => {
    const { status, stderr } = await runSu(['serve', 'router', '99999'], { cwd });
    expect(status).to.equal(2);
    for (const name of ['SU_WALLET_PATH', 'SCHEDULER_LIST_PATH', 'PORT', '--local --su']) {
      expect(stderr).to.include(name);
    }
    expect(stderr).not.to.match(/GATEWAY_URL|UPLOAD_NODE_URL/);
    expect(existsSync(join(cwd, 'su-data'))).to.equal(false);
  });

  it('reads .env', async () => {
    writeFileSync(join(cwd, '.env'), 'SU_WALLET_PATH=no-such-wallet.json\n');
    const { status, stderr } = await runSu(['wallet:info'], { cwd });
    expect(status).to.equal(2);
    expect(stderr).to.include('no-such-wallet.json');
  });

  it('says what a file is that is no wallet, as JSON too', async () => {
    writeFileSync(join(cwd, 'wallet.json'), '{"kty":"EC","crv":"P-256","d":"s3cret"}');
    const env = { SU_WALLET_PATH: 'wallet.json' };
    const { status, stdout, stderr } = await runSu(['wallet:info', '--json'], { cwd, env });
    expect(status).to.equal(2);
    expect(JSON.parse(stdout)).to.have.property('code', 'invalid-wallet');
    expect(stderr).to.match(/^su: .*wallet\.json/);
    expect(stdout + stderr).to.not.include('s3cret');
  });

  it('wants DATABASE_URL for db:migrate', async () => {
    const { status, stderr } = await runSu(['db:migrate'], { cwd });
    expect(status).to.equal(2);
    expect(stderr).to.match(/^su: DATABASE_URL is not set/);
  });

  it('ends with status 2 when the database is away', async () => {
    const env = { DATABASE_URL: 'postgres://su:s3cret@127.0.0.1:1/su' };
    for (const args of [['db:migrate', '--status'], ['outbox:list']]) {
      const { status, stderr } = await runSu(args, { cwd, env });
      expect(status, stderr).to.equal(2);
      expect(stderr)
        .to.match(/^su: .+\n$/)
        .and.not.include('s3cret');
    }
  }).timeout(60_000);

  it('finds nothing to look at where no store is, and makes none', async () => {
    await testWallet('scheduler');
    for (const args of [
      ['verify'],
      ['outbox:list'],
      ['bundles:seal'],
      ['outbox:requeue', '--all'],
    ]) {
      const env = { SU_WALLET_PATH: testWalletPath('scheduler') };
      const { status, stdout, stderr } = await runSu(args, { cwd, env });
      expect({ status, stdout }, args[0]).to.deep.equal({ status: 2, stdout: '' });
      expect(stderr).to.match(/^su: there is no store in .*su-data /);
    }
    expect(existsSync(join(cwd, 'su-data'))).to.equal(false);
  });

  it('wants keys or --all for outbox:retry, one of the two', async () => {
    for (const args of [[], ['17', '--all']]) {
      const { status, stderr } = await runSu(['outbox:retry', ...args], { cwd });
      expect(status).to.equal(2);
      expect(stderr).to.match(/name the keys of rows, or --all/);
    }
    expect(existsSync(join(cwd, 'su-data'))).to.equal(false);
  });
});

describe('su serve su whose log cannot be written', function () {
  this.timeout(60_000);
  let cwd = '';
  beforeEach(() => {
    cwd = mkdtempSync(join(tmpdir(), 'su-cli-'));
  });
  afterEach(() => rmSync(cwd, { recursive: true }));

  /** Asks often enough that lines are written, and is answered nevertheless. */
  async function answers(port: number): Promise<void> {
    for (let count = 0; count < 100; count += 1) {
      const answer = await fetch(`http://127.0.0.1:${port}/${'a'.repeat(43)}`);
      expect(answer.status).to.equal(404);
      await answer.arrayBuffer();
    }
  }

  it('goes on when the disk under its log is full', async function () {
    if (!existsSync('/dev/full')) this.skip();
    const port = await freePort();
    const stderr = openSync('/dev/full', 'w');
    const child = spawnSuOnto(['serve', 'su', String(port), '--local'], { stderr }, { cwd });
    closeSync(stderr);
    await untilHealthy(port);
    await answers(port);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).to.deep.equal([0, null]);
  });

  it('goes on, and finishes what was taken, when the reader of its log has gone', async () => {
    const port = await freePort();
    const child = spawnSu(['serve', 'su', String(port), '--local'], { cwd });
    await untilHealthy(port);
    child.stderr.destroy();
    await answers(port);
    child.kill('SIGTERM');
    expect(await once(child, 'close')).to.deep.equal([0, null]);
  });
});

async function untilHealthy(port: number): Promise<void> {
  const url = `http://127.0.0.1:${port}/health`;
  await waitFor(
    async () => ((await fetch(url).catch(() => undefined))?.status === 200 ? true : undefined),
    () => `${url} is not healthy`,
  );
}

describe('su serve su --local', () => {
  let cwd = '';
  let child: ReturnType<typeof spawnSu>;
  let exited: Promise<unknown>;
  let output = '';

  before(async function () {
    this.timeout(90_000);
    cwd = mkdtempSync(join(tmpdir(), 'su-cli-'));
    child = spawnSu(['serve', 'su', '0', '--local'], { cwd });
    exited = once(child, 'close');
    const opened = new Promise<void>((resolve, reject) => {
      const onData = (chunk: Buffer): void => {
        output += chunk.toString();
        if (/^Listening|"event":"serving"/im.test(output)) resolve();
      };
      child.stdout.on('data', onData);
      child.stderr.on('data', onData);
      void exited.then(() => reject(new Error(output)), reject);
    });
    await opened;
  });
  after(async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(cwd, { recursive: true });
  });

  it('makes a wallet that only its owner can read, and shows its address', async () => {
    expect(statSync(join(cwd, 'su-data', 'wallet.json')).mode & 0o777).to.equal(0o600);
    const { stdout } = await runSu(['wallet:info', '--local', '--json'], { cwd });
    const wallet = JSON.parse(stdout) as { address: string };
    expect(wallet).to.have.all.keys('address', 'keyBits', 'file').and.include({ keyBits: 4096 });
    expect(output).to.include(wallet.address);
    expect((await runSu(['wallet:info', '--local'], { cwd })).stdout).to.include(wallet.address);
  });

  it('answers the outbox commands beside it', async () => {
    const list = await runSu(['outbox:list', '--json'], { cwd });
    expect(list.status, list.stderr).to.equal(0);
    expect(JSON.parse(list.stdout)).to.deep.equal({ pending: 0, parked: 0, rows: [] });
    const retry = await runSu(['outbox:retry', '--all'], { cwd });
    expect(retry).to.include({ status: 0, stdout: '0 made due\n' });
    const unknown = await runSu(['outbox:retry', 'no-such-key'], { cwd });
    expect(unknown).to.include({ status: 1, stderr: 'su: 1 of 1 keys name no parked row\n' });
  });

  it('keeps its folder from a second server', async () => {
    const second = await runSu(['serve', 'su', '0', '--local'], { cwd });
    expect(second.status, second.stderr).to.equal(2);
  });

  it('ends with 0 on SIGTERM', async () => {
    child.kill('SIGTERM');
    expect(await exited).to.deep.equal([0, null]);
  });
});
