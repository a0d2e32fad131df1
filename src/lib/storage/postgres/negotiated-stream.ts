import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

/** `prefer`: encrypted if the server can, else not. `allow`: encrypted only if the server refuses otherwise. */
export type TlsWish = 'prefer' | 'allow';

/** Asks a server whether it encrypts (PostgreSQL's protocol, "SSLRequest"): it answers S or N. */
const TLS_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
/** The first byte of the message in which a server refuses a connection. */
const ERROR_RESPONSE = 0x45;

interface Target {
  readonly path?: string;
  readonly port: number;
  readonly host?: string | undefined;
}

/**
 * A connection to PostgreSQL as libpq makes it under `sslmode=prefer` and `sslmode=allow`, which the driver does not know: under
 * the first it refuses a server without TLS, under the second also one whose certificate nobody signed. Certificates are not
 * checked: who may answer "no TLS" may as well show one of their own. When the first way fails (TLS cannot be agreed on, or the
 * server refuses the driver's first message), the other one is tried with that message.
 *
 * Takes the place of the driver's socket (its option `stream`), which sees a connection that is open when `connect` is emitted.
 */
export class NegotiatedStream extends Duplex {
  readonly #tls: ConnectionOptions;
  /** Ways that are left to try, whether they are encrypted. */
  #ways: boolean[];
  #target: Target = { port: 0 };
  #socket: Socket | undefined;
  /** What the driver wrote first, until the server has answered it. */
  #first: Buffer | undefined;
  #isAnswered = false;
  #keepAliveDelayMs: number | undefined;

  constructor(wish: TlsWish, tls: ConnectionOptions) {
    super();
    this.#tls = { ...tls, rejectUnauthorized: false };
    this.#ways = wish === 'prefer' ? [true, false] : [false, true];
  }

  /** As net.Socket has it, for the driver: a port and a host, or the path of a socket on this machine, where nothing is encrypted. */
  connect(portOrPath: number | string, host?: string): this {
    const isPath = typeof portOrPath === 'string' && Number.isNaN(Number(portOrPath));
    this.#target = isPath ? { path: portOrPath, port: 0 } : { port: Number(portOrPath), host };
    if (isPath) this.#ways = [false];
    void this.#open();
    return this;
  }

  setNoDelay(): this {
    // Always so.
    return this;
  }

  setKeepAlive(_isOn: boolean, delayMs: number): this {
    this.#keepAliveDelayMs = delayMs;
    this.#socket?.setKeepAlive(true, delayMs);
    return this;
  }

  ref(): this {
    this.#socket?.ref();
    return this;
  }

  unref(): this {
    this.#socket?.unref();
    return this;
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (!this.#isAnswered) this.#first = chunk;
    this.#pass(chunk, done);
  }

  override _final(done: () => void): void {
    this.#socket?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket?.destroy();
    done(error);
  }

  /** Opens the connection in the next way. Reports every failure itself. */
  async #open(): Promise<void> {
    const isEncrypted = this.#ways.shift() ?? false;
    try {
      const raw = connectTcp({ ...this.#target, noDelay: true });
      this.#hold(raw);
      await eventOf(raw, 'connect');
      this.#use(isEncrypted ? await this.#encrypt(raw) : raw);
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  async #encrypt(raw: Socket): Promise<Socket> {
    raw.write(TLS_REQUEST);
    const answer = String(await eventOf(raw, 'data'));
    if (answer === 'N') {
      // This connection is the other way, already open.
      this.#ways = [];
      return raw;
    }
    // More than one byte would be from somebody who wants it to be read as if it had been encrypted.
    if (answer !== 'S') throw new Error('the server does not understand the request for TLS');
    const { host = '' } = this.#target;
    const encrypted = connectTls({
      ...this.#tls,
      socket: raw,
      ...(isIP(host) === 0 && { servername: host }),
    });
    this.#hold(encrypted);
    await eventOf(encrypted, 'secureConnect');
    return encrypted;
  }

  #hold(socket: Socket): void {
    this.#socket = socket;
    // Whoever waits for an event of the socket is told; what comes later is the end of the connection.
    socket.on('error', () => undefined);
    if (this.destroyed) socket.destroy();
  }

  #failed(error: Error): void {
    this.#socket?.destroy();
    if (this.destroyed) return;
    if (this.#ways.length > 0) void this.#open();
    else this.destroy(error);
  }

  /** From here on the driver and the server talk over this socket. */
  #use(socket: Socket): void {
    if (this.#keepAliveDelayMs !== undefined) socket.setKeepAlive(true, this.#keepAliveDelayMs);
    let isGivenUp = false;
    socket.on('data', (chunk: Buffer) => {
      if (!this.#isAnswered) {
        if (chunk[0] === ERROR_RESPONSE && this.#ways.length > 0) {
          isGivenUp = true;
          this.#failed(new Error('the server refused the connection'));
          return;
        }
        this.#isAnswered = true;
        this.#first = undefined;
      }
      if (!this.push(chunk)) socket.pause();
    });
    socket.once('end', () => {
      if (!isGivenUp) this.push(null);
    });
    socket.once('error', (error) => {
      if (!isGivenUp) this.destroy(error);
    });
    socket.once('close', () => {
      if (!isGivenUp) this.destroy();
    });
    if (this.#first === undefined) this.emit('connect');
    else this.#pass(this.#first, () => undefined);
  }

  #pass(chunk: Buffer, done: () => void): void {
    const socket = this.#socket;
    if (socket?.write(chunk) === false) socket.once('drain', done);
    else done();
  }
}

/** What comes with the event; rejects when the socket fails or closes before. */
function eventOf(socket: Socket, event: 'connect' | 'data' | 'secureConnect'): Promise<unknown> {
  return new Promise((resolve, reject) => {
    socket.once(event, resolve);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the server closed the connection')));
  });
}
