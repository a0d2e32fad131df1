import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { idOf } from '../support/memory-store.js';
import { RawClient, startApp, type RunningApp } from '../support/scheduler-app.js';

describe('http/routes/read-log', () => {
  let app: RunningApp;
  const start = async (...args: Parameters<typeof startApp>): Promise<RunningApp> => {
    app = await startApp(...args);
    return app;
  };
  afterEach(() => app.server.close(1000));

  const get = (path: string, init?: RequestInit): Promise<Response> => fetch(app.url + path, init);

  describe('answers that clients do not read', () => {
    const MEGABYTES = 20_000_000;
    const stall = (path: string): RawClient => {
      const client = new RawClient(app);
      client.socket.pause();
      client.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
      return client;
    };
    const answered = async (count: number): Promise<void> => {
      while (app.lines.filter((line) => line['event'] === 'request').length < count)
        await new Promise(setImmediate);
    };
    const limits = { answersBytesMax: 30_000_000, smallAnswerBytesMax: 100_000 };

    it('are bounded: another large one is 503, a small one is not', async () => {
      await start({ limits: { ...limits, stalledMs: 60_000 } });
      const processId = app.log.addProcess('p');
      const large = app.log.addEntry(processId, 'm', { nonce: 0, dataBytes: MEGABYTES });
      const small = app.log.addEntry(processId, 's', { nonce: 1, dataBytes: 50_000 });
      const stalled = stall(`/${large.messageId}`);
      await answered(1);
      const refused = await get(`/${large.messageId}`);
      expect([refused.status, refused.headers.get('retry-after')]).to.deep.equal([503, '2']);
      expect((await get(`/${processId}?limit=1`)).status).to.equal(503);
      expect((await get(`/${small.messageId}`)).status).to.equal(200);
      stalled.socket.destroy();
      await stalled.closed;
      let status = 503;
      while (status === 503) {
        const response = await get(`/${large.messageId}`);
        status = response.status;
        expect((await response.arrayBuffer()).byteLength).to.be.greaterThan(0);
      }
      expect(status).to.equal(200);
    });

    it('are cut off when others need the room and they took nothing for a while', async () => {
      await start({ limits: { ...limits, stalledMs: 20 } });
      const processId = app.log.addProcess('p');
      const large = app.log.addEntry(processId, 'm', { nonce: 0, dataBytes: MEGABYTES });
      const stalled = stall(`/${large.messageId}`);
      await answered(1);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const response = await get(`/${large.messageId}`);
      expect(response.status).to.equal(200);
      expect(response.headers.get('content-length')).to.equal(String(large.node.length));
      expect((await response.arrayBuffer()).byteLength).to.equal(large.node.length);
      stalled.socket.resume();
      await stalled.closed;
      expect(stalled.received.length).to.be.lessThan(MEGABYTES);
    });

    it('leave the length to a HEAD', async () => {
      await start();
      const processId = app.log.addProcess('p');
      const large = app.log.addEntry(processId, 'm', { nonce: 0, dataBytes: MEGABYTES });
      const response = await get(`/${large.messageId}`, { method: 'HEAD' });
      expect(response.headers.get('content-length')).to.equal(String(large.node.length));
      expect(response.headers.get('content-type')).to.equal('application/json');
    });
  });

  describe('GET /{id}', () => {
    it('answers a page with its length', async () => {
      await start();
      const processId = app.log.addProcess('p', 1000);
      app.log.addEntry(processId, 'm', { nonce: 1, dataBytes: 10 });
      const response = await get(
        `/${processId}?process-id=${processId}&limit=undefined&from=undefined`,
      );
      const text = await response.text();
      expect(response.headers.get('content-type')).to.equal('application/json');
      expect(response.headers.get('content-length')).to.equal(String(Buffer.byteLength(text)));
      expect(text).to.match(
        /^\{"edges":\[\{"node":\{.*\},"cursor":"1001"\}\],"page_info":\{"has_next_page":false\}\}$/s,
      );
    });

    it('takes cursors and bounds by nonce as soon as one nonce parameter is there, and ignores from and to', async () => {
      await start();
      const processId = app.log.addProcess('p', 1000);
      for (const nonce of [1, 2, 3]) app.log.addEntry(processId, `m${nonce}`, { nonce });
      const response = await get(`/${processId}?from-nonce=1&from=abc&to=0`);
      const page = (await response.json()) as { edges: { cursor: string }[] };
      expect(page.edges.map((edge) => edge.cursor)).to.deep.equal(['2', '3']);
    });

    for (const query of [
      'limit=0',
      'limit=-1',
      'limit=1.5',
      'from=abc',
      'from=',
      'to=NaN',
      'from-nonce=x',
      'to-nonce=1,5',
      'limit=1&limit=2',
      'from=1&from=1',
    ]) {
      it(`refuses ?${query} with 400`, async () => {
        await start();
        const processId = app.log.addProcess('p', 1000);
        const response = await get(`/${processId}?${query}`);
        expect(response.status).to.equal(400);
        expect(await response.json()).to.have.all.keys('error');
      });
    }

    for (const [query, limit] of [
      ['', 100],
      ['limit=undefined', 100],
      ['limit=NaN', 100],
      ['limit=', 100],
      ['limit=abc', 100],
      ['limit=7', 7],
      ['limit=99999999999999999999', Number.MAX_SAFE_INTEGER - 1],
    ] as const) {
      it(`reads ?${query} as a limit of ${limit}`, async () => {
        await start();
        const processId = app.log.addProcess('p');
        expect((await get(`/${processId}?${query}`)).status).to.equal(200);
        expect(app.log.ranges[0]?.limit).to.equal(limit + 1);
      });
    }

    it('asks for anchors when show-anchor has any value', async () => {
      await start();
      const processId = app.log.addProcess('p');
      await get(`/${processId}?show-anchor`);
      await get(`/${processId}?show-anchor=false`);
      await get(`/${processId}`);
      expect(app.log.ranges.map((range) => range.showAnchor)).to.deep.equal([true, true, false]);
    });

    it('answers a message with proc-id as another spelling of process-id, and 404 under another process', async () => {
      await start();
      const processId = app.log.addProcess('p');
      const entry = app.log.addEntry(processId, 'm', { nonce: 0 });
      for (const query of [
        '',
        `?process-id=${processId}`,
        `?proc-id=${processId}`,
        '?process-id=undefined',
        '?process-id=',
      ]) {
        const response = await get(`/${idOf('m')}${query}`);
        expect(await response.text(), query).to.equal(Buffer.from(entry.node).toString());
      }
      for (const query of [
        `?process-id=${idOf('q')}`,
        `?proc-id=${idOf('q')}`,
        '?process-id=abc',
      ]) {
        expect((await get(`/${idOf('m')}${query}`)).status, query).to.equal(404);
      }
    });

    it('answers 404 to what is unknown or cannot be an id', async () => {
      await start();
      for (const path of [
        `/${idOf('x')}`,
        '/abc',
        '/%E0%A4%A',
        '/%00',
        `/abc/latest`,
        '/processes/abc',
        `/${'a'.repeat(4000)}`,
      ]) {
        const response = await get(path);
        expect(response.status, path.slice(0, 20)).to.equal(404);
        expect(await response.json()).to.have.all.keys('error');
      }
    });
  });

  describe('a page of several parts', () => {
    const fill = (dataBytes: number): string => {
      const processId = app.log.addProcess('p', 1000);
      for (let nonce = 1; nonce <= 30; nonce += 1)
        app.log.addEntry(processId, `m${nonce}`, { nonce, dataBytes });
      return processId;
    };

    it('is streamed and whole', async () => {
      await start({ limits: { partBytes: 2000 } });
      const response = await get(`/${fill(1000)}`);
      expect(response.headers.get('content-length')).to.equal(null);
      const page = (await response.json()) as { edges: unknown[]; page_info: unknown };
      expect([page.edges.length, page.page_info]).to.deep.equal([31, { has_next_page: false }]);
      const line = app.lines.find((one) => one['event'] === 'request');
      expect(line).to.include({ status: 200, edges: 31, level: 'info' });
    });

    it('that fails midway breaks the connection and is never a complete page', async () => {
      await start({ limits: { partBytes: 2000 } });
      const processId = fill(1000);
      app.log.failure = new SuError('store-unavailable', 'away');
      app.log.failAfterPieces = 5;
      const client = new RawClient(app);
      client.write(`GET /${processId} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.closed;
      expect(client.received).to.contain('200 OK').and.to.contain('{"edges":[');
      expect(client.received)
        .to.not.contain('page_info')
        .and.to.not.match(/\r\n0\r\n\r\n$/);
      expect(app.lines.find((one) => one['event'] === 'request')).to.include({
        level: 'warn',
        code: 'store-unavailable',
      });
    });

    it('that fails before its first part is a proper 503', async () => {
      await start();
      const processId = fill(10);
      app.log.failure = new SuError('store-unavailable', 'the store is away');
      const response = await get(`/${processId}`);
      expect([response.status, await response.json()]).to.deep.equal([
        503,
        { error: 'the store is away' },
      ]);
    });

    it('stops reading the store when the client does not take it, and lets go when the client leaves', async () => {
      await start({ limits: { partBytes: 1 } });
      const processId = app.log.addProcess('p', 1000);
      for (let nonce = 1; nonce <= 60; nonce += 1)
        app.log.addEntry(processId, `m${nonce}`, { nonce, dataBytes: 1_000_000 });
      app.log.pieceEntries = 1;
      const client = new RawClient(app);
      client.socket.pause();
      client.write(`GET /${processId} HTTP/1.1\r\nHost: x\r\n\r\n`);
      // Nothing tells that the server has stopped reading: it has when a while passes without a piece.
      let seen = -1;
      while (seen !== app.log.piecesRead || seen < 1) {
        seen = app.log.piecesRead;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      expect(seen).to.be.lessThan(40);
      client.socket.destroy();
      while (app.log.openRanges > 0) await new Promise(setImmediate);
      while (!app.lines.some((one) => one['event'] === 'request')) await new Promise(setImmediate);
      expect(app.lines.find((one) => one['event'] === 'request')).to.include({
        level: 'info',
        clientGone: true,
      });
    });

    it('gets a HEAD answered without being read to the end', async () => {
      await start({ limits: { partBytes: 2000 } });
      const response = await get(`/${fill(1000)}`, { method: 'HEAD' });
      expect([response.status, response.headers.get('content-type')]).to.deep.equal([
        200,
        'application/json',
      ]);
      expect(response.headers.get('content-length')).to.equal(null);
      expect([app.log.piecesRead, app.log.openRanges]).to.deep.equal([1, 0]);
    });
  });

  describe('GET /{pid}/latest and /processes/{pid}', () => {
    it('answer the newest node and the record', async () => {
      await start();
      const processId = app.log.addProcess('p', 1000);
      const entry = app.log.addEntry(processId, 'm', { nonce: 1 });
      expect(await (await get(`/${processId}/latest`)).text()).to.equal(
        Buffer.from(entry.node).toString(),
      );
      expect(await (await get(`/processes/${processId}`)).json()).to.deep.equal({
        process_id: processId,
      });
    });
  });
});
