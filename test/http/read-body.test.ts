import { once } from 'node:events';
import { createServer, request as httpRequest, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { BODY_LIMITS, makeReadBody } from '../../src/lib/http/read-body.js';
import { waitFor } from '../support/su-process.js';

const BODY = Buffer.alloc(600_000);

describe('the bodies of clients that hang up', () => {
  let server: Server;
  /** Ends the use of each body that was read whole. */
  let uses: (() => void)[];

  beforeEach(async () => {
    uses = [];
    const readBody = makeReadBody({ ...BODY_LIMITS, bodiesBytesMax: 1_000_000 });
    server = createServer((request, response) => {
      readBody(request, response, () => new Promise<void>((resolve) => uses.push(resolve))).then(
        () => response.end('used'),
        (error: unknown) => {
          response.statusCode = isSuError(error, 'scheduler-busy') ? 503 : 500;
          response.end();
        },
      );
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const post = async (): Promise<number> =>
    (await fetch(url(), { method: 'POST', body: BODY })).status;
  const untilUsed = (count: number): Promise<true> =>
    waitFor(
      () => (uses.length === count ? true : undefined),
      () => `${uses.length} bodies are used`,
    );

  it('count as long as they are worked on', async () => {
    const client = httpRequest(url(), { method: 'POST' });
    client.on('error', () => undefined);
    client.end(BODY);
    await untilUsed(1);
    client.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await post()).to.equal(503);
    uses[0]?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const answered = post();
    await untilUsed(2);
    uses[1]?.();
    expect(await answered).to.equal(200);
  });

  it('count until their answer is sent', async () => {
    for (let count = 1; count <= 3; count += 1) {
      const answered = post();
      await untilUsed(count);
      uses[count - 1]?.();
      expect(await answered).to.equal(200);
    }
  });
});
