import { expect } from 'chai';
import { sha256Id } from '../../src/lib/protocol/ids.js';
import { openFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.js';
import { randomId } from '../support/item-factory.js';
import { idOf } from '../support/memory-store.js';
import { startRouterApp, type RunningRouter } from '../support/router-app.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';
import { waitFor } from '../support/su-process.js';

const wallet = quickWallet();

async function post(url: string, body: Uint8Array | undefined, path = '/'): Promise<Response> {
  return fetch(url + path, { method: 'POST', redirect: 'manual', ...(body && { body }) });
}

describe('a router that redirects', () => {
  let schedulers: FakeScheduler[];
  let router: RunningRouter;

  beforeEach(async () => {
    schedulers = await Promise.all([1, 2].map(() => openFakeScheduler()));
    router = await startRouterApp({
      schedulers: schedulers.map(({ url }, index) => `${url}${index === 1 ? '/base' : ''}`),
    });
  });
  afterEach(async () => {
    await router.close();
    await Promise.all(schedulers.map((each) => each.close()));
  });

  const urlOf = (index: number): string => schedulers[index]?.url ?? '';
  const countsOf = async (): Promise<number[]> =>
    (await router.routes.readSchedulers()).map(({ processCount }) => processCount);

  it('keeps path and query as they were sent, below a base path too', async () => {
    const items = [quickProcess(wallet), quickProcess(wallet)];
    for (const { bytes } of items) await post(router.url, bytes);
    const path = `/${items[1]?.id}?process-id=${items[1]?.id}&limit=%35&from=a%20b&x=é`;
    const answer = await fetch(router.url + path, { redirect: 'manual' });
    expect(answer.status).to.equal(307);
    expect(answer.headers.get('location')).to.equal(
      `${urlOf(1)}/base${path.replace('é', '%C3%A9')}`,
    );
  });

  it('answers HEAD like GET', async () => {
    const { id, bytes } = quickProcess(wallet);
    await post(router.url, bytes);
    const answer = await fetch(`${router.url}/${id}`, { method: 'HEAD', redirect: 'manual' });
    expect([answer.status, answer.headers.get('location')]).to.deep.equal([
      307,
      `${urlOf(0)}/${id}`,
    ]);
  });

  it('knows proc-id, takes `undefined` for absent, and refuses two that differ', async () => {
    const { id, bytes } = quickProcess(wallet);
    await post(router.url, bytes);
    const ask = (query: string): Promise<Response> =>
      fetch(`${router.url}/${randomId()}?${query}`, { redirect: 'manual' });
    expect((await ask(`proc-id=${id}`)).status).to.equal(307);
    expect((await ask(`process-id=undefined&proc-id=${id}`)).status).to.equal(307);
    expect((await ask('process-id=undefined')).status).to.equal(404);
    expect((await ask(`process-id=${id}&proc-id=${randomId()}`)).status).to.equal(400);
    expect((await ask(`process-id=${id}&process-id=${id}`)).status).to.equal(400);
  });

  it('answers 404 with a sentence for ids that cannot exist or are not known', async () => {
    for (const path of [
      '/abc',
      `/${'v'.repeat(43)}`,
      `/processes/${randomId()}`,
      `/${randomId()}/latest`,
    ]) {
      const answer = await fetch(router.url + path, { redirect: 'manual' });
      expect(answer.status, path).to.equal(404);
      expect(((await answer.json()) as { error: string }).error).to.match(
        /is not known to this router/,
      );
    }
  });

  it('sends a message to the SU of its process and refuses one for an unknown process', async () => {
    const process = quickProcess(wallet);
    await post(router.url, process.bytes);
    const sent = await post(router.url, quickMessage(wallet, process.id).bytes);
    expect([sent.status, sent.headers.get('location')]).to.deep.equal([307, `${urlOf(0)}/`]);
    expect((await post(router.url, quickMessage(wallet, randomId()).bytes)).status).to.equal(404);
  });

  it('sends an assign on without looking at its body, and checks the form of its ids', async () => {
    const { id, bytes } = quickProcess(wallet);
    await post(router.url, bytes);
    const path = `/?process-id=${id}&assign=${randomId()}&base-layer&exclude=Data,,Owner`;
    const answer = await post(router.url, Buffer.from('ignored'), path);
    expect([answer.status, answer.headers.get('location')]).to.deep.equal([307, urlOf(0) + path]);
    const status = async (query: string): Promise<number> =>
      (await post(router.url, undefined, `/?${query}`)).status;
    expect(await status(`process-id=${id}`)).to.equal(400);
    expect(await status(`assign=${id}`)).to.equal(400);
    expect(await status(`process-id=${id}&assign=abc`)).to.equal(400);
    expect(await status(`process-id=abc&assign=${id}`)).to.equal(400);
    expect(await status(`process-id=${'v'.repeat(43)}&assign=${id}`)).to.equal(404);
  });

  it('places nothing that no SU would take', async () => {
    const { bytes } = quickProcess(wallet);
    const flipped = Uint8Array.from(bytes);
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
    for (const body of [flipped, bytes.subarray(0, 50), new Uint8Array(0)]) {
      expect((await post(router.url, body)).status).to.equal(400);
    }
    expect(await countsOf()).to.deep.equal([0, 0]);
  });

  it('refuses a body above the limit with 413', async () => {
    await router.close();
    router = await startRouterApp({ schedulers: [urlOf(0)], body: { bodyBytesMax: 100 } });
    expect((await post(router.url, Buffer.alloc(101))).status).to.equal(413);
  });

  it("sends a wallet's processes where the list says, and names the place in the log", async () => {
    await router.close();
    const owner = sha256Id(wallet.owner);
    router = await startRouterApp({
      schedulers: [
        { url: urlOf(0), noRoute: false, walletsToRoute: [], walletsOnly: false },
        { url: urlOf(1), noRoute: false, walletsToRoute: [owner], walletsOnly: true },
      ],
    });
    for (const expected of [urlOf(1), urlOf(1)]) {
      const { id, bytes } = quickProcess(wallet);
      expect((await post(router.url, bytes)).headers.get('location')).to.equal(`${expected}/`);
      const line = router.lines.find((each) => each['id'] === id);
      expect(line).to.include({ scheduler: expected, kind: 'process', repeated: false });
    }
    const other = await post(router.url, quickProcess(quickWallet()).bytes);
    expect(other.headers.get('location')).to.equal(`${urlOf(0)}/`);
  });

  it('places no new process on an SU that is down or not ready, and goes on redirecting to it', async () => {
    await router.close();
    router = await startRouterApp({ schedulers: [urlOf(0), urlOf(1)], lookMs: 20 });
    const placed = quickProcess(wallet);
    expect((await post(router.url, placed.bytes)).headers.get('location')).to.equal(`${urlOf(0)}/`);
    for (const trouble of [503, undefined] as const) {
      const [first] = schedulers;
      if (first === undefined) throw new Error('there is no SU');
      if (trouble === undefined) await first.goDown();
      else first.health = trouble;
      while (router.circuit.takesNew(first.url))
        await new Promise((resolve) => setTimeout(resolve, 10));
      for (let count = 0; count < 3; count += 1) {
        const answer = await post(router.url, quickProcess(wallet).bytes);
        expect(answer.headers.get('location')).to.equal(`${urlOf(1)}/`);
      }
      const read = await fetch(`${router.url}/${placed.id}`, { redirect: 'manual' });
      expect([read.status, read.headers.get('location')]).to.deep.equal([
        307,
        `${urlOf(0)}/${placed.id}`,
      ]);
      if (trouble === undefined) await first.comeUp();
      first.health = 200;
      while (!router.circuit.takesNew(first.url))
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect((await post(router.url, quickProcess(wallet).bytes)).headers.get('location')).to.equal(
      `${urlOf(0)}/`,
    );
  });

  it('answers / and /timestamp itself: the height comes from the first SU that answers', async () => {
    expect(await (await fetch(router.url)).json()).to.deep.equal({
      address: idOf('router'),
      timestamp: '1700000000000',
    });
    expect((await fetch(`${router.url}/timestamp`)).status).to.equal(503);
    schedulers[0]?.answerWith((_request, response) => response.writeHead(500).end());
    schedulers[1]?.answerWith((request, response) => {
      expect(request.url).to.equal('/base/timestamp');
      response.end('{"timestamp":"1","block_height":"000001234567"}');
    });
    const answer = await waitFor(
      async () => {
        const asked = await fetch(`${router.url}/timestamp`);
        return asked.status === 200 ? asked : undefined;
      },
      () => 'no height was told',
      5_000,
    );
    expect(await answer.json()).to.deep.equal({
      timestamp: '1700000000000',
      block_height: '000001234567',
    });
  });

  for (const status of [200, 500]) {
    it(`asks for a height once a second for all who want it, told (200) or not: ${status}`, async () => {
      let now = 0;
      await router.close();
      router = await startRouterApp({ schedulers: [urlOf(0)], heightClock: () => now });
      const held: (() => void)[] = [];
      schedulers[0]?.answerWith((_request, response) => {
        held.push(() => response.writeHead(status).end('{"block_height":"000001234567"}'));
      });
      const told = status === 200 ? 200 : 503;
      const get = async (): Promise<number> => (await fetch(`${router.url}/timestamp`)).status;
      const questions = (count: number): Promise<true> =>
        waitFor(
          () => (held.length === count ? true : undefined),
          () => `${held.length} questions`,
          5_000,
        );
      const waiting = Promise.all(Array.from({ length: 20 }, get));
      await questions(1);
      held[0]?.();
      expect(await waiting).to.deep.equal(Array.from({ length: 20 }, () => told));
      now = 999;
      expect(await get()).to.equal(told);
      expect(held).to.have.length(1);
      now = 1_000;
      const later = get();
      await questions(2);
      held[1]?.();
      expect(await later).to.equal(told);
    });
  }

  it('is healthy, hides metrics that are off, and refuses other methods and paths with 404', async () => {
    expect((await fetch(`${router.url}/health`)).status).to.equal(200);
    expect((await fetch(`${router.url}/metrics`)).status).to.equal(404);
    expect((await fetch(`${router.url}/a/b/c`)).status).to.equal(404);
    expect((await fetch(router.url, { method: 'DELETE' })).status).to.equal(404);
    const open = await fetch(router.url, { headers: { origin: 'https://app.example' } });
    expect(open.headers.get('access-control-allow-origin')).to.be.oneOf([
      '*',
      'https://app.example',
    ]);
  });
});

describe('a router that discovers', () => {
  let schedulers: FakeScheduler[];
  let router: RunningRouter;

  beforeEach(async () => {
    schedulers = await Promise.all([1, 2, 3].map(() => openFakeScheduler()));
    router = await startRouterApp({ schedulers: schedulers.map(({ url }) => url), discover: {} });
  });
  afterEach(async () => {
    await router.close();
    await Promise.all(schedulers.map((each) => each.close()));
  });

  const urlOf = (index: number): string => schedulers[index]?.url ?? '';
  const questions = (): number => schedulers.reduce((sum, { seen }) => sum + seen.length, 0);
  const read = (id: string): Promise<Response> =>
    fetch(`${router.url}/${id}/latest`, { redirect: 'manual' });

  it('asks each SU once for a process it does not know, whoever asks, and remembers and counts it', async () => {
    const id = randomId();
    schedulers[1]?.processes.add(id);
    const answers = await Promise.all(Array.from({ length: 50 }, () => read(id)));
    for (const { status, headers } of answers) {
      expect([status, headers.get('location')]).to.deep.equal([307, `${urlOf(1)}/${id}/latest`]);
    }
    await read(id);
    expect(questions()).to.equal(3);
    expect((await router.routes.readSchedulers())[1]).to.include({ processCount: 1 });
    expect(await router.routes.findPlacement(id)).to.include({ processId: id });
  });

  it('remembers for a while that no SU knows a process', async () => {
    const id = randomId();
    const statuses = await Promise.all(
      Array.from({ length: 20 }, async () => (await read(id)).status),
    );
    expect(new Set(statuses)).to.deep.equal(new Set([404]));
    await read(id);
    expect(questions()).to.equal(3);
  });

  it('asks again when the while is over', async () => {
    await router.close();
    router = await startRouterApp({ schedulers: [urlOf(0)], discover: { unknownMs: 1 } });
    const id = randomId();
    expect((await read(id)).status).to.equal(404);
    schedulers[0]?.processes.add(id);
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await read(id)).status).to.equal(307);
  });

  it('refuses with 503 when too many unknown processes are being looked for', async () => {
    await router.close();
    router = await startRouterApp({
      schedulers: [urlOf(0)],
      discover: { atOnce: 1, waitingMax: 2 },
    });
    const statuses = await Promise.all(
      Array.from({ length: 30 }, async () => (await read(randomId())).status),
    );
    expect(new Set(statuses)).to.deep.equal(new Set([404, 503]));
  });

  it('does not say that a process is unknown while an SU cannot be asked', async () => {
    await schedulers[2]?.goDown();
    const id = randomId();
    expect((await read(id)).status).to.equal(502);
    schedulers[0]?.processes.add(id);
    const found = randomId();
    schedulers[0]?.processes.add(found);
    expect((await read(found)).status).to.equal(307);
  });

  it('finds the home of an old process when its spawn is posted again', async () => {
    const { id, bytes } = quickProcess(wallet);
    schedulers[2]?.processes.add(id);
    const answer = await post(router.url, bytes);
    expect(answer.headers.get('location')).to.equal(`${urlOf(2)}/`);
    const counts = (await router.routes.readSchedulers()).map(({ processCount }) => processCount);
    expect(counts).to.deep.equal([0, 0, 1]);
  });

  it('places a new process although an SU cannot be asked', async () => {
    await schedulers[2]?.goDown();
    expect((await post(router.url, quickProcess(wallet).bytes)).status).to.equal(307);
  });

  it('says in the log when two SUs have one process, and goes to the first', async () => {
    const id = randomId();
    for (const { processes } of schedulers.slice(1)) processes.add(id);
    expect((await read(id)).headers.get('location')).to.equal(`${urlOf(1)}/${id}/latest`);
    expect(router.lines.find(({ event }) => event === 'process-on-several')).to.deep.include({
      level: 'error',
      processId: id,
      urls: [urlOf(1), urlOf(2)],
    });
  });
});
