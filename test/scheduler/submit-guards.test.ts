import { expect } from 'chai';
import { isSuError, SuError } from '../../src/lib/errors.js';
import type { DataItem } from '../../src/lib/protocol/data-item.js';
import { idFromBytes, idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { Job } from '../../src/lib/scheduler/entry.js';
import { makeFairShares } from '../../src/lib/scheduler/fair-shares.js';
import { makeGuardedReader } from '../../src/lib/scheduler/guarded-reader.js';
import { NO_GUARDS, type Guards } from '../../src/lib/scheduler/guards.js';
import type { LogEntry, LogProcess, LogReader } from '../../src/lib/scheduler/ports.js';
import type { Placement } from '../../src/lib/scheduler/process-lane.js';
import { makeProcessGuard } from '../../src/lib/scheduler/process-whitelist.js';
import { makeSubmit, type Submit } from '../../src/lib/scheduler/submit.js';
import { randomId } from '../support/item-factory.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';

const wallet = quickWallet();

/** A submit whose lanes take everything, behind guards. */
function submitBehind(
  guards: Partial<Guards>,
  options: { stored?: Id; processAssignment?: boolean; place?: () => Promise<void> } = {},
): { submit: Submit; jobs: Job[] } {
  const jobs: Job[] = [];
  const submit = makeSubmit({
    guards: { ...NO_GUARDS, ...guards },
    lanes: {
      async enter(job): Promise<Placement> {
        jobs.push(job);
        await options.place?.();
        const id = job.kind === 'assigned-transaction' ? job.transactionId : job.item.id;
        return { id, timestamp: 1, nonce: 0, repeated: false };
      },
    },
    prepare: {
      checkOnBoot: () => Promise.resolve(),
      checkTransaction: () => Promise.resolve(undefined),
    },
    findReceipt: (query) =>
      Promise.resolve(
        query.kind !== 'assign' && query.id === options.stored
          ? { id: query.id, timestamp: 7 }
          : undefined,
      ),
    checkReady: () => undefined,
    now: () => 1_000,
    processAssignment: options.processAssignment ?? true,
    assignRetryWindowMs: 0,
  });
  return { submit, jobs };
}

async function codeOf(outcome: Promise<unknown>): Promise<string> {
  try {
    await outcome;
    return 'taken';
  } catch (error) {
    return isSuError(error) ? error.code : String(error);
  }
}

const listing = (processes: Readonly<Record<string, { readOnly: boolean }>>) => ({
  require: () => ({
    databases: [],
    find(id: string) {
      const process = processes[id];
      return process && { database: 'su', ...process };
    },
  }),
});

describe('the write path behind a list of processes', () => {
  const listed = quickProcess(wallet);
  const readOnly = randomId();
  const list = listing({ [listed.id]: { readOnly: false }, [readOnly]: { readOnly: true } });
  const processes = makeProcessGuard(list);
  const assign = (submit: Submit, processId: string): Promise<unknown> =>
    submit.submitAssign({ processId, assign: randomId(), baseLayer: false, exclude: undefined });

  it('takes messages and assigns for a listed process', async () => {
    const { submit, jobs } = submitBehind({ processes });
    await submit.submitItem(quickMessage(wallet, listed.id).bytes);
    await assign(submit, listed.id);
    expect(jobs).to.have.lengthOf(2);
  });

  for (const [what, processId] of [
    ['a read-only process', readOnly],
    ['a process of another SU', randomId()],
  ] as const) {
    it(`takes neither for ${what}`, async () => {
      const { submit, jobs } = submitBehind({ processes });
      const message = quickMessage(wallet, processId);
      expect(await codeOf(submit.submitItem(message.bytes))).to.equal('not-allowed');
      expect(await codeOf(assign(submit, processId))).to.equal('not-allowed');
      expect(jobs).to.deep.equal([]);
    });
  }

  it('spawns no process, listed or not, but answers for one that is stored', async () => {
    const { submit, jobs } = submitBehind({ processes });
    expect(await codeOf(submit.submitItem(listed.bytes))).to.equal('not-allowed');
    expect(await codeOf(submit.submitItem(quickProcess(wallet).bytes))).to.equal('not-allowed');
    expect(jobs).to.deep.equal([]);
    const known = submitBehind({ processes }, { stored: listed.id });
    expect(await known.submit.submitItem(listed.bytes)).to.include({
      timestamp: 7,
      repeated: true,
    });
  });

  it('takes nothing until the list is loaded', async () => {
    const away = {
      require: () => {
        throw new SuError('not-ready', 'not loaded');
      },
    };
    const { submit } = submitBehind({ processes: makeProcessGuard(away) });
    const message = quickMessage(wallet, listed.id);
    expect(await codeOf(submit.submitItem(message.bytes))).to.equal('not-ready');
    expect(await codeOf(submit.submitItem(listed.bytes))).to.equal('not-ready');
    expect(await codeOf(assign(submit, listed.id))).to.equal('not-ready');
  });
});

describe('the write path behind the other guards', () => {
  const processId = randomId();

  it('asks the router before it spawns with process assignments, and only then', async () => {
    const asked: Id[] = [];
    const checkPlace = (id: Id): Promise<void> => {
      asked.push(id);
      return Promise.reject(new SuError('not-allowed', 'elsewhere'));
    };
    const process = quickProcess(wallet);
    const on = submitBehind({ checkPlace });
    expect(await codeOf(on.submit.submitItem(process.bytes))).to.equal('not-allowed');
    await on.submit.submitItem(quickMessage(wallet, processId).bytes);
    expect(asked).to.deep.equal([process.id]);
    const off = submitBehind({ checkPlace }, { processAssignment: false });
    expect(await codeOf(off.submit.submitItem(process.bytes))).to.equal('taken');
    const known = submitBehind({ checkPlace }, { stored: process.id });
    expect(await codeOf(known.submit.submitItem(process.bytes))).to.equal('taken');
    expect(asked).to.have.lengthOf(1);
  });

  it('asks for the size of messages, never of processes', async () => {
    const checkSize = (item: DataItem): void => {
      throw new SuError('body-too-large', `${item.bytes.length}`);
    };
    const { submit } = submitBehind({ checkSize });
    const message = quickMessage(wallet, processId);
    expect(await codeOf(submit.submitItem(message.bytes))).to.equal('body-too-large');
    expect(await codeOf(submit.submitItem(quickProcess(wallet).bytes))).to.equal('taken');
  });

  it('counts what is under way by process and owner, and lets a retry of a stored item through', async () => {
    const shares = makeFairShares({ perProcess: 0, perOwner: 1 });
    const stored = quickMessage(wallet, processId);
    let end = (): void => undefined;
    const over = new Promise<void>((resolve) => (end = resolve));
    const { submit, jobs } = submitBehind({ shares }, { stored: stored.id, place: () => over });
    const first = submit.submitItem(quickMessage(wallet, processId).bytes);
    while (jobs.length === 0) await new Promise(setImmediate);
    const second = quickMessage(wallet, randomId());
    expect(await codeOf(submit.submitItem(second.bytes))).to.equal('owner-busy');
    expect(await codeOf(submit.submitItem(stored.bytes))).to.equal('taken');
    const other = quickMessage(quickWallet(), processId);
    const third = submit.submitItem(other.bytes);
    end();
    await Promise.all([first, third]);
    expect(await codeOf(submit.submitItem(second.bytes))).to.equal('taken');
  });
});

describe('the reader behind a list of processes', () => {
  const listed = randomId();
  const other = randomId();
  const entryOf = (processId: Id): LogEntry => ({
    epoch: 0,
    nonce: 1,
    timestamp: 1,
    node: Buffer.from(
      JSON.stringify({
        message: null,
        assignment: { tags: [{ name: 'Process', value: processId }] },
      }),
    ),
  });
  /** Message ids are those of their process, one byte off. */
  const messageOf = (processId: Id): Id => {
    const bytes = Buffer.from(idToBytes(processId));
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    return idFromBytes(bytes);
  };
  const everything: LogReader = {
    findProcess: (processId) => Promise.resolve({ processId } as LogProcess),
    async *readRange() {
      yield [entryOf(listed)];
    },
    findLatest: (processId) => Promise.resolve(entryOf(processId)),
    findHeadPlace: (processId) => Promise.resolve(entryOf(processId)),
    findEntry: (id, processId) => Promise.resolve(entryOf(processId ?? messageOf(id))),
  };
  const reader = makeGuardedReader(everything, listing({ [listed]: { readOnly: false } }));

  it('finds what belongs to a listed process', async () => {
    expect(await reader.findProcess(listed)).to.deep.equal({ processId: listed });
    expect(await reader.findHeadPlace(listed)).to.not.equal(undefined);
    expect(await reader.findLatest(listed)).to.not.equal(undefined);
    expect(await reader.findEntry(messageOf(listed), listed)).to.not.equal(undefined);
    expect(await reader.findEntry(messageOf(listed), undefined)).to.not.equal(undefined);
  });

  it('finds nothing of any other, also by an id alone', async () => {
    expect(await reader.findProcess(other)).to.equal(undefined);
    expect(await reader.findHeadPlace(other)).to.equal(undefined);
    expect(await reader.findLatest(other)).to.equal(undefined);
    expect(await reader.findEntry(messageOf(other), other)).to.equal(undefined);
    expect(await reader.findEntry(messageOf(other), undefined)).to.equal(undefined);
  });
});
