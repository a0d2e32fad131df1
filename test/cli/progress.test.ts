import { expect } from 'chai';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { checkpointFile } from '../../src/lib/cli/checkpoint-file.js';
import { openProgress } from '../../src/lib/cli/progress.js';
import { writeLine } from '../../src/lib/cli/write-line.js';
import { isSuError } from '../../src/lib/errors.js';

/** A stream that remembers what was written, as a terminal or not. */
function fakeStream(isTTY: boolean): { stream: NodeJS.WriteStream; text(): string } {
  const chunks: string[] = [];
  const stream = new PassThrough();
  stream.on('data', (chunk: Buffer) => chunks.push(chunk.toString()));
  Object.assign(stream, { isTTY, columns: 100, cursorTo: () => true, clearLine: () => true });
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => chunks.join('') };
}

describe('the progress of a long job', () => {
  it('is a plain line now and then where there is no terminal', async () => {
    const { stream, text } = fakeStream(false);
    let now = 0;
    const progress = openProgress({ name: 'verify', unit: 'processes', stream, now: () => now });
    progress.update(1, 10, 'early');
    now = 10_001;
    progress.update(2, 10, '50 entries');
    progress.update(3, 10, 'too soon');
    await progress.around(async () => {
      stream.write('a finding\n');
    });
    progress.stop();
    expect(text()).to.equal('verify: 2 of 10 processes, 50 entries\na finding\n');
  });

  it('is a bar on a terminal, which makes way for other lines', async () => {
    const { stream, text } = fakeStream(true);
    const progress = openProgress({ name: 'verify', unit: 'processes', stream });
    progress.update(1, 4, 'note');
    expect(text()).to.include('verify [').and.include('1/4 processes note');
    await progress.around(async () => {
      stream.write('a finding\n');
    });
    expect(text()).to.include('\r\u001B[2Ka finding\n');
    progress.stop();
    progress.stop();
  });
});

describe('a line for a slow reader', () => {
  it('waits until there is room', async () => {
    let release = (): void => undefined;
    const stream = new Writable({
      highWaterMark: 1,
      write: (_chunk, _encoding, done) => {
        release = done;
      },
    });
    let isWritten = false;
    const writing = writeLine('long', stream).then(() => (isWritten = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(isWritten).to.equal(false);
    release();
    await writing;
  });
});

describe('a checkpoint file', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'su-checkpoint-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('holds what was written last, and nothing is left of it when it is removed', async () => {
    const file = checkpointFile(join(folder, 'place'));
    expect(await file.read()).to.equal(undefined);
    await file.write('one');
    await file.write('two');
    expect(await checkpointFile(join(folder, 'place')).read()).to.equal('two');
    expect(readdirSync(folder)).to.deep.equal(['place']);
    await file.remove();
    await file.remove();
    expect(existsSync(join(folder, 'place'))).to.equal(false);
  });

  it('says so when it cannot be used', async () => {
    const error: unknown = await checkpointFile(join(folder, 'none', 'place'))
      .write('x')
      .catch((reason: unknown) => reason);
    expect(isSuError(error, 'invalid-config')).to.equal(true);
    const folderError: unknown = await checkpointFile(folder)
      .read()
      .catch((reason: unknown) => reason);
    expect(isSuError(folderError, 'invalid-config')).to.equal(true);
  });
});
