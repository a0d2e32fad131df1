import type { AddressInfo } from 'node:net';
import { createBareServer, type BareAnswer } from './bare-http.js';

/*
 * A program of its own: gateway and bundler as cheap as they can be, so that a figure is about the scheduler.
 * Takes every upload, answers `/info` with a height and `/count` with the number of uploads. Asked for `/away` it answers
 * every upload with 503 until it is asked for `/back`. Sends its port to its parent.
 */
let uploads = 0;
let isAway = false;

function answer(method: string, path: string): BareAnswer {
  if (path === '/info') return { status: 200, body: '{"height":1500000}' };
  if (path === '/count') return { status: 200, body: String(uploads) };
  if (method === 'POST') return takeUpload();
  if (path === '/away' || path === '/back') isAway = path === '/away';
  return { status: 200, body: '{}' };
}

function takeUpload(): BareAnswer {
  if (isAway) return { status: 503, body: '{}' };
  uploads += 1;
  return { status: 200, body: '{}' };
}

const server = createBareServer(answer);
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
