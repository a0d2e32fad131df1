import { join } from 'node:path';
import { expect } from 'chai';
import { faultsOfLog } from '../support/read-log.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { testWallet } from '../support/test-wallet.js';
import { positionOf, tagOf } from './conversation.js';
import { describeReplay } from './describe-replay.js';
import { ASSIGNED, replayConversation, type Replay } from './replay.js';
import { answerAt, expectJson } from './same-answer.js';

describeReplay({
  name: 'the embedded store',
  open: () =>
    Promise.resolve({
      env: (folder) => ({ SU_DATA_DIR: join(folder, 'data') }),
      close: () => Promise.resolve(),
    }),
});

describe('the recorded conversation with-process-assignment, with ASSIGN_RETRY_WINDOW_MS=0', () => {
  let replay: Replay;

  before(async function () {
    this.timeout(120_000);
    await testWallet('scheduler');
    replay = await replayConversation({
      processAssignment: true,
      storeEnv: (folder) => ({ SU_DATA_DIR: join(folder, 'data'), ASSIGN_RETRY_WINDOW_MS: '0' }),
    });
  });

  it('gives an assign that is sent again the next nonce, as the reference did', async () => {
    const processId = replay.conversation.processIds.get('process-plain') as Id;
    const entries = replay.logs.get(processId) ?? [];
    const isAboutTarget = ({ key }: { key: string }): boolean => key.includes(ASSIGNED.target);
    const recorded = replay.conversation.entries.filter(isAboutTarget);
    const assigned = entries.filter(isAboutTarget);
    const keys = [1, 2].map((time) => `${processId} ${ASSIGNED.target} ${time}`);
    expect(recorded.map(({ key }) => key)).to.deep.equal(keys);
    expect(assigned.map(({ key }) => key)).to.deep.equal(keys);

    for (const [index, exchange] of ['assign message', 'assign again'].entries()) {
      const node = assigned[index]?.edge.node;
      if (node === undefined) throw new Error(`our log has no entry for ${exchange}`);
      expectJson(answerAt(replay, positionOf(replay.conversation, exchange)), {
        id: node.assignment.id,
        timestamp: Number(tagOf(node, 'Timestamp')),
      });
    }
    const edges = entries.map(({ edge }) => edge);
    expect(await faultsOfLog(processId, edges)).to.deep.equal([]);
    expect(edges).to.have.lengthOf(17);
  });
});
