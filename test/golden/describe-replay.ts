import { expect } from 'chai';
import type { Id } from '../../src/lib/protocol/ids.js';
import { faultsOfLog } from '../support/read-log.js';
import { testWallet } from '../support/test-wallet.js';
import { readConversation, tagOf, type Page } from './conversation.js';
import { EXPECTATIONS, expectedKeys } from './expectations.js';
import { recordingName, replayConversation, type Replay, type StartFront } from './replay.js';
import { answerAt, exchangeAt, expectSame } from './same-answer.js';

/** A store to hold the conversations on. */
export interface GoldenStore {
  readonly name: string;
  /** Makes an empty one and gives the variables that choose it. */
  open(): Promise<{
    readonly env: (folder: string) => Readonly<Record<string, string>>;
    close(): Promise<void>;
  }>;
  readonly front?: StartFront;
}

/** Declares the tests of both recorded conversations on a store: one a conversation and exchange, and what holds of the whole. */
export function describeReplay(store: GoldenStore): void {
  for (const processAssignment of [true, false]) {
    const name = recordingName(processAssignment);
    describe(`the recorded conversation ${name} on ${store.name}`, () => {
      let replay: Replay;

      before(async function () {
        this.timeout(120_000);
        await testWallet('scheduler');
        const { env, close } = await store.open();
        try {
          replay = await replayConversation({
            processAssignment,
            storeEnv: env,
            front: store.front,
          });
        } finally {
          await close();
        }
      });

      describeExchanges(name, () => replay, store.front !== undefined);
      describeWhole(() => replay);
    });
  }
}

function describeExchanges(name: string, replay: () => Replay, isFronted: boolean): void {
  it('is expected exchange by exchange, none left out', () => {
    const names = readConversation(name).exchanges.map((exchange) => exchange.name);
    expect(names).to.have.lengthOf(99);
    expect(EXPECTATIONS.map(([expected]) => expected)).to.deep.equal(names);
    expect(replay().answers).to.have.lengthOf(99);
  });

  for (const [position, [exchange, expectation]] of EXPECTATIONS.entries()) {
    const title = `${String(position).padStart(2)} ${exchange}`;
    if (isFronted && exchange === 'metrics') {
      it(`${title}: departs, tells of the program in front`, () =>
        expectOwnMetrics(replay(), position));
    } else if (expectation === 'same') {
      it(`${title}: answers as recorded`, () => expectSame(replay(), position));
    } else {
      it(`${title}: departs, ${expectation.instead}`, () => expectation.check(replay(), position));
    }
  }
}

/** Everything the conversation asked for went through that program; no function of a scheduler ran in it. */
function expectOwnMetrics(replay: Replay, position: number): void {
  const { status, text } = answerAt(replay, position);
  expect(status).to.equal(replay.processAssignment ? 200 : 404);
  if (status !== 200) return;
  expect(text).to.match(/^su_http_requests_total\{method="POST",route="\/",status="200"\} [1-9]/m);
  expect(text).to.match(
    /^su_core_metrics_duration_milliseconds_count\{function_name="write_item"\} 0$/m,
  );
}

function describeWhole(replay: () => Replay): void {
  it('leaves the recorded entries in the recorded order, but for the departures', () => {
    const { conversation, logs, processAssignment } = replay();
    const ours = [...logs.values()].flat().map(({ key }) => key);
    // The fourth process has no messages, and the reference was never asked for its page.
    const fourth = conversation.processIds.get('process-lowercase');
    const unread = processAssignment ? [`${fourth} ${fourth} 1`] : [];
    const recorded = conversation.entries.map(({ key }) => key);
    expect(ours).to.deep.equal([...expectedKeys(recorded), ...unread]);
  });

  it('takes every nonce once, where the reference left a hole for a process posted twice', async () => {
    const { logs, conversation, processAssignment } = replay();
    for (const [processId, entries] of logs) {
      const edges = entries.map(({ edge }) => edge);
      expect(await faultsOfLog(processId as Id, edges)).to.deep.equal([]);
    }
    const first = conversation.processIds.get('process-plain') ?? '';
    const nonces = conversation.entries
      .filter(({ key }) => key.startsWith(first))
      .map(({ edge }) => Number(tagOf(edge.node, 'Nonce')));
    expect(nonces.includes(12)).to.equal(!processAssignment);
  });

  it('signs every entry with the wallet it was given', () => {
    const { entries, owner } = replay();
    for (const { node } of entries.values()) expect(node.assignment.owner).to.deep.equal(owner);
  });

  it('shows the random anchors of assignments as base64url when asked', () => {
    const { entries } = replay();
    for (const { node } of entries.values()) {
      expect(node.assignment.anchor).to.match(/^[\w-]{43}$/);
    }
  });

  it('takes no nonce for an item posted again at the end', () => {
    const { logs, logsAtEnd } = replay();
    expect([...logsAtEnd]).to.deep.equal([...logs]);
  });

  it('departs in all receipts: their time is that of the entry, where the reference took another', () => {
    const { conversation } = replay();
    const late = conversation.exchanges.filter(({ name }) => name.startsWith('post message-'));
    const own = new Map<string | undefined, number>(
      conversation.entries.map(({ edge }) => [
        edge.node.message?.id,
        Number(tagOf(edge.node, 'Timestamp')),
      ]),
    );
    const receipts = late
      .filter(({ status }) => status === 200)
      .map(({ json }) => json as { id: string; timestamp: number });
    expect(receipts).to.have.lengthOf(13);
    for (const { id, timestamp } of receipts) expect(timestamp).to.be.greaterThan(own.get(id) ?? 0);
  });

  it('departs in all pages: edges come before page_info, so that a page can be streamed', () => {
    for (const [position] of EXPECTATIONS.entries()) {
      const recorded = exchangeAt(replay(), position).json as Page | undefined;
      if (recorded?.edges === undefined) continue;
      expect(Object.keys(recorded)).to.deep.equal(['page_info', 'edges']);
      const answer = answerAt(replay(), position);
      if (answer.status !== 200) continue;
      expect(Object.keys(JSON.parse(answer.text) as Page)).to.deep.equal(['edges', 'page_info']);
    }
  });

  it('ends with a server that stops when told', () => {
    expect(replay().exit).to.equal(0);
  });
}
