import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { makeUploaderClient } from '../../src/lib/arweave/uploader-client.js';
import { SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { UPLOAD_ASSIGNMENT, UPLOAD_ITEM } from '../../src/lib/scheduler/ports.js';
import { delayByTimer } from '../../src/lib/uploader/delay.js';
import { OUTBOX_LEASE_MS, OUTBOX_LIMITS } from '../../src/lib/uploader/outbox-limits.js';
import type { OutboxLimits } from '../../src/lib/uploader/outbox-limits.js';
import { makeOutboxWorker } from '../../src/lib/uploader/outbox-worker.js';
import type { OutboxWorker } from '../../src/lib/uploader/outbox-worker.js';
import type { Upload, UploaderClient, UploadResult } from '../../src/lib/uploader/ports.js';
import { openFakeBundler } from '../support/fake-bundler.js';
import type { FakeBundler } from '../support/fake-bundler.js';
import { MemoryOutbox } from './memory-outbox.js';

/** The production limits with every wait a thirtieth of its length. */
const QUICK: OutboxLimits = {
  ...OUTBOX_LIMITS,
  pollMs: 30,
  retryFirstMs: 30,
  retryLongestMs: 500,
  settleWaitMs: 2,
  paceMs: 5,
};

function upload(part: number): Upload {
  const bytes = randomBytes(600);
  const id = createHash('sha256').update(bytes.subarray(2, 514)).digest('base64url') as Id;
  return { part, id, bytes };
}

function pair(): readonly [Upload, Upload] {
  return [upload(UPLOAD_ITEM), upload(UPLOAD_ASSIGNMENT)];
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const endsAt = Date.now() + 8_000; !holds(); await sleep(3)) {
    if (Date.now() > endsAt) throw new Error(`waited in vain until ${what}`);
  }
}

describe('outbox worker', function () {
  this.timeout(20_000);
  let bundler: FakeBundler;
  let outbox: MemoryOutbox;
  let logged: { level: string; event: string }[];
  const opened: { close(): unknown }[] = [];

  beforeEach(async () => {
    bundler = await openFakeBundler();
    outbox = new MemoryOutbox();
    logged = [];
    opened.push(bundler);
  });
  afterEach(async () => {
    for (const each of opened.splice(0)) await each.close();
  });

  function clientOf(): UploaderClient {
    const client = makeUploaderClient({ url: bundler.url, timeoutMs: 1_000, connectionsMax: 16 });
    opened.unshift(client);
    return client;
  }

  interface Setup {
    limits?: Partial<OutboxLimits>;
    client?: UploaderClient;
    cache?: { send(bytes: Uint8Array): Promise<boolean> };
    start?: boolean;
    monotonicMs?: () => number;
  }

  function openWorker(setup: Setup = {}): OutboxWorker {
    const { limits, client, cache, start = true } = setup;
    const log =
      (level: string) =>
      ({ event }: { readonly event: string }) =>
        void logged.push({ level, event });
    const worker = makeOutboxWorker({
      outbox,
      client: client ?? clientOf(),
      cache,
      monotonicMs: setup.monotonicMs ?? (() => performance.now()),
      random: Math.random,
      delay: delayByTimer,
      limits: { ...QUICK, ...limits },
      log: { info: log('info'), warn: log('warn'), error: log('error') },
    });
    opened.unshift({ close: () => worker.close(200) });
    if (start) worker.start();
    return worker;
  }

  function events(event: string): number {
    return logged.filter((line) => line.event === event).length;
  }

  it('uploads what was just committed from memory, without reading the store', async () => {
    const worker = openWorker();
    outbox.readUploads = () => Promise.reject(new Error('the store was read'));
    const fresh = Array.from({ length: 20 }, () => outbox.put(pair(), 'leased'));
    worker.offer(fresh);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    const ids = fresh.flatMap((row) => row.uploads.map((each) => each.id));
    expect(bundler.uploads.map((each) => each.id)).to.have.members(ids);
    expect(worker.stats()).to.include({ uploaded: 40, failed: 0, parked: 0 });
  });

  it('uploads what the table holds from before its start', async () => {
    const rows = Array.from({ length: 150 }, () => outbox.put(pair(), 'due'));
    openWorker();
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(bundler.acceptedIds.size).to.equal(2 * rows.length);
    expect(bundler.uploads).to.have.length(2 * rows.length);
  });

  it('keeps a row until the bundler said 2xx for it', async () => {
    const gates: ((result: UploadResult) => void)[] = [];
    const client = { upload: () => new Promise<UploadResult>((resolve) => gates.push(resolve)) };
    const worker = openWorker({ client });
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => gates.length === 2, 'both parts are on their way');
    gates[0]?.({ status: 'accepted' });
    await sleep(30);
    expect(outbox.pending).to.equal(1);
    gates[1]?.({ status: 'accepted' });
    await until(() => outbox.pending === 0, 'the row is settled');
  });

  it('never has more than its limit of uploads in flight', async () => {
    bundler.slowDown(3);
    for (let count = 0; count < 100; count += 1) outbox.put(pair(), 'due');
    const worker = openWorker({ limits: { uploadsMax: 6 } });
    worker.offer(Array.from({ length: 100 }, () => outbox.put(pair(), 'leased')));
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(bundler.mostAtOnce).to.be.within(4, 7);
  });

  it('records many outcomes with one write', async () => {
    const worker = openWorker({ limits: { settleWaitMs: 25 } });
    worker.offer(Array.from({ length: 200 }, () => outbox.put(pair(), 'leased')));
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(outbox.settleSizes.length).to.be.below(60);
    expect(Math.max(...outbox.settleSizes)).to.be.within(5, 100);
  });

  it('tries only the part again that failed', async () => {
    const [item, assignment] = pair();
    let refusals = 2;
    bundler.answerWith(({ id }) => (id === assignment.id && refusals-- > 0 ? 500 : 200));
    const worker = openWorker();
    worker.offer([outbox.put([item, assignment], 'leased')]);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    const sent = bundler.uploads.map((each) => each.id);
    expect(sent.filter((id) => id === item.id)).to.have.length(1);
    expect(sent.filter((id) => id === assignment.id)).to.have.length(3);
    expect(worker.stats()).to.include({ failed: 2, uploaded: 2 });
  });

  it('parks what the bundler refuses for its content, and logs and counts it', async () => {
    const [item, assignment] = pair();
    bundler.answerWith(({ id }) => (id === item.id ? { status: 400, body: 'bad tags' } : 200));
    const worker = openWorker();
    const { row } = outbox.put([item, assignment], 'leased');
    worker.offer([{ row, uploads: [item, assignment] }]);
    await until(() => outbox.pending === 0, 'nothing is pending');
    expect(outbox.rows.get(row.key)).to.include({
      state: 'parked',
      parts: UPLOAD_ITEM,
      reason: '400: bad tags',
    });
    await sleep(150);
    expect(bundler.uploads.filter((each) => each.id === item.id)).to.have.length(1);
    expect(worker.stats()).to.include({ parked: 1, bundlerDown: false });
    expect(events('upload-parked')).to.equal(1);
  });

  it('publishes everything to a bundler that was down for a while, without trying every row against it', async () => {
    await bundler.goDown();
    let tries = 0;
    const real = clientOf();
    const client: UploaderClient = {
      upload: (bytes, signal) => {
        tries += 1;
        return real.upload(bytes, signal);
      },
    };
    for (let count = 0; count < 500; count += 1) outbox.put(pair(), 'due');
    const worker = openWorker({ client, limits: { freshRowsMax: 50 } });
    worker.offer(Array.from({ length: 40 }, () => outbox.put(pair(), 'leased')));
    await until(() => worker.stats().bundlerDown, 'the bundler counts as down');
    await sleep(300);
    expect(tries).to.be.below(80);
    expect(outbox.pending).to.equal(540);
    await bundler.comeUp();
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(bundler.acceptedIds.size).to.equal(1_080);
    expect(logged.map((line) => line.event)).to.deep.equal(['bundler-down', 'bundler-up']);
    expect(worker.stats().bundlerDown).to.equal(false);
  });

  it('waits at most the longest delay for what keeps failing, and never gives it up', async () => {
    const [item] = pair();
    let tries = 0;
    bundler.answerWith(({ id }) =>
      id === item.id && (tries += 1) < 9
        ? { status: 503, headers: { 'retry-after': '86400' } }
        : 200,
    );
    const worker = openWorker({ limits: { retryLongestMs: 40 } });
    worker.offer([outbox.put([item], 'leased')]);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(worker.stats()).to.include({ failed: 8, uploaded: 1 });
  });

  it('does not take the bundler for down because one item fails each time', async () => {
    const [item] = pair();
    bundler.answerWith(({ id }) => (id === item.id ? 503 : 200));
    const worker = openWorker({ limits: { retryLongestMs: 40 } });
    worker.offer([outbox.put([item], 'leased')]);
    await until(() => worker.stats().failed >= 12, 'it failed more often than the limit');
    expect(worker.stats().bundlerDown).to.equal(false);
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => bundler.acceptedIds.size === 2, 'what is new is through');
    expect(events('bundler-down')).to.equal(0);
  });

  it('publishes at once what is new, also when what fails each time has taken the bundler down', async () => {
    const failing = new Set<string>();
    bundler.answerWith(({ id }) => (failing.has(id) ? 500 : 200));
    const worker = openWorker({ limits: { retryFirstMs: 20, retryLongestMs: 20_000 } });
    const rows = Array.from({ length: 10 }, () => outbox.put(pair(), 'leased'));
    for (const { uploads } of rows) for (const { id } of uploads) failing.add(id);
    worker.offer(rows);
    await until(() => worker.stats().bundlerDown, 'the bundler counts as down');
    // Probes of what failed are by now further apart than this test waits.
    await until(() => worker.stats().failed >= 33, 'several probes failed');
    const begun = performance.now();
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => bundler.acceptedIds.size === 2, 'what is new is through');
    expect(performance.now() - begun).to.be.below(500);
  });

  it('sends no more than one probe in a while to a dead bundler, however much is scheduled', async () => {
    let tries = 0;
    const client: UploaderClient = {
      upload() {
        tries += 1;
        return Promise.resolve({ status: 'failed', reason: 'away', retryAfterMs: undefined });
      },
    };
    const worker = openWorker({ client, limits: { retryFirstMs: 100, retryLongestMs: 1_000 } });
    worker.offer(Array.from({ length: 10 }, () => outbox.put(pair(), 'leased')));
    await until(() => worker.stats().bundlerDown, 'the bundler counts as down');
    const before = tries;
    const writing = setInterval(() => worker.offer([outbox.put(pair(), 'leased')]), 2);
    await sleep(500);
    clearInterval(writing);
    expect((tries - before) / 2).to.be.within(2, 6);
  });

  it('logs a fault of account or address once as an error, shows it, and publishes when it is mended', async () => {
    bundler.answerWith(402);
    const worker = openWorker({ limits: { retryLongestMs: 60 } });
    worker.offer(Array.from({ length: 30 }, () => outbox.put(pair(), 'leased')));
    await until(() => bundler.uploads.length >= 20, 'some tries were made');
    expect(worker.stats().bundlerMisconfigured).to.equal(true);
    expect(events('bundler-misconfigured')).to.equal(1);
    expect(outbox.pending).to.equal(30);
    bundler.answerWith(200);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(events('bundler-misconfigured')).to.equal(1);
    expect(events('bundler-accepts-again')).to.equal(1);
    expect(worker.stats()).to.include({ bundlerMisconfigured: false, parked: 0 });
  });

  it('goes on publishing small items when the bundler asks money for a large one', async () => {
    const [large] = pair();
    bundler.answerWith(({ id }) => (id === large.id ? 402 : 200));
    const worker = openWorker();
    worker.offer([
      outbox.put([large], 'leased'),
      ...Array.from({ length: 30 }, () => outbox.put(pair(), 'leased')),
    ]);
    await until(() => outbox.pending === 1, 'all but the large one are through');
    expect(worker.stats()).to.include({ bundlerDown: false, bundlerMisconfigured: true });
  });

  it('leaves what finds no room in memory to the table', async () => {
    outbox = new MemoryOutbox({ leaseMs: 200 });
    bundler.slowDown(5);
    const worker = openWorker({
      limits: { freshRowsMax: 10, freshBytesMax: 8_000, uploadsMax: 2, holdMs: 100 },
    });
    const rows = Array.from({ length: 40 }, () => outbox.put(pair(), 'leased'));
    worker.offer(rows);
    expect(worker.stats().overflowed).to.be.within(30, 36);
    expect(worker.stats().rowsHeld).to.be.below(11);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(bundler.acceptedIds.size).to.equal(80);
  });

  describe('beside another server on the same table, by the limits of production', () => {
    const { holdMs, uploadTimeoutMs } = OUTBOX_LIMITS;
    let now: number;
    /** Uploads under way, each ended by a test. */
    let gates: ((result: UploadResult) => void)[];

    beforeEach(() => {
      now = 0;
      gates = [];
      outbox = new MemoryOutbox({ leaseMs: OUTBOX_LEASE_MS, clock: () => now });
    });

    const openServer = (start = true): OutboxWorker =>
      openWorker({
        client: { upload: () => new Promise((resolve) => gates.push(resolve)) },
        limits: { uploadsMax: 1 },
        monotonicMs: () => now,
        start,
      });
    const tableIsLookedInto = async (): Promise<void> => {
      const before = outbox.claims;
      await until(() => outbox.claims >= before + 2, 'the table was looked into');
    };

    it('leaves it no row while its own upload, begun at the last moment, may go on', async () => {
      const holding = openServer(false);
      const [early, late] = [upload(UPLOAD_ITEM), upload(UPLOAD_ITEM)];
      holding.offer([outbox.put([early], 'leased'), outbox.put([late], 'leased')]);
      await until(() => gates.length === 1, 'the first is on its way');
      now = holdMs - 1;
      gates[0]?.({ status: 'accepted' });
      await until(() => gates.length === 2 && outbox.pending === 1, 'the second is on its way');
      openServer();
      now += uploadTimeoutMs;
      await tableIsLookedInto();
      expect(gates).to.have.length(2);
      gates[1]?.({ status: 'failed', reason: 'too slow', retryAfterMs: undefined });
      await until(() => holding.stats().failed === 1, 'the second has failed');
    });

    it('takes over what a killed one has left once the lease is over', async () => {
      outbox.put([upload(UPLOAD_ITEM)], 'leased');
      openServer();
      now = OUTBOX_LEASE_MS - 1;
      await tableIsLookedInto();
      expect(gates).to.have.length(0);
      now = OUTBOX_LEASE_MS;
      await until(() => gates.length === 1, 'it is taken over');
    });

    it('begins nothing that its table gave out too slowly', async () => {
      outbox.put([upload(UPLOAD_ITEM)], 'due');
      const claim = outbox.claim.bind(outbox);
      outbox.claim = async (limit) => {
        const rows = await claim(limit);
        if (rows.length > 0) now += holdMs;
        return rows;
      };
      openServer();
      await tableIsLookedInto();
      expect(gates).to.have.length(0);
    });

    it('begins nothing whose bytes were too slow to be read', async () => {
      outbox.put([upload(UPLOAD_ITEM)], 'due');
      const readUploads = outbox.readUploads.bind(outbox);
      let reads = 0;
      outbox.readUploads = async (row) => {
        reads += 1;
        now += holdMs;
        return readUploads(row);
      };
      openServer();
      await until(() => reads === 1, 'they are read');
      await tableIsLookedInto();
      expect(gates).to.have.length(0);
    });

    it('begins nothing whose commit was too slow', async () => {
      openServer().offer([outbox.put([upload(UPLOAD_ITEM)], 'leased')], holdMs);
      await tableIsLookedInto();
      expect(gates).to.have.length(0);
    });
  });

  it('publishes everything when it was killed midway', async () => {
    outbox = new MemoryOutbox({ leaseMs: 300 });
    bundler.slowDown(4);
    const rows = Array.from({ length: 60 }, () => outbox.put(pair(), 'leased'));
    let killed = false;
    const real = clientOf();
    const mortal: UploaderClient = {
      upload: (bytes) => (killed ? new Promise(() => undefined) : real.upload(bytes)),
    };
    const first = openWorker({ client: mortal, limits: { uploadsMax: 4 }, start: false });
    first.offer(rows);
    await until(() => bundler.acceptedIds.size > 20, 'some are through');
    killed = true;
    expect(outbox.pending).to.be.above(0);
    openWorker();
    await until(() => outbox.pending === 0, 'the outbox is empty');
    const ids = rows.flatMap((row) => row.uploads.map((each) => each.id));
    expect([...bundler.acceptedIds]).to.have.members(ids);
  });

  it('keeps outcomes while the store is away, and tells of it once', async () => {
    const worker = openWorker();
    const rows = Array.from({ length: 10 }, () => outbox.put(pair(), 'leased'));
    outbox.away = true;
    worker.offer(rows);
    await until(() => bundler.acceptedIds.size === 20, 'all are uploaded');
    await sleep(150);
    expect(outbox.pending).to.equal(10);
    outbox.away = false;
    await until(() => outbox.pending === 0, 'the outcomes are recorded');
    expect(bundler.uploads).to.have.length(20);
    expect(logged.map((line) => line.event)).to.deep.equal([
      'outbox-unavailable',
      'outbox-available',
    ]);
  });

  it('parks a row whose bytes the store does not have', async () => {
    const { row } = outbox.put(pair(), 'due');
    outbox.readUploads = () => Promise.resolve([]);
    openWorker();
    await until(() => outbox.pending === 0, 'nothing is pending');
    expect(outbox.rows.get(row.key)).to.include({ state: 'parked', parts: 3 });
  });

  for (const [what, error, expected] of [
    ['is away for a moment', new SuError('store-unavailable', 'away'), 'outbox-unavailable'],
    ['refuses for a while', new SuError('schema-damaged', 'no such table'), 'upload-put-off'],
    ['fails in an unknown way', new Error('XX000'), 'upload-put-off'],
    ['has no memory left', new RangeError('Array buffer allocation failed'), 'upload-put-off'],
  ] as const) {
    it(`tries a row again soon when the store ${what}, and tells of it once`, async () => {
      const read = outbox.readUploads.bind(outbox);
      let failures = 20;
      outbox.readUploads = (row) => (failures-- > 0 ? Promise.reject(error) : read(row));
      for (let count = 0; count < 10; count += 1) outbox.put(pair(), 'due');
      const worker = openWorker();
      await until(() => outbox.pending === 0, 'the outbox is empty');
      expect(bundler.acceptedIds.size).to.equal(20);
      expect(worker.stats()).to.include({ failed: 20, uploaded: 20, parked: 0 });
      expect(events(expected)).to.be.within(1, 3);
      expect(events('upload-put-off') + events('outbox-unavailable')).to.equal(events(expected));
    });
  }

  it('tries a row again whose upload fails in an unknown way', async () => {
    const real = clientOf();
    let failures = 1;
    const client: UploaderClient = {
      upload: (bytes, signal) =>
        failures-- > 0 ? Promise.reject(new TypeError('a bug')) : real.upload(bytes, signal),
    };
    const worker = openWorker({ client });
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(bundler.acceptedIds.size).to.equal(2);
    expect(events('upload-put-off')).to.equal(1);
  });

  for (const code of ['invariant', 'invalid-data-item'] as const) {
    it(`parks a row whose bytes are damaged in the store (${code}), and counts it`, async () => {
      const { row } = outbox.put(pair(), 'due');
      outbox.readUploads = () => Promise.reject(new SuError(code, 'damaged'));
      const worker = openWorker();
      await until(() => outbox.pending === 0, 'nothing is pending');
      expect(outbox.rows.get(row.key)).to.include({ state: 'parked', parts: 3 });
      expect(worker.stats()).to.include({ parked: 1, failed: 0 });
      expect([events('upload-not-possible'), events('upload-parked')]).to.deep.equal([1, 1]);
    });
  }

  it('drains the table slowly while messages are being written, and fast otherwise', async () => {
    for (let count = 0; count < 400; count += 1) outbox.put([upload(UPLOAD_ITEM)], 'due');
    const worker = openWorker({ limits: { pacedRows: 2, paceMs: 20 } });
    const writing = setInterval(() => worker.offer([]), 5);
    worker.offer([]);
    await sleep(300);
    const paced = bundler.uploads.length;
    clearInterval(writing);
    expect(paced).to.be.within(4, 200);
    await until(() => outbox.pending === 0, 'the outbox is empty');
  });

  it('drains 10,000 rows', async () => {
    const client = { upload: () => Promise.resolve({ status: 'accepted' } as const) };
    for (let count = 0; count < 10_000; count += 1) outbox.put([upload(UPLOAD_ITEM)], 'due');
    const worker = openWorker({ client });
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(worker.stats()).to.include({ uploaded: 10_000, rowsHeld: 0, uploadsInFlight: 0 });
  });

  it('at its close waits for what is on its way and gives the rest back as due', async () => {
    bundler.slowDown(50);
    const worker = openWorker({ limits: { uploadsMax: 4 } });
    worker.offer(Array.from({ length: 10 }, () => outbox.put(pair(), 'leased')));
    await until(() => bundler.mostAtOnce === 4, 'some are on their way');
    await worker.close(2_000);
    expect(bundler.acceptedIds.size).to.equal(4);
    expect(outbox.pending).to.equal(8);
    expect(await outbox.claim(100)).to.have.length(8);
  });

  it('at its close breaks off what takes longer than the deadline', async () => {
    bundler.answerWith('hang');
    const worker = openWorker({ start: false });
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => bundler.uploads.length === 2, 'both parts are on their way');
    const begun = Date.now();
    await worker.close(50);
    await worker.close(50);
    expect(Date.now() - begun).to.be.below(900);
    expect(await outbox.claim(100)).to.have.length(1);
  });

  it('tells the cache of each item once, and does not care what it answers', async () => {
    let told = 0;
    const cache = {
      send: () => {
        told += 1;
        return told % 2 === 0 ? Promise.reject(new Error('no')) : Promise.resolve(false);
      },
    };
    let failures = 2;
    bundler.answerWith(() => (failures-- > 0 ? 500 : 200));
    const worker = openWorker({ cache });
    worker.offer([outbox.put(pair(), 'leased')]);
    await until(() => outbox.pending === 0, 'the outbox is empty');
    expect(told).to.equal(2);
    expect(worker.stats().cacheFailed).to.equal(2);
  });
});
