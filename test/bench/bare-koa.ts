import Koa from 'koa';
import type { AddressInfo } from 'node:net';

/*
 * A program of its own: the least that koa can do for the requests of the router's measurements. Posts are read and
 * answered with a receipt, every other request is redirected. Prints its port.
 */
const app = new Koa();
app.use(async (ctx) => {
  if (ctx.method !== 'POST') {
    if (ctx.path === '/health') {
      ctx.status = 200;
      ctx.body = '';
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
