import { expect } from 'chai';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nextLink } from '../../../src/lib/protocol/hash-chain.js';
import type { Id } from '../../../src/lib/protocol/ids.js';
import type { RocksdbStore } from '../../../src/lib/storage/rocksdb/open-store.js';
import { makeTempRocksdb, type TempRocksdb } from '../../support/temp-rocksdb.js';
import { collect } from '../conformance/open-store.js';

const APPENDING = fileURLToPath(new URL('./appending-child.ts', import.meta.url));
const REFUSED = fileURLToPath(new URL('./refused-child.ts', import.meta.url));

interface Line {
  readonly status?: string;
  readonly processId?: Id;
  readonly messageId?: Id;
  readonly nonce?: number;
  readonly assignmentId?: Id;
  readonly log?: string;
  readonly counts?: { readonly pending: number };
  readonly blobBytes?: number;
}

interface Node {
  readonly assignment: { readonly id: Id; readonly tags: { name: string; value: string }[] };
}

/** Starts a child under a limit of file size when `fileBlocksMax` is given; collects its lines. */
function startChild(
  args: readonly [file: string, ...rest: string[]],
  fileBlocksMax?: number,
): { child: ChildProcess; lines: Line[]; ended: Promise<unknown>; errors: () => string } {
  const node = [process.execPath, '--import', 'tsx', ...args];
  const limited = ['sh', '-c', `ulimit -f ${fileBlocksMax}; exec "$@"`, 'sh', ...node];
  const [program = '', ...rest] = fileBlocksMax === undefined ? node : limited;
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: Line[] = [];
  let errors = '';
  child.stderr?.on('data', (text: Buffer) => {
    errors += text.toString('utf8');
  });
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      // Killed in the middle of a line: that ack was never given.
      if (line.endsWith('}')) lines.push(JSON.parse(line) as Line);
    });
  }
  return { child, lines, ended: once(child, 'close'), errors: () => errors };
}

/** Every acknowledged entry is there, and every log is whole from its process on. Returns the entries stored. */
async function expectWhole(opened: RocksdbStore, lines: readonly Line[]): Promise<number> {
  const acked = lines.filter(({ status }) => status === 'appended');
  const processIds = [...new Set(acked.flatMap(({ processId }) => processId ?? []))];
  const assignments = new Set<string>();
  for (const processId of processIds) {
    const own = await opened.reader.findProcess(processId);
    const entries = await collect(
      opened.reader.readRange({
        processId,
        by: 'nonce',
        from: undefined,
        to: undefined,
        limit: 1_000_000,
        showAnchor: false,
      }),
    );
    expect(entries.map(({ nonce }) => nonce)).to.deep.equal(entries.map((_, index) => index + 1));
    let previous: { id: Id; hashChain: string } | undefined;
    for (const { node } of [...(own?.entry === undefined ? [] : [own.entry]), ...entries]) {
      const { assignment } = JSON.parse(Buffer.from(node).toString('utf8')) as Node;
      const hashChain = assignment.tags.find(({ name }) => name === 'Hash-Chain')?.value ?? '';
      if (previous !== undefined) {
        expect(hashChain).to.equal(nextLink(previous.id, previous.hashChain));
      }
      previous = { id: assignment.id, hashChain };
      assignments.add(assignment.id);
    }
    const [head] = await opened.store.readHeads([processId]);
    expect(head).to.deep.include({ nonce: entries.length, assignmentId: previous?.id });
  }
  const lost = acked.filter(({ assignmentId }) => !assignments.has(assignmentId ?? ''));
  expect(lost).to.deep.equal([]);
  return assignments.size;
}

describe('the embedded store after a crash', () => {
  let temp: TempRocksdb;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
  });
  afterEach(() => temp.destroy());

  it('has every acknowledged entry, whole logs and their outbox rows after kill -9, again and again', async () => {
    let stored = 0;
    for (const acks of [30, 90, 200]) {
      const { child, lines, ended, errors } = startChild([APPENDING, temp.folder, '2000', '0']);
      while (lines.length < acks && child.exitCode === null) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(child.exitCode, errors()).to.equal(null);
      child.kill('SIGKILL');
      await ended;
      const opened = await temp.open();
      try {
        stored += await expectWhole(opened, lines);
        expect(await opened.outbox.counts()).to.deep.equal({ pending: stored, parked: 0 });
        const [row] = await opened.outbox.claim(1);
        expect(await opened.outbox.readUploads(row as never)).to.have.lengthOf(2);
        await temp.pass(1001);
      } finally {
        await opened.close();
      }
    }
  }).timeout(120_000);

  it('says that an outcome is unknown when the disk refuses a write, opens itself again and goes on', async () => {
    // Blocks have 512 or 1024 bytes, as the shell likes: the write-ahead log hits the limit at 4 or 8 MB.
    const { child, lines, ended, errors } = startChild(
      [APPENDING, temp.folder, '60000', '3'],
      8192,
    );
    await ended;
    expect(child.exitCode, errors()).to.equal(0);
    const events = lines.flatMap(({ log }) => log ?? []);
    expect(events).to.include.members(['store-write-failed', 'store-reopened']);
    const failure = lines.findIndex(({ status }) => status === 'unknown');
    expect(failure).to.be.greaterThan(0);
    const after = lines.slice(failure).filter(({ status }) => status === 'appended');
    expect(after).to.have.lengthOf(3 * 12);
    const opened = await temp.open();
    try {
      const stored = await expectWhole(opened, lines);
      expect(lines.at(-1)?.counts?.pending).to.equal(stored);
      expect((await opened.outbox.counts()).pending).to.equal(stored);
      const claimed = await opened.outbox.claim(stored + 10);
      expect(claimed).to.have.lengthOf(stored);
    } finally {
      await opened.close();
    }
  }).timeout(120_000);

  it('has no blobs left of batches that the disk refused, however often they were tried', async () => {
    const args = [REFUSED, temp.folder, '9000000', '4'] as const;
    const { child, lines, ended, errors } = startChild(args, 8192);
    await ended;
    expect(child.exitCode, errors()).to.equal(0);
    const refused = lines.filter(({ status }) => status === 'unknown');
    expect(refused).to.have.lengthOf(4);
    // Of an outcome that is unknown they are kept until the next ones take their place.
    const [first] = refused;
    expect(first?.blobBytes).to.be.greaterThan(10_000);
    expect(new Set(refused.map(({ blobBytes }) => blobBytes))).to.have.lengthOf(1);
    expect(lines.at(-1)?.status).to.equal('appended');
    expect(lines.at(-1)?.blobBytes).to.be.within(1, 1.1 * (first?.blobBytes ?? 0));
    const opened = await temp.open();
    try {
      expect(await expectWhole(opened, lines)).to.equal(33);
    } finally {
      await opened.close();
    }
  }).timeout(120_000);
});
