import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Running, runUntilSignal } from '../../src/lib/cli/run-until-signal.js';
import { SuError } from '../../src/lib/errors.js';

interface Recorder {
  readonly events: string[];
  readonly program: Running;
}

function makeProgram(close: () => Promise<void> = () => Promise.resolve()): Recorder {
  const events: string[] = [];
  const never = new Promise<void>(() => undefined);
  const program = { closed: never, close: () => (events.push('close'), close()) };
  return { events, program };
}

const run = ({ events, program }: Recorder, closeDeadlineMs = 1000) =>
  runUntilSignal({
    open: () => Promise.resolve(program),
    onOpen: () => events.push('open'),
    onStopping: (signal) => events.push(signal),
    closeDeadlineMs,
  });

const listeners = () => process.listenerCount('SIGTERM') + process.listenerCount('SIGINT');

describe('runUntilSignal', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`closes the program on ${signal} and lets go of the signals`, async () => {
      const before = listeners();
      const recorder = makeProgram();
      const done = run(recorder);
      await new Promise(setImmediate);
      process.listeners(signal).at(-1)?.(signal);
      await done;
      expect(recorder.events).to.deep.equal(['open', signal, 'close']);
      expect(listeners()).to.equal(before);
    });
  }

  it('closes a program that was still being opened as soon as it is open', async () => {
    const recorder = makeProgram();
    const done = run(recorder);
    process.listeners('SIGTERM').at(-1)?.('SIGTERM');
    await done;
    expect(recorder.events).to.deep.equal(['SIGTERM', 'open', 'close']);
  });

  it('fails when closing takes longer than the deadline', async () => {
    const recorder = makeProgram(() => new Promise(() => undefined));
    const done = run(recorder, 20);
    process.listeners('SIGTERM').at(-1)?.('SIGTERM');
    const error = await done.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error)
      .to.be.instanceOf(SuError)
      .with.property('message')
      .that.matches(/longer than 0.02 s/);
  });

  it('fails when the program stops by itself', async () => {
    const stopped = { closed: Promise.resolve(), close: () => Promise.resolve() };
    const error = await run({ events: [], program: stopped }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.have.property('code', 'invariant');
    const broken = {
      closed: Promise.reject(new Error('the socket broke')),
      close: () => Promise.resolve(),
    };
    const reason = await run({ events: [], program: broken }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(reason).to.have.property('message', 'the socket broke');
  });

  it('takes the echo of a signal, as npm passes it on, for the same signal', async () => {
    const recorder = makeProgram();
    const done = run(recorder);
    const listener = process.listeners('SIGINT').at(-1);
    listener?.('SIGINT');
    listener?.('SIGINT');
    await done;
    expect(recorder.events).to.deep.equal(['SIGINT', 'open', 'close']);
  });

  it('ends at once on a second signal, with the status a shell gives it', async () => {
    const module = new URL('../../src/lib/cli/run-until-signal.ts', import.meta.url).href;
    const script = `
      const { runUntilSignal } = await import(${JSON.stringify(module)});
      const never = new Promise(() => undefined);
      setInterval(() => undefined, 1000);
      await runUntilSignal({
        open: async () => ({ closed: never, close: () => never }),
        onOpen: () => console.log('open'),
        onStopping: () => console.log('stopping'),
        closeDeadlineMs: 60000,
      });`;
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', script],
      {
        cwd: fileURLToPath(new URL('../..', import.meta.url)),
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const exited = once(child, 'exit');
    await once(child.stdout, 'data');
    child.kill('SIGINT');
    await once(child.stdout, 'data');
    const again = setInterval(() => child.kill('SIGINT'), 100);
    void exited.finally(() => clearInterval(again));
    expect(await exited).to.deep.equal([130, null]);
  });
});
