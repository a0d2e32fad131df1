import { connect, createServer, type Server, type Socket } from 'node:net';

/*
 * The least of HTTP/1.1 that load and bundler of the bench need of the server that is measured: kept connections, one message at a
 * time on each, bodies with a length. What these programs take from the cores is missing where the server is measured:
 * node:http took 0.7 ms a message for the load and 0.5 for two uploads, where signing took 7.
 */

const HEAD_END = '\r\n\r\n';
const NOTHING = Buffer.alloc(0);

/** Cuts messages out of a connection's bytes and tells the head of each when its body has come, which nobody looks at. */
class MessageCutter {
  readonly #take: (head: string) => void;
  /** Of the message whose body is still to come. */
  #head: string | undefined;
  #rest: Buffer = NOTHING;
  /** Of the body, still to come. */
  #left = 0;

  constructor(take: (head: string) => void) {
    this.#take = take;
  }

  /** @throws Error for a body without a length */
  push(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = NOTHING;
    for (;;) {
      let head = this.#head;
      if (head === undefined) {
        const end = bytes.indexOf(HEAD_END);
        if (end === -1) break;
        head = bytes.toString('latin1', 0, end);
        this.#left = bodyBytes(head);
        bytes = bytes.subarray(end + HEAD_END.length);
      }
      const took = Math.min(this.#left, bytes.length);
      this.#left -= took;
      bytes = bytes.subarray(took);
      this.#head = this.#left > 0 ? head : undefined;
      if (this.#head !== undefined) return;
      this.#take(head);
    }
    this.#rest = bytes;
  }
}

function bodyBytes(head: string): number {
  if (/\r\ntransfer-encoding:/i.test(head)) throw new Error(`a body without a length: ${head}`);
  return Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
}

/** A connection that posts one body at a time. */
export class BarePoster {
  readonly #socket: Socket;
  readonly #head: string;
  #resolve: ((status: number) => void) | undefined;

  constructor(url: string) {
    const { hostname, port, host } = new URL(url);
    this.#head = `POST / HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/octet-stream\r\ncontent-length: `;
    this.#socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const cutter = new MessageCutter((head) => this.#answer(Number(head.slice(9, 12))));
    this.#socket.on('data', (chunk: Buffer) => cutter.push(chunk));
    this.#socket.on('error', () => this.#socket.destroy());
    this.#socket.on('close', () => this.#answer(0));
  }

  /** The status, 0 when the connection broke. */
  post(bytes: Buffer): Promise<number> {
    if (this.#socket.destroyed) return Promise.resolve(0);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#socket.cork();
      this.#socket.write(`${this.#head}${bytes.length}${HEAD_END}`, 'latin1');
      this.#socket.write(bytes);
      this.#socket.uncork();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #answer(status: number): void {
    const resolve = this.#resolve;
    this.#resolve = undefined;
    resolve?.(status);
  }
}

/** What a bare server answers. */
export interface BareAnswer {
  readonly status: number;
  readonly body: string;
}

/** A server that answers at once, from the request's method and path alone. */
export function createBareServer(answer: (method: string, path: string) => BareAnswer): Server {
  return createServer({ noDelay: true }, (socket) => {
    const cutter = new MessageCutter((head) => {
      const [method = '', path = ''] = head.slice(0, head.indexOf('\r\n')).split(' ');
      const { status, body } = answer(method, path);
      const headers = `content-type: application/json\r\ncontent-length: ${body.length}`;
      socket.write(`HTTP/1.1 ${status} -\r\n${headers}${HEAD_END}${body}`, 'latin1');
    });
    socket.on('data', (chunk: Buffer) => cutter.push(chunk));
    socket.on('error', () => socket.destroy());
  });
}
