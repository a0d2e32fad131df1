import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { SuError, type ErrorCode } from '../../src/lib/errors.js';
import { idFromBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { Job } from '../../src/lib/scheduler/entry.js';
import type { Receipt, ReceiptQuery } from '../../src/lib/scheduler/ports.js';
import type { Placement } from '../../src/lib/scheduler/process-lane.js';
import { NO_GUARDS } from '../../src/lib/scheduler/guards.js';
import { checkWarm, makeSubmit, type Submit } from '../../src/lib/scheduler/submit.js';
import { verifyPostedItem } from '../../src/lib/scheduler/verify-data-item.js';
import { quickItem, quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';

const wallet = quickWallet();
const processId = quickProcess(wallet).id;
const transactionId = idFromBytes(randomBytes(32));

/** The write path with its neighbours replaced by what they may answer. */
class Harness {
  readonly jobs: Job[] = [];
  readonly lookedUp: ReceiptQuery[] = [];
  readonly stored = new Map<Id, Receipt>();
  place: (job: Job) => Promise<Placement> = (job) =>
    Promise.resolve({ id: idOf(job), timestamp: 1234, nonce: 7, repeated: false });
  onBootChecked: (Id | undefined)[] = [];
  assignsChecked = 0;
  ready: () => void = () => undefined;
  readonly submit: Submit;

  constructor(windowMs = 20_000) {
    this.submit = makeSubmit({
      lanes: {
        enter: (job) => {
          this.jobs.push(job);
          return this.place(job);
        },
      },
      guards: NO_GUARDS,
      prepare: {
        checkOnBoot: (onBoot) => {
          this.onBootChecked.push(onBoot);
          return Promise.resolve();
        },
        checkTransaction: () => {
          this.assignsChecked += 1;
          return Promise.resolve(undefined);
        },
      },
      findReceipt: (query) => {
        this.lookedUp.push(query);
        return Promise.resolve(query.kind === 'assign' ? undefined : this.stored.get(query.id));
      },
      checkReady: () => this.ready(),
      now: () => 1_000_000,
      processAssignment: true,
      assignRetryWindowMs: windowMs,
    });
  }

  assign(exclude?: string): Promise<Receipt> {
    return this.submit.submitAssign({
      processId,
      assign: transactionId,
      baseLayer: false,
      exclude,
    });
  }
}

function idOf(job: Job): Id {
  return job.kind === 'assigned-transaction' ? job.transactionId : job.item.id;
}

/** Resolves when what is being verified now is verified: the thread pool works in the order in which it is asked. */
async function othersVerified(bytes: Uint8Array): Promise<void> {
  for (let i = 0; i < 20; i += 1) await verifyPostedItem(bytes);
}

async function refusal(outcome: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await outcome;
    return undefined;
  } catch (error) {
    if (error instanceof SuError) return error.code;
    throw error;
  }
}

describe('submit', () => {
  it('gives a verified message to the lane of its process', async () => {
    const harness = new Harness();
    const item = quickMessage(wallet, processId);
    const receipt = await harness.submit.submitItem(item.bytes);
    expect(receipt).to.deep.equal({
      id: item.id,
      timestamp: 1234,
      nonce: 7,
      repeated: false,
      kind: 'message',
      processId,
    });
    expect(harness.jobs[0]).to.include({ kind: 'message', processId });
  });

  it('returns the first receipt of an item that is stored, without a place or a signature', async () => {
    const harness = new Harness();
    const item = quickMessage(wallet, processId);
    harness.stored.set(item.id, { id: item.id, timestamp: 99 });
    const receipt = await harness.submit.submitItem(item.bytes);
    expect(receipt).to.include({ id: item.id, timestamp: 99, repeated: true });
    expect(harness.jobs).to.deep.equal([]);
  });

  it('gives everybody who posts an item while it is under way the same receipt', async () => {
    const harness = new Harness();
    const item = quickMessage(wallet, processId);
    harness.place = async (job) => {
      await othersVerified(item.bytes);
      return { id: idOf(job), timestamp: 1234, nonce: 7, repeated: false };
    };
    const receipts = await Promise.all(
      Array.from({ length: 16 }, () => harness.submit.submitItem(item.bytes)),
    );
    expect(harness.jobs).to.have.length(1);
    expect(new Set(receipts.map(({ id, timestamp }) => `${id} ${timestamp}`)).size).to.equal(1);
    expect(receipts.filter(({ repeated }) => !repeated)).to.have.length(1);
  });

  it('gives them the same error too, and tries anew afterwards', async () => {
    const harness = new Harness();
    const item = quickMessage(wallet, processId);
    harness.place = async () => {
      await othersVerified(item.bytes);
      throw new SuError('store-unavailable', 'away');
    };
    const codes = await Promise.all(
      [1, 2, 3].map(() => refusal(harness.submit.submitItem(item.bytes))),
    );
    expect(codes).to.deep.equal(['store-unavailable', 'store-unavailable', 'store-unavailable']);
    expect(harness.jobs).to.have.length(1);
    await refusal(harness.submit.submitItem(item.bytes));
    expect(harness.jobs).to.have.length(2);
  });

  it('does not look anything up for an item whose signature is wrong', async () => {
    const harness = new Harness();
    const bytes = Buffer.from(quickMessage(wallet, processId).bytes);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    expect(await refusal(harness.submit.submitItem(bytes))).to.equal('invalid-signature');
    expect(harness.lookedUp).to.deep.equal([]);
  });

  it('checks whether it takes writes before it looks at the item', async () => {
    const harness = new Harness();
    harness.ready = () => checkWarm(1_030_000, 1_000_000);
    expect(await refusal(harness.submit.submitItem(new Uint8Array(0)))).to.equal('not-ready');
    expect(await refusal(harness.assign())).to.equal('not-ready');
  });

  it('asks the gateway for the On-Boot id of a process', async () => {
    const harness = new Harness();
    const tags = ['Data-Protocol', 'Type', 'Module', 'Scheduler', 'On-Boot'].map((name) => ({
      name,
      value: name === 'Type' ? 'Process' : transactionId,
    }));
    await harness.submit.submitItem(quickItem(wallet, { tags, data: new Uint8Array(1) }).bytes);
    expect(harness.onBootChecked).to.deep.equal([transactionId]);
  });

  it('looks a repeated assign up within the window and counts the exclude list', async () => {
    const harness = new Harness();
    await harness.assign('Data,,Tags');
    expect(harness.lookedUp).to.deep.equal([
      { kind: 'assign', processId, transactionId, exclude: ['Data', 'Tags'], since: 980_000 },
    ]);
    expect(harness.assignsChecked).to.equal(1);
  });

  it('joins assigns that are under way only when they are the same', async () => {
    const harness = new Harness();
    await Promise.all([harness.assign('Data'), harness.assign('Data'), harness.assign('Tags')]);
    expect(harness.jobs).to.have.length(2);
  });

  it('checks an assign on the base layer and a plain one each, and places them once', async () => {
    const harness = new Harness();
    const query = { processId, assign: transactionId, exclude: undefined };
    const receipts = await Promise.all(
      [true, false].map((baseLayer) => harness.submit.submitAssign({ ...query, baseLayer })),
    );
    expect(harness.assignsChecked).to.equal(2);
    expect(harness.jobs).to.have.length(1);
    expect(receipts.map(({ nonce, repeated }) => [nonce, repeated])).to.deep.equal([
      [7, false],
      [7, true],
    ]);
  });

  it('joins no assigns when the window is off', async () => {
    const harness = new Harness(0);
    await Promise.all([harness.assign(), harness.assign()]);
    expect(harness.jobs).to.have.length(2);
  });

  const noBytesEncodeTo = 'q'.repeat(43);
  for (const [query, code] of [
    [{ assign: 'abc' }, 'invalid-request'],
    [{ processId: 'a b' }, 'invalid-request'],
    [{ assign: noBytesEncodeTo }, 'unknown-transaction'],
    [{ processId: noBytesEncodeTo }, 'unknown-process'],
  ] as const) {
    it(`refuses an assign with ${JSON.stringify(query)} as ${code}`, async () => {
      const { submit } = new Harness();
      const whole = { processId, assign: transactionId, baseLayer: false, exclude: undefined };
      expect(await refusal(submit.submitAssign({ ...whole, ...query }))).to.equal(code);
    });
  }
});
