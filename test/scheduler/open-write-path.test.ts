import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { idFromBytes, type Id } from '../../src/lib/protocol/ids.js';
import {
  openWritePath,
  WRITE_LIMITS,
  type WritePath,
  type WritePathOptions,
} from '../../src/lib/scheduler/open-write-path.js';
import type { Gateway, RunOutcome, Signer } from '../../src/lib/scheduler/ports.js';
import { MemoryScheduleStore } from '../support/memory-schedule-store.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';

const wallet = quickWallet();
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const GATEWAY: Gateway = {
  fetchBlockHeight: () => Promise.resolve(1_500_000),
  fetchConfirmations: () => Promise.resolve(100),
  fetchTransactionExists: () => Promise.resolve(true),
  fetchTransaction: () => Promise.resolve(undefined),
  fetchIdAnswers: () => Promise.resolve(true),
};

function signer(sign: () => Promise<void>): Signer {
  return {
    address: idFromBytes(randomBytes(32)),
    owner: new Uint8Array(512).fill(7),
    async sign() {
      await sign();
      return randomBytes(512);
    },
  };
}

function openOn(store: MemoryScheduleStore, options: Partial<WritePathOptions> = {}): WritePath {
  return openWritePath({
    store,
    gateway: GATEWAY,
    signer: signer(turn),
    blockClock: { require: () => 1_500_000 },
    clock: Date.now,
    monotonicMs: () => performance.now(),
    random: (length) => randomBytes(length),
    pause: turn,
    missing: () => undefined,
    processAssignment: true,
    assignRetryWindowMs: 20_000,
    processCacheSize: 100,
    readyAt: 0,
    limits: { ...WRITE_LIMITS, signaturesAtOnce: 1 },
    observe: { signed: () => undefined, waited: () => undefined, committed: () => undefined },
    ...options,
  });
}

describe('the write path', () => {
  it('places an assign on the base layer and the same plain one, with messages, at one go', async () => {
    const outcomes: RunOutcome[] = [];
    const { submit } = openOn(new MemoryScheduleStore(), {
      observe: {
        signed: () => undefined,
        waited: () => undefined,
        committed: (committed) => void outcomes.push(...committed.outcomes),
      },
    });
    const process = quickProcess(wallet);
    await submit.submitItem(process.bytes);
    const query = {
      processId: process.id,
      assign: idFromBytes(randomBytes(32)),
      exclude: undefined,
    };
    const [onBaseLayer, plain] = await Promise.all([
      submit.submitAssign({ ...query, baseLayer: true }),
      submit.submitAssign({ ...query, baseLayer: false }),
      ...Array.from({ length: 6 }, () => submit.submitItem(quickMessage(wallet, process.id).bytes)),
    ]);
    expect(onBaseLayer?.id).to.equal(plain?.id);
    expect(outcomes.map(({ status }) => status)).not.to.include('moved');
  });

  it('finds an assign that was stored when the clock is set back before it is signed', async () => {
    const store = new MemoryScheduleStore();
    let now = 1_700_000_000_000;
    const { submit } = openOn(store, {
      clock: () => now,
      gateway: {
        ...GATEWAY,
        // Asked after the look for earlier ones, and before the signature.
        fetchTransactionExists: () => {
          now -= 60_000;
          return Promise.resolve(true);
        },
      },
    });
    const process = quickProcess(wallet);
    await submit.submitItem(process.bytes);
    now += 3_600_000;
    store.nextFault = () => {
      store.nextFault = () => 'none';
      return 'unknown-after';
    };
    await submit.submitAssign({
      processId: process.id,
      assign: idFromBytes(randomBytes(32)),
      baseLayer: false,
      exclude: undefined,
    });
    expect(store.logs.get(process.id)).to.have.length(2);
  });

  it('lets no group wait for those who stand in line for another one', async () => {
    const alone = quickProcess(wallet);
    const others = Array.from({ length: 12 }, () => quickProcess(wallet));
    let pauses = 0;
    const pausesBefore: number[] = [];
    const store = new MemoryScheduleStore();
    store.onAppend = ([run]) => {
      if (run?.processId === alone.id) pausesBefore.push(pauses);
    };
    let release = (): void => undefined;
    const isReleased = new Promise<void>((resolve) => (release = resolve));
    const { submit, lanes } = openOn(store, {
      groupOf: (id: Id | undefined) => (id === alone.id ? 'alone' : 'others'),
      signer: signer(() => isReleased.then(turn)),
      pause: () => {
        pauses += 1;
        return turn();
      },
    });
    const first = submit.submitItem(alone.bytes);
    while (lanes.count() < 1) await turn();
    const rest = others.map(({ bytes }) => submit.submitItem(bytes));
    while (lanes.count() <= others.length) await turn();
    release();
    await Promise.all([first, ...rest]);
    expect(pausesBefore).to.deep.equal([0]);
    expect(pauses).to.be.greaterThan(0);
  });
});
