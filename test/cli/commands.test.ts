import { expect } from 'chai';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSu, spawnSu } from './run-su.js';

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

  it('wants keys or --all for outbox:retry, one of the two', async () => {
    for (const args of [[], ['17', '--all']]) {
      const { status, stderr } = await runSu(['outbox:retry', ...args], { cwd });
      expect(status).to.equal(2);
      expect(stderr).to.match(/name the keys of rows, or --all/);
    }
    expect(existsSync(join(cwd, 'su-data'))).to.equal(false);
  });
});

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
