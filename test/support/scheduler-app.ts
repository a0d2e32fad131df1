import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { makeSchedulerApp, type SchedulerAppOptions } from '../../src/lib/http/scheduler-app.js';
import { listen, type HttpTimeouts, type Listening } from '../../src/lib/http/listen.js';
import type { Submission, SubmitPort } from '../../src/lib/http/routes/submit.js';
import { openLog } from '../../src/lib/observability/log.js';
import { METRICS_OFF } from '../../src/lib/observability/metrics.js';
import { idOf, MemoryLog } from './memory-store.js';

/** A submit whose answer a test decides; it records what it was given. */
export class FakeSubmit implements SubmitPort {
  readonly bodies: Uint8Array[] = [];
  readonly assigns: Parameters<SubmitPort['submitAssign']>[0][] = [];
  answer: () => Promise<Submission> = () =>
    Promise.resolve({ id: idOf('item'), timestamp: 1234, processId: idOf('p'), nonce: 7 });

  submitItem(body: Uint8Array): Promise<Submission> {
    this.bodies.push(body);
    return this.answer();
  }

  submitAssign(query: Parameters<SubmitPort['submitAssign']>[0]): Promise<Submission> {
    this.assigns.push(query);
    return this.answer();
  }
}

export interface RunningApp {
  readonly url: string;
  readonly server: Listening;
  readonly submit: FakeSubmit;
  readonly log: MemoryLog;
  /** The lines of the program's log so far. */
  readonly lines: Record<string, unknown>[];
}

/** Serves the application of a scheduler on a free port of loopback, over fakes of its use cases. */
export async function startApp(
  options: Partial<SchedulerAppOptions> & { readonly timeouts?: Partial<HttpTimeouts> } = {},
): Promise<RunningApp> {
  const { timeouts = {}, ...appOptions } = options;
  const lines: Record<string, unknown>[] = [];
  const log = openLog({
    level: 'debug',
    destination: {
      write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>),
    },
  });
  const submit = new FakeSubmit();
  const reader = new MemoryLog();
  const app = makeSchedulerApp({
    submit,
    reader,
    blockClock: { current: () => ({ height: 1_234_567, ageMs: 12.4 }), isStale: () => false },
    address: idOf('wallet'),
    clock: () => 1_700_000_000_000,
    health: () => undefined,
    metrics: METRICS_OFF,
    log,
    ...appOptions,
  });
  const server = await listen(app, {
    host: '127.0.0.1',
    port: 0,
    log,
    timeouts: { quietMs: 5, graceMs: 50, ...timeouts },
  });
  return { url: `http://127.0.0.1:${server.port}`, server, submit, log: reader, lines };
}

/** A connection for requests that no HTTP client would make. */
export class RawClient {
  readonly socket: Socket;
  received = '';
  readonly closed: Promise<void>;

  constructor(app: RunningApp) {
    this.socket = connect(app.server.port, '127.0.0.1');
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text: string) => (this.received += text));
    this.socket.on('error', () => {});
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  write(text: string | Buffer): void {
    this.socket.write(text);
  }

  /** Waits until what was received contains `text`. */
  async until(text: string): Promise<void> {
    while (!this.received.includes(text)) {
      if (this.socket.destroyed) throw new Error(`closed after: ${this.received}`);
      await Promise.race([once(this.socket, 'data'), this.closed]);
    }
  }
}
