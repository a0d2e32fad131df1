import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';

/*
 * A program of its own: a bare node:http server that answers every request with the same bytes.
 * Argument: a file. Sends its port to its parent.
 */
const body = readFileSync(process.argv[2] ?? '');
const server = createServer((_request, response) => {
  response.setHeader('content-type', 'application/json');
  response.setHeader('content-length', body.length);
  response.end(body);
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
