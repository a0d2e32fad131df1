import { expect } from 'chai';
import type { RequestListener } from 'node:http';
import { makeLogClient, type LogClient } from '../../src/lib/arweave/log-client.js';
import { isSuError } from '../../src/lib/errors.js';
import { randomId } from '../support/item-factory.js';
import { startServer, type ListeningServer } from '../support/listening-server.js';

describe('the client for the logs of a Scheduler Unit', () => {
  const servers: ListeningServer[] = [];
  const clients: LogClient[] = [];
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    for (const server of servers.splice(0)) await server.close();
  });

  async function serve(listener: RequestListener): Promise<string> {
    const server = await startServer(listener);
    servers.push(server);
    return server.url;
  }

  function clientOf(url: string): LogClient {
    const client = makeLogClient({
      url,
      timeoutMs: 2000,
      connectionsMax: 2,
      pageEntries: 7,
      pause: () => Promise.resolve(),
    });
    clients.push(client);
    return client;
  }

  async function failureOf(work: Promise<unknown>): Promise<string> {
    const error: unknown = await work.then(
      () => 'no error',
      (reason: unknown) => reason,
    );
    return isSuError(error) ? `${error.code}: ${error.message}` : String(error);
  }

  it('asks for pages with all anchors, behind a router too and below a path', async () => {
    const asked: string[] = [];
    const su = await serve((request, response) => {
      asked.push(request.url ?? '');
      response.end('{"edges":[]}');
    });
    const router = await serve((request, response) => {
      response.writeHead(307, { location: `${su}${request.url}` }).end();
    });
    const id = randomId();
    expect(await clientOf(`${router}/base/`).fetchPage(id, -1)).to.deep.equal({ edges: [] });
    await clientOf(su).fetchFirstSince(id, 1000);
    expect(asked).to.deep.equal([
      `/base/${id}?process-id=${id}&from-nonce=-1&limit=7&show-anchor=true`,
      `/${id}?process-id=${id}&from=999&limit=1`,
    ]);
  });

  it('asks again a few times when it is told to come later', async () => {
    let count = 0;
    const url = await serve((_request, response) => {
      count += 1;
      response.writeHead(count < 3 ? 503 : 200).end('{}');
    });
    expect(await clientOf(url).fetchPage(randomId(), 3)).to.deep.equal({});
    expect(count).to.equal(3);
  });

  for (const status of [404, 400]) {
    it(`takes ${status} for a process that is not known`, async () => {
      const url = await serve((_request, response) => response.writeHead(status).end('{}'));
      expect(await clientOf(url).fetchProcess(randomId())).to.equal(undefined);
    });
  }

  it('says what is wrong with an answer', async () => {
    const busy = await serve((_request, response) => response.writeHead(500).end());
    expect(await failureOf(clientOf(busy).fetchPage(randomId(), 0))).to.match(
      /^store-unavailable: .*500/,
    );
    const text = await serve((_request, response) => response.end('hello'));
    expect(await failureOf(clientOf(text).fetchProcess(randomId()))).to.include('no JSON');
    const circle = await serve((request, response) => {
      response.writeHead(307, { location: request.url }).end();
    });
    expect(await failureOf(clientOf(circle).fetchPage(randomId(), 0))).to.include('redirects');
    for (const location of ['file:///etc/passwd', 'http://[', '//%zz@127.0.0.1:1/']) {
      const elsewhere = await serve((_request, response) => {
        response.writeHead(307, { location }).end();
      });
      expect(await failureOf(clientOf(elsewhere).fetchPage(randomId(), 0))).to.match(
        /^store-unavailable: .*(redirects|percent-encoded)/,
      );
    }
    expect(await failureOf(clientOf('http://127.0.0.1:1').fetchPage(randomId(), 0))).to.match(
      /^store-unavailable: /,
    );
  });
});
