import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A program of its own: gateway and bundler as cheap as they can be, so that a figure is about the scheduler.
 * Takes every upload, answers `/info` with a height and `/count` with the number of uploads. Asked for `/away` it answers
 * every upload with 503 until it is asked for `/back`. Sends its port to its parent.
 */
let uploads = 0;
let isAway = false;
const server = createServer((request, response) => {
  if (request.url === '/info') {
    response.end('{"height":1500000}');
    return;
  }
  if (request.url === '/count') {
    response.end(String(uploads));
    return;
  }
  if (request.url === '/away' || request.url === '/back') {
    isAway = request.url === '/away';
    response.end();
    return;
  }
  request.resume();
  request.on('end', () => {
    if (isAway) {
      response.statusCode = 503;
      response.end('{}');
      return;
    }
    uploads += 1;
    response.end('{}');
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
