import Koa from 'koa';
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';

/*
 * A program of its own: the least that koa can do. Posts are read and answered with a receipt; every other request is
 * redirected, as a router does, or with a file as argument answered with its bytes. Prints its port.
 */
const file = process.argv[2];
const answer = file === undefined ? undefined : readFileSync(file);
const app = new Koa();
app.use(async (ctx) => {
  if (ctx.method !== 'POST') {
    if (ctx.path === '/health') {
      ctx.status = 200;
      ctx.body = '';
      return;
    }
    if (answer !== undefined) {
      ctx.set('Content-Type', 'application/json');
      ctx.body = answer;
      return;
    }
    ctx.status = 307;
    ctx.set('Location', `http://127.0.0.1:1${ctx.url}`);
    ctx.body = '';
    return;
  }
  let bytes = 0;
  for await (const chunk of ctx.req) bytes += (chunk as Buffer).length;
  ctx.set('Content-Type', 'application/json');
  ctx.body = JSON.stringify({ id: String(bytes), timestamp: Date.now() });
});
const server = app.listen(0, '127.0.0.1', () => {
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`);
});
