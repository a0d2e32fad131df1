import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A list at a URL, over HTTP on loopback. */
export interface FakeList {
  readonly url: string;
  /** Requests so far. */
  asked(): number;
  /** Every answer from now on: a value as JSON, a raw text, a status, a redirect, never any, or bytes without end. */
  answer(with_: ListAnswer): void;
  goDown(): Promise<void>;
  /** Listens again, on the same port. */
  comeUp(): Promise<void>;
  close(): Promise<void>;
}

export type ListAnswer =
  | { readonly json: unknown }
  | { readonly text: string }
  | { readonly status: number }
  | { readonly redirect: string }
  | 'hang'
  | 'endless';

/** Opens a list server on a free port. */
export async function openFakeList(first: ListAnswer): Promise<FakeList> {
  let current = first;
  let asked = 0;
  let port = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    if (current === 'hang') return;
    if (current === 'endless') {
      const write = (): void => {
        while (!response.destroyed && response.write(`"${'x'.repeat(65_536)}",`));
      };
      response.on('drain', write);
      write();
    } else if ('status' in current) response.writeHead(current.status).end('no list');
    else if ('redirect' in current) {
      response.writeHead(302, { location: current.redirect }).end();
    } else response.end('text' in current ? current.text : JSON.stringify(current.json));
  });
  const comeUp = (): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject);
        port = (server.address() as AddressInfo).port;
        resolve();
      });
    });
  const goDown = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  await comeUp();
  return {
    url: `http://127.0.0.1:${port}/list.json`,
    asked: () => asked,
    answer: (with_) => void (current = with_),
    goDown,
    comeUp,
    close: goDown,
  };
}
