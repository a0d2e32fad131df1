import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { openLog } from '../../src/lib/observability/log.js';
import { METRICS_OFF } from '../../src/lib/observability/metrics.js';
import { OUTBOX_LEASE_MS, OUTBOX_LIMITS } from '../../src/lib/uploader/outbox-limits.js';
import { DUE_AHEAD_MAX_MS } from '../../src/lib/uploader/ports.js';
import { ClosingStack } from '../../src/lib/wiring/closing-stack.js';
import { openHeights, openWorker } from '../../src/lib/wiring/network.js';
import { openStore } from '../../src/lib/wiring/store.js';
import { newLog } from '../storage/conformance/log-builder.js';
import { openFakeBundler } from '../support/fake-bundler.js';

const HOUR_MS = 3_600_000;
const log = openLog({ level: 'silent' });

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const endsAt = performance.now() + 15_000; !(await holds()); await sleep(20)) {
    if (performance.now() > endsAt) throw new Error(`waited in vain until ${what}`);
  }
}

describe('the program when its wall clock is set', function () {
  this.timeout(60_000);
  const wallClock = Date.now;
  const setClock = (byMs: number): void => void (Date.now = () => wallClock() + byMs);
  let closing: ClosingStack;

  beforeEach(() => (closing = new ClosingStack()));
  afterEach(async () => {
    Date.now = wallClock;
    await closing.closeAll();
  });

  for (const byMs of [-HOUR_MS, HOUR_MS]) {
    it(`publishes what waits for a bundler that comes back, with the clock ${byMs / HOUR_MS} h`, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'su-set-clock-'));
      closing.add({ close: () => rm(folder, { recursive: true, force: true }) });
      const bundler = closing.add(await openFakeBundler());
      const config = { kind: 'embedded', folder, socketPath: join(folder, 'su.sock') } as const;
      const before = await openStore(config, { log });
      await before.store.append([(await newLog(9)).run]);
      await before.close();
      // After a start every row is due.
      const opened = closing.add(await openStore(config, { log }));
      await bundler.goDown();
      const worker = openWorker(opened.outbox, {
        network: {
          gateway: undefined as never,
          uploadUrl: bundler.url,
          cacheUrl: undefined,
          url: undefined,
        },
        metrics: METRICS_OFF,
        log,
        closing,
      });
      worker.start();
      await until(() => worker.stats().bundlerDown, 'the bundler counts as down');
      setClock(byMs);
      await bundler.comeUp();
      const isEmpty = async (): Promise<boolean> => (await opened.outbox.counts()).pending === 0;
      await until(isEmpty, 'everything is published');
      expect(bundler.acceptedIds.size).to.be.above(0);
    });
  }

  it('keeps its block height, however far the clock leaps', async () => {
    const gateway = { fetchBlockHeight: () => Promise.resolve(1_500_000) };
    const config = { blockHeightStaleMs: 60_000, blockHeightMaxAgeMs: HOUR_MS };
    const heights = closing.add(openHeights(config as never, gateway as never, log));
    await until(() => heights.current() !== undefined, 'the height is known');
    setClock(2 * HOUR_MS);
    expect(heights.require()).to.equal(1_500_000);
    expect(heights.isStale()).to.equal(false);
    setClock(-2 * HOUR_MS);
    expect(heights.current()?.ageMs).to.be.within(0, 10_000);
  });

  it('delays no row for longer than what counts as a time that was stored before the clock was set', () => {
    expect(OUTBOX_LIMITS.retryLongestMs).to.be.below(DUE_AHEAD_MAX_MS);
    expect(OUTBOX_LEASE_MS).to.be.below(DUE_AHEAD_MAX_MS);
  });
});
