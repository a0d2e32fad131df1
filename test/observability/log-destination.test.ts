import { expect } from 'chai';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogDestination } from '../../src/lib/observability/log-destination.js';

const INFO = 30;
const WARN = 40;

/** A descriptor that takes so many bytes at once, or fails. */
class Descriptor {
  text = '';
  bytesAtOnce = Infinity;
  failure: string | undefined;
  tries = 0;

  write(bytes: Uint8Array): number {
    this.tries += 1;
    if (this.failure !== undefined)
      throw Object.assign(new Error('refused'), { code: this.failure });
    const part = Buffer.from(bytes).subarray(0, this.bytesAtOnce);
    this.text += part.toString();
    return part.length;
  }
}

describe('LogDestination', () => {
  let to: Descriptor;

  beforeEach(() => {
    to = new Descriptor();
  });

  function open(gatherMs: number): LogDestination {
    const describeLoss = (lines: number): string => `${lines} lost\n`;
    return new LogDestination({ write: (bytes) => to.write(bytes), gatherMs, describeLoss });
  }

  it('writes each line at once when it is not to gather', () => {
    open(0).write('a\n', INFO);
    expect(to.text).to.equal('a\n');
  });

  it('gathers information for a moment, and lets nothing wait behind a warning', async () => {
    const log = open(20);
    log.write('a\n', INFO);
    expect(to.text).to.equal('');
    log.write('b\n', WARN);
    expect(to.text).to.equal('a\nb\n');
    log.write('c\n', INFO);
    await sleep(60);
    expect(to.text).to.equal('a\nb\nc\n');
    expect(to.tries).to.equal(2);
  });

  it('tries again later when nothing is taken', async () => {
    to.bytesAtOnce = 0;
    open(0).write('a\n', WARN);
    expect(to.tries).to.equal(1);
    to.bytesAtOnce = 9;
    await sleep(1_100);
    expect(to.text).to.equal('a\n');
  });

  it('writes on where a write ended', () => {
    to.bytesAtOnce = 3;
    open(0).write('one line\n', WARN);
    expect(to.text).to.equal('one line\n');
  });

  for (const code of ['ENOSPC', 'EAGAIN']) {
    it(`keeps lines through ${code}, whole and in order`, async () => {
      const log = open(0);
      to.bytesAtOnce = 2;
      log.write('aa\n', WARN);
      to.failure = code;
      log.write('bb\n', WARN);
      log.write('cc\n', INFO);
      expect(to.tries).to.equal(4);
      to.failure = undefined;
      log.write('dd\n', WARN);
      expect(to.text).to.equal('aa\nbb\ncc\ndd\n');
      to.failure = code;
      log.write('ee\n', WARN);
      to.failure = undefined;
      await sleep(1_100);
      expect(to.text).to.match(/ee\n$/);
    });
  }

  it('drops lines when too many wait, and tells how many', () => {
    const log = open(0);
    const line = `${'x'.repeat(100_000)}\n`;
    to.failure = 'ENOSPC';
    for (let count = 0; count < 15; count += 1) log.write(line, WARN);
    to.failure = undefined;
    log.finish();
    const lines = to.text.trimEnd().split('\n');
    expect(lines.slice(0, -1)).to.deep.equal(Array.from({ length: 10 }, () => line.trimEnd()));
    expect(lines.at(-1)).to.equal('5 lost');
    log.write('again\n', WARN);
    expect(to.text).to.match(/5 lost\nagain\n$/);
  });

  it('tries no more when nobody can read', () => {
    const log = open(0);
    to.failure = 'EPIPE';
    log.write('a\n', WARN);
    log.write('b\n', WARN);
    log.finish();
    expect(to.tries).to.equal(1);
  });

  it('gives up at the end of the program after a moment', () => {
    const log = open(0);
    to.failure = 'EAGAIN';
    log.write('a\n', WARN);
    const startedAt = performance.now();
    log.finish();
    expect(performance.now() - startedAt).to.be.within(100, 2_000);
    expect(to.text).to.equal('');
  });
});
