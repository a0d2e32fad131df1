import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { expect } from 'chai';
import Koa from 'koa';
import { logRequests, type RequestState } from '../../src/lib/http/request-log.js';
import { openLog } from '../../src/lib/observability/log.js';
import { METRICS_OFF } from '../../src/lib/observability/metrics.js';

describe('http/request-log', () => {
  it('lets no answer wait for its line, and takes the end of the connection for no client that went away', async () => {
    const answers: ServerResponse[] = [];
    const lines: (readonly [isAnswered: boolean | undefined, line: unknown])[] = [];
    const log = openLog({
      destination: {
        write: (line: string) =>
          void lines.push([answers.at(-1)?.writableEnded, JSON.parse(line) as unknown]),
      },
    });
    const app = new Koa<RequestState>();
    app.use(logRequests({ log, metrics: METRICS_OFF }));
    app.use((ctx) => {
      answers.push(ctx.res);
      ctx.body = 'x';
    });
    const server = app.listen(0, '127.0.0.1');
    try {
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      const response = await fetch(`http://127.0.0.1:${port}/`, {
        headers: { Connection: 'close' },
      });
      expect(await response.text()).to.equal('x');
      while (lines.length === 0) await new Promise(setImmediate);
    } finally {
      server.close();
    }
    const [[isAnswered, line]] = lines as [(typeof lines)[0]];
    expect(isAnswered).to.equal(true);
    expect(line).to.include({ event: 'request', status: 200 }).and.not.have.property('clientGone');
  });
});
