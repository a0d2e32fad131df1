import { expect } from 'chai';
import { readAssignment } from '../../src/lib/protocol/assignment.js';
import { parseMessageBundle, parseProcessBundle } from '../../src/lib/protocol/bundle.js';
import { firstLink, nextLink } from '../../src/lib/protocol/hash-chain.js';
import { randomId } from './item-factory.js';
import { joinRuns, makeLog, type FakeLog } from './fake-log.js';

/** Recomputes nonces and hash chain from the bundles alone. */
function expectChained(log: FakeLog): void {
  const bundles = log.entries.map(({ kind, bundle }) =>
    kind === 'process' ? parseProcessBundle(bundle) : parseMessageBundle(bundle),
  );
  let link = firstLink(log.processId);
  const placed = bundles.flatMap(({ assignment }) => assignment ?? []);
  for (const [nonce, assignment] of placed.entries()) {
    expect(readAssignment(assignment)).to.include({ nonce, hashChain: link });
    link = nextLink(assignment.id, link);
  }
}

describe('a fake log', () => {
  it('with process assignment gives the process nonce 0 and its messages the next ones', async () => {
    const log = await makeLog();
    const run = await log.run({ message: { data: 'a' } }, { assign: { exclude: ['Data'] } });
    expect(log.spawn.onto).to.equal(undefined);
    expect(run.onto).to.deep.equal(log.spawn.entries[0]?.head);
    expect(log.entries.map(({ kind }) => kind)).to.deep.equal([
      'process',
      'message',
      'assigned-transaction',
    ]);
    expect(log.head.nonce).to.equal(2);
    expectChained(log);
  });

  it('without process assignment gives the first message nonce 0', async () => {
    const log = await makeLog({ withAssignment: false });
    expect(log.head.nonce).to.equal(-1);
    const run = await log.runOfMessages(3);
    expect(run.entries.map(({ head }) => head.nonce)).to.deep.equal([0, 1, 2]);
    expectChained(log);
  });

  it('joins runs that follow each other, and forks into two that compete for one place', async () => {
    const log = await makeLog();
    const first = await log.runOfMessages(2);
    const fork = log.fork();
    const second = await log.run({ assign: { transactionId: randomId() } });
    const rival = await fork.runOfMessages(1);
    const joined = joinRuns(first, second);
    expect(joined.onto).to.equal(first.onto);
    expect(joined.entries).to.have.length(3);
    expect(rival.onto).to.deep.equal(second.onto);
    expect(rival.entries[0]?.head.nonce).to.equal(second.entries[0]?.head.nonce);
    expectChained(log);
    expectChained(fork);
  });
});
