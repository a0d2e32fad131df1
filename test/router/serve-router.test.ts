import { expect } from 'chai';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runSu } from '../cli/run-su.js';
import { startCluster, type Cluster } from '../support/cluster.js';
import { openFakeList } from '../support/fake-list.js';
import { quickProcess, quickWallet } from '../support/signed-items.js';
import { waitFor, type SuProcess } from '../support/su-process.js';

const wallet = quickWallet();

function locationOf(answer: Response): string | undefined {
  return answer.headers.get('location')?.replace(/\/$/, '');
}

function post(url: string, body: Uint8Array): Promise<Response> {
  return fetch(url, { method: 'POST', redirect: 'manual', body });
}

async function logged(program: SuProcess, event: string, count = 1): Promise<string> {
  const lines = (): string[] =>
    program
      .output()
      .split('\n')
      .filter((line) => line.includes(`"event":"${event}"`));
  await waitFor(
    () => (lines().length >= count ? true : undefined),
    () => `${event} was not logged ${count} times:\n${program.output()}`,
    10_000,
  );
  return lines().at(-1) ?? '';
}

describe('su serve router', function () {
  this.timeout(120_000);
  let cluster: Cluster;

  before(async () => {
    cluster = await startCluster({ size: 2 });
  });
  after(() => cluster.close());

  const urls = (): string[] => cluster.schedulers.map(({ url }) => url);

  it('reads its list again on SIGHUP; a list that is wrong changes nothing and is named with its line', async () => {
    const [first = '', second = ''] = urls();
    await cluster.writeList([{ url: first }]);
    const router = await cluster.startRouter('hangup');
    const placed = quickProcess(wallet);
    expect(locationOf(await post(router.url, placed.bytes))).to.equal(first);

    await writeFile(cluster.listPath, '[\n  {"url": "http://a"},\n]');
    process.kill(router.pid, 'SIGHUP');
    expect(await logged(router, 'scheduler-list-refused')).to.match(
      /schedulers.json, line 3: expected a value/,
    );
    expect(locationOf(await post(router.url, quickProcess(wallet).bytes))).to.equal(first);

    await cluster.writeList([{ url: second }]);
    process.kill(router.pid, 'SIGHUP');
    expect(await logged(router, 'scheduler-not-listed'))
      .to.include(first)
      .and.include('"processes":2');
    for (let count = 0; count < 3; count += 1) {
      expect(locationOf(await post(router.url, quickProcess(wallet).bytes))).to.equal(second);
    }
    expect(locationOf(await post(router.url, placed.bytes))).to.equal(first);
    expect(await router.stop('SIGTERM')).to.equal(0);
  });

  it('refuses to start with a list that is wrong, naming file, line and reason, with status 2', async () => {
    await writeFile(cluster.listPath, '[{"url": "http://a",\n  "no_rout": true}]');
    const { status, stderr } = await runSu(['serve', 'router', '0'], {
      env: { ...cluster.routerEnv('refused') },
    });
    expect(status).to.equal(2);
    expect(stderr).to.match(
      /^su: SCHEDULER_LIST_PATH: .*schedulers\.json, line 2: "no_rout" is not known/,
    );
  });

  it('starts with SUs by URL, beside an SU in the same folder, with --local', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'su-router-local-'));
    const { startSu } = await import('../support/su-process.js');
    const router = await startSu({
      cwd,
      mode: 'router',
      env: {},
      args: ['--local', ...urls().flatMap((url) => ['--su', url])],
    });
    try {
      const answers = [];
      for (let count = 0; count < 4; count += 1) {
        answers.push(locationOf(await post(router.url, quickProcess(wallet).bytes)));
      }
      expect(answers).to.deep.equal([...urls(), ...urls()]);
      const time = (await (await fetch(`${router.url}/timestamp`)).json()) as object;
      expect(time).to.include({ block_height: '000001500000' });
    } finally {
      await router.stop('SIGKILL');
      await rm(cwd, { recursive: true });
    }
  });

  it('serves the processes of a list alone, and lets the addresses of a list write', async () => {
    await cluster.writeList(urls().map((url) => ({ url })));
    const known = quickProcess(wallet);
    const first = await cluster.startRouter('listed', { ROUTER_FORWARD: 'proxy' });
    expect((await post(first.url, known.bytes)).status).to.equal(200);
    await first.stop('SIGTERM');

    const processes = await openFakeList({
      json: { sus: {}, processes: { [known.id]: { su: 'https://su.example', db_name: 'su' } } },
    });
    const addresses = await openFakeList({ json: ['127.0.0.1'] });
    try {
      const router = await cluster.startRouter('listed', {
        PROCESS_WHITELIST_URL: processes.url,
        IP_WHITELIST_URL: addresses.url,
        TRUST_PROXY: '127.0.0.1',
      });
      await waitFor(
        async () => ((await post(router.url, known.bytes)).status === 503 ? undefined : true),
        () => `the lists were not loaded:\n${router.output()}`,
        10_000,
      );
      const statusOf = async (path: string): Promise<number> =>
        (await fetch(router.url + path, { redirect: 'manual' })).status;
      expect(await statusOf(`/${known.id}`)).to.equal(307);
      expect(await statusOf(`/${'A'.repeat(43)}/latest`)).to.equal(403);
      expect((await post(router.url, known.bytes)).status).to.equal(307);
      expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(403);
      const elsewhere = await fetch(router.url, {
        method: 'POST',
        redirect: 'manual',
        headers: { 'x-real-ip': '203.0.113.7' },
        body: known.bytes,
      });
      expect(elsewhere.status).to.equal(403);
      const health = (await (await fetch(`${router.url}/health?verbose`)).json()) as {
        lists: { name: string; loaded: boolean }[];
      };
      expect(health.lists.map(({ name, loaded }) => [name, loaded])).to.deep.equal([
        ['IP_WHITELIST_URL', true],
        ['PROCESS_WHITELIST_URL', true],
      ]);
    } finally {
      await processes.close();
      await addresses.close();
    }
  });

  it('carries a spawn to an SU and finds nothing wrong with it afterwards, beside the router and without it', async () => {
    await cluster.writeList(urls().map((url) => ({ url })));
    const router = await cluster.startRouter('checked', { ROUTER_FORWARD: 'proxy' });
    for (let count = 0; count < 6; count += 1) {
      expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(200);
    }
    const env = { ...cluster.routerEnv('checked') };
    const beside = await runSu(['routers:check', '--json'], { env });
    expect([beside.status, beside.stderr]).to.deep.equal([0, '']);
    const report = JSON.parse(beside.stdout) as { sample: object; schedulers: object[] };
    expect(report.sample).to.include({ asked: 6, found: 6 });
    expect(report.schedulers[0]).to.include({
      url: urls()[0],
      health: 'ready',
      processCount: 3,
      placements: 3,
    });

    await router.stop('SIGTERM');
    const alone = await runSu(['routers:check', '--fix'], { env });
    expect(alone.status, alone.stdout + alone.stderr).to.equal(0);
    expect(alone.stdout)
      .to.match(/^scheduler +where +health/)
      .and.match(/no fault$/m);

    await cluster.writeList([{ url: urls()[0], no_route: true }, { url: urls()[1] }]);
    const changed = await runSu(['routers:check'], { env });
    expect(changed.status).to.equal(1);
    expect(changed.stdout).to.match(/^fault: .* no_route differ from the list/m);
  });

  it('reports a store that is not there yet, and makes none', async () => {
    await cluster.writeList(urls().map((url) => ({ url })));
    const env = { ...cluster.routerEnv('never') };
    for (let count = 0; count < 2; count += 1) {
      const { status, stdout } = await runSu(['routers:check'], { env });
      expect(status, stdout).to.equal(0);
      expect(stdout).to.match(/^notice: the database holds no Scheduler Unit yet/m);
    }
  });
});
