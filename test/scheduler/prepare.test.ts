import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { idFromBytes } from '../../src/lib/protocol/ids.js';
import type { DeepHashes, TransactionContent } from '../../src/lib/scheduler/ports.js';
import { makePrepare, type Prepare } from '../../src/lib/scheduler/prepare.js';

const processId = idFromBytes(randomBytes(32));
const transactionId = idFromBytes(randomBytes(32));

function prepareWith(world: {
  readonly tags?: { name: string; value: string }[] | undefined;
  readonly confirmations?: number;
  readonly exists?: boolean;
  readonly answers?: boolean;
  readonly processAssignment?: boolean;
  readonly content?: TransactionContent;
  readonly hash?: (content: TransactionContent) => Promise<DeepHashes>;
}): Prepare & { readonly asked: string[] } {
  const asked: string[] = [];
  const prepare = makePrepare({
    gateway: {
      fetchConfirmations: () => {
        asked.push('confirmations');
        return Promise.resolve(world.confirmations ?? 0);
      },
      fetchTransactionExists: () => {
        asked.push('graphql');
        return Promise.resolve(world.exists ?? true);
      },
      fetchTransaction: async (_, use) => {
        asked.push('content');
        return world.content && use(world.content);
      },
      fetchIdAnswers: () => {
        asked.push('head');
        return Promise.resolve(world.answers ?? true);
      },
    },
    store: { findProcessTags: () => Promise.resolve('tags' in world ? world.tags : []) },
    processAssignment: world.processAssignment ?? true,
    hash: world.hash,
  });
  return { ...prepare, asked };
}

const depth = (value: string): { name: string; value: string }[] => [
  { name: 'Settlement-Depth', value },
];

async function codeOf(outcome: Promise<unknown>): Promise<string> {
  try {
    await outcome;
    return 'accepted';
  } catch (error) {
    return error instanceof SuError ? error.code : String(error);
  }
}

describe('what an assign needs before its place', () => {
  const assign = (baseLayer: boolean): Parameters<Prepare['checkTransaction']>[0] => ({
    processId,
    transactionId,
    baseLayer,
  });

  it('refuses an unknown process before the gateway is asked', async () => {
    const prepare = prepareWith({ tags: undefined });
    expect(await codeOf(prepare.checkTransaction(assign(true)))).to.equal('unknown-process');
    expect(prepare.asked).to.deep.equal([]);
  });

  it('asks GraphQL for a transaction', async () => {
    const prepare = prepareWith({ exists: true });
    expect(await codeOf(prepare.checkTransaction(assign(false)))).to.equal('accepted');
    expect(prepare.asked).to.deep.equal(['graphql']);
  });

  it('refuses one that GraphQL does not know', async () => {
    const outcome = prepareWith({ exists: false }).checkTransaction(assign(false));
    expect(await codeOf(outcome)).to.equal('unknown-transaction');
  });

  it('hashes what a transaction says where it is read, and nothing of one on the base layer', async () => {
    const none = new Uint8Array(0);
    const content = { target: none, anchor: none, tags: [], data: Buffer.from('data') };
    const hash = async ({ data }: TransactionContent): Promise<DeepHashes> => {
      const stored = Buffer.from(data).toString();
      return { version: '1', stored, matches: [stored] };
    };
    const prepare = prepareWith({ content, hash, confirmations: 20 });
    const hashes = { version: '1', stored: 'data', matches: ['data'] };
    expect(await prepare.checkTransaction(assign(false))).to.deep.equal(hashes);
    expect(await prepare.checkTransaction(assign(true))).to.equal(undefined);
    expect(prepare.asked).to.deep.equal(['content', 'confirmations']);
    const unknown = prepareWith({ hash }).checkTransaction(assign(false));
    expect(await codeOf(unknown)).to.equal('unknown-transaction');
  });

  for (const [what, tags, confirmations, expected] of [
    ['20 confirmations by default', [], 20, 'accepted'],
    ['fewer than 20 by default', [], 19, 'not-enough-confirmations'],
    ['the depth of the process', depth('3'), 3, 'accepted'],
    ['less than the depth of the process', depth('50'), 49, 'not-enough-confirmations'],
    ['the default for a depth that is no number', depth('deep'), 19, 'not-enough-confirmations'],
  ] as const) {
    it(`counts on the base layer: ${what}`, async () => {
      const prepare = prepareWith({ tags: [...tags], confirmations });
      expect(await codeOf(prepare.checkTransaction(assign(true)))).to.equal(expected);
      expect(prepare.asked).to.deep.equal(['confirmations']);
    });
  }
});

describe('what a process with On-Boot needs before its place', () => {
  it('refuses an id that no gateway has', async () => {
    const outcome = prepareWith({ answers: false }).checkOnBoot(transactionId);
    expect(await codeOf(outcome)).to.equal('invalid-request');
  });

  it('asks nobody without an id, or without process assignments', async () => {
    const plain = prepareWith({ answers: false });
    await plain.checkOnBoot(undefined);
    const off = prepareWith({ answers: false, processAssignment: false });
    await off.checkOnBoot(transactionId);
    expect([plain.asked, off.asked]).to.deep.equal([[], []]);
  });
});
