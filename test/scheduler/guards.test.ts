import { expect } from 'chai';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeRouterClient } from '../../src/lib/arweave/router-client.js';
import { isSuError } from '../../src/lib/errors.js';
import { ownerAddress } from '../../src/lib/protocol/data-item.js';
import { makeFairShares } from '../../src/lib/scheduler/fair-shares.js';
import { makeRouterCheck } from '../../src/lib/scheduler/router-check.js';
import { makeSizeLimit } from '../../src/lib/scheduler/size-limit.js';
import { fakeMessageItem, randomId, tagsOf } from '../support/item-factory.js';

async function codeOf(work: () => unknown): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    return isSuError(error) ? error.code : String(error);
  }
}

describe('the size limit of messages', () => {
  const processId = randomId();
  const from = randomId();
  const item = (bytes: number, tags = tagsOf()) => {
    const empty = fakeMessageItem(processId, { tags, data: '' }).bytes.length;
    return fakeMessageItem(processId, { tags, data: Buffer.alloc(bytes - empty, 'x') });
  };
  const policy = { bytesMax: 2_500, owners: [], fromProcesses: [], fromOwners: [] };

  it('takes a message of the limit, and refuses one byte more', async () => {
    const check = makeSizeLimit(policy);
    expect(await codeOf(() => check(item(2_500)))).to.equal(undefined);
    expect(() => check(item(2_501)))
      .to.throw('the message has 2501 bytes, and 2500 is the most this SU takes')
      .with.property('code', 'body-too-large');
  });

  it('takes any size from a listed owner', async () => {
    const message = item(3_000);
    const check = makeSizeLimit({ ...policy, owners: [ownerAddress(message)] });
    expect(await codeOf(() => check(message))).to.equal(undefined);
    expect(await codeOf(() => check(item(3_000)))).to.equal('body-too-large');
  });

  it('takes any size from a listed process only when the owner is listed with it', async () => {
    const message = item(3_000, tagsOf(['From-Process', from]));
    const owner = ownerAddress(message);
    const listed = { ...policy, fromProcesses: [from], fromOwners: [owner] };
    expect(await codeOf(() => makeSizeLimit(listed)(message))).to.equal(undefined);
    for (const half of [
      { ...listed, fromOwners: [] },
      { ...listed, fromProcesses: [] },
    ]) {
      expect(await codeOf(() => makeSizeLimit(half)(message))).to.equal('body-too-large');
    }
  });
});

describe('fair shares of the queues', () => {
  const hot = randomId();
  const owner = randomId();

  function waiting(): { work: () => Promise<void>; end: () => void } {
    let end = (): void => undefined;
    const over = new Promise<void>((resolve) => (end = resolve));
    return { work: () => over, end };
  }

  it('lets a process have as much under way as its share, and another one besides', async () => {
    const shares = makeFairShares({ perProcess: 2, perOwner: 0 });
    const { work, end } = waiting();
    const who = { processId: hot, owner };
    const under = [shares.run(who, work), shares.run(who, work)];
    const failure = await shares.run(who, work).catch((error: unknown) => error);
    expect(failure).to.include({ code: 'process-busy', retryAfterSeconds: 2 });
    expect((failure as Error).message).to.equal(
      `process ${hot} is busy: 2 of its messages wait, and it may have no more`,
    );
    expect(await shares.run({ processId: randomId(), owner }, () => Promise.resolve(7))).to.equal(
      7,
    );
    end();
    await Promise.all(under);
    expect(await shares.run(who, () => Promise.resolve(8))).to.equal(8);
  });

  it('gives half of a share of a process to assigns, which nobody signs, and keeps the rest for messages', async () => {
    const shares = makeFairShares({ perProcess: 3, perOwner: 0 });
    const assign = { processId: hot, owner: undefined };
    const { work, end } = waiting();
    const under = [shares.run(assign, work), shares.run(assign, work)];
    const failure = await shares.run(assign, work).catch((error: unknown) => error);
    expect(failure).to.include({ code: 'process-busy', retryAfterSeconds: 2 });
    expect((failure as Error).message).to.equal(
      `process ${hot} is busy: 2 of its assigns wait, and it may have no more`,
    );
    expect(await shares.run({ processId: hot, owner }, () => Promise.resolve(7))).to.equal(7);
    end();
    await Promise.all(under);
    expect(await shares.run(assign, () => Promise.resolve(8))).to.equal(8);
  });

  it('lets an assign through where a share is one place', async () => {
    const shares = makeFairShares({ perProcess: 1, perOwner: 0 });
    const assign = { processId: hot, owner: undefined };
    expect(await shares.run(assign, () => Promise.resolve(7))).to.equal(7);
  });

  it('counts the messages of an owner over all processes, and gives a share back after a failure', async () => {
    const shares = makeFairShares({ perProcess: 0, perOwner: 1 });
    const { work, end } = waiting();
    const under = shares.run({ processId: hot, owner }, work);
    expect(await codeOf(() => shares.run({ processId: randomId(), owner }, work))).to.equal(
      'owner-busy',
    );
    expect(
      await shares.run({ processId: hot, owner: undefined }, () => Promise.resolve('assign')),
    ).to.equal('assign');
    end();
    await under;
    const fail = (): Promise<never> => Promise.reject(new Error('no'));
    for (let round = 0; round < 3; round += 1) {
      expect(await codeOf(() => shares.run({ processId: hot, owner }, fail))).to.equal('Error: no');
    }
  });
});

describe('the check with the router', () => {
  const processId = randomId();
  let answer: (response: ServerResponse) => void;
  let asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    answer(response);
  });
  let url = '';
  before((done) => {
    server.listen(0, '127.0.0.1', () => {
      url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      done();
    });
  });
  after((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
  beforeEach(() => (asked = []));

  const redirect =
    (location: string) =>
    (response: ServerResponse): void =>
      void response.writeHead(307, { location }).end();
  const status =
    (code: number) =>
    (response: ServerResponse): void =>
      void response.writeHead(code).end('{}');

  async function check(assignment: string, base = url, timeoutMs = 2_000) {
    const router = makeRouterClient({ url: `${base}/`, timeoutMs });
    const code = await codeOf(() => makeRouterCheck(router, assignment)(processId));
    router.close();
    return code;
  }

  const path = `/${processId}?process-id=${processId}`;
  for (const [assignment, location, allowed] of [
    ['7', `https://su7.ao.example${path}`, true],
    ['7', `https://su07.ao.example${path}`, true],
    ['7', `https://su8.ao.example${path}`, false],
    ['7', `https://su77.ao.example${path}`, false],
    ['7', `http://su7.ao.example${path}`, false],
    ['7', `https://other.example${path}`, false],
    ['https://a.example', `https://a.example${path}`, true],
    ['https://a.example/', `https://a.example:443${path}`, true],
    ['https://a.example/su1', `https://a.example/su1${path}`, true],
    ['https://a.example/su1', `https://a.example/su11${path}`, false],
    ['https://a.example', `https://a.example.evil.example${path}`, false],
    ['https://a.example', `http://a.example${path}`, false],
  ] as const) {
    it(`${allowed ? 'lets' : 'does not let'} ${assignment} spawn what is placed at ${location.slice(0, -90)}`, async () => {
      answer = redirect(location);
      expect(await check(assignment)).to.equal(allowed ? undefined : 'not-allowed');
      expect(asked).to.deep.equal([path]);
    });
  }

  it('lets spawn what the router does not know', async () => {
    for (const code of [400, 404]) {
      answer = status(code);
      expect(await check('7')).to.equal(undefined);
    }
  });

  it('refuses what a router that forwards finds on some SU', async () => {
    answer = status(200);
    expect(await check('7')).to.equal('not-allowed');
  });

  it('spawns nothing while the router fails, is slow, floods or is away', async () => {
    answer = status(500);
    expect(await check('7')).to.equal('gateway-unavailable');
    answer = status(429);
    expect(await check('7')).to.equal('gateway-unavailable');
    answer = () => undefined;
    expect(await check('7', url, 50)).to.equal('gateway-timeout');
    answer = redirect('http://[');
    expect(await check('7')).to.equal('gateway-unavailable');
    answer = (response) => void response.writeHead(500).end('x'.repeat(1_000_000));
    expect(await check('7')).to.equal('gateway-unavailable');
    expect(await check('7', 'http://127.0.0.1:1')).to.equal('gateway-unavailable');
  });
});
