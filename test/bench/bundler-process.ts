import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/*
 * A program of its own: gateway and bundler as cheap as they can be, so that a figure is about the scheduler.
 * Takes every upload, answers `/info` with a height and `/count` with the number of uploads.
 * Sends its port to its parent.
 */
let uploads = 0;
const server = createServer((request, response) => {
  if (request.url === '/info') {
    response.end('{"height":1500000}');
    return;
  }
  if (request.url === '/count') {
    response.end(String(uploads));
    return;
  }
  request.resume();
  request.on('end', () => {
    uploads += 1;
    response.end('{}');
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
