import { expect } from 'chai';
import {
  tagOf,
  type GoldenExchange,
  type KeyedEdge,
  type Page,
  type WireNode,
} from './conversation.js';
import type { WireEdge, WireItem } from '../support/read-log.js';
import type { Answer, Replay } from './replay.js';

/** Names and places of the inside, which a client must never be shown. */
const INSIDE =
  /\w(?:Error|Exception|Builder)\b|Error\(|\n|\bat \w+ \(|\/(?:src|dist|lib|node_modules)\/|\.[jt]s\b|\[object|undefined|NaN|SQLSTATE|constraint|relation "|E(?:CONN|NO|PIPE)[A-Z]+/;

/** The tags of an assignment that are new each time. */
const NEW_EACH_TIME = new Set(['Nonce', 'Hash-Chain', 'Timestamp']);

export function exchangeAt(replay: Replay, position: number): GoldenExchange {
  const exchange = replay.conversation.exchanges[position];
  if (exchange === undefined) throw new Error(`there is no exchange ${position}`);
  return exchange;
}

export function answerAt(replay: Replay, position: number): Answer {
  const answer = replay.answers[position];
  if (answer === undefined) throw new Error(`there is no answer ${position}`);
  return answer;
}

/** Asserts a JSON answer: values, types, and the order of the keys. */
export function expectJson(answer: Answer, expected: unknown): void {
  expect(answer.status, answer.text.slice(0, 300)).to.equal(200);
  expect(answer.type).to.equal('application/json');
  const json: unknown = JSON.parse(answer.text);
  expect(json).to.deep.equal(expected);
  expect(JSON.stringify(json)).to.equal(JSON.stringify(expected));
}

/** Asserts a refusal: the status, and `{"error": sentence}` that shows nothing of the inside. */
export function expectRefusal(answer: Answer, status: number): void {
  expect(answer.status, answer.text.slice(0, 300)).to.equal(status);
  expect(answer.type).to.equal('application/json');
  const json = JSON.parse(answer.text) as { error: unknown };
  expect(json).to.have.all.keys('error');
  expect(json.error).to.be.a('string').with.lengthOf.within(10, 300);
  expect(json.error).not.to.match(INSIDE);
}

/** An assignment of ours as pages show it: its anchor only where it was asked for. */
function shown(own: WireItem, showAnchor: boolean): WireItem {
  return { ...own, anchor: showAnchor ? own.anchor : null };
}

/** A node of our log, read from the whole log, as another answer shows it. */
export function ownNode({ node }: WireEdge, showAnchor: boolean): WireNode {
  return { message: node.message, assignment: shown(node.assignment, showAnchor) };
}

/** What our answer must hold in the place of a recorded node. */
export function translateNode(replay: Replay, recorded: WireNode, showAnchor: boolean): WireNode {
  const { conversation, entries, owner } = replay;
  const key = conversation.keys.get(recorded.assignment.id);
  const own = key === undefined ? undefined : entries.get(key)?.node;
  if (own === undefined) throw new Error(`our log has no entry ${key ?? recorded.assignment.id}`);
  const { id, signature, anchor } = shown(own.assignment, showAnchor);
  expect(anchor === null, 'the anchor is shown as recorded').to.equal(
    recorded.assignment.anchor === null,
  );
  return {
    message: recorded.message,
    // Copied from the recorded one, for the order of its keys and whatever keys it has.
    assignment: {
      ...recorded.assignment,
      id,
      owner,
      tags: recorded.assignment.tags.map(({ name, value }) => ({
        name,
        value: NEW_EACH_TIME.has(name) ? tagOf(own, name) : value,
      })),
      signature,
      anchor,
    },
  };
}

/** An edge of ours with the cursor that the request asks for. */
export function edgeOf(exchange: GoldenExchange, node: WireNode): WireEdge {
  return { node, cursor: tagOf(node, asksByNonce(exchange) ? 'Nonce' : 'Timestamp') };
}

function asksByNonce({ path }: GoldenExchange): boolean {
  return /[?&](?:from|to)-nonce=/.test(path);
}

export function asksForAnchors({ path }: GoldenExchange): boolean {
  return path.includes('show-anchor');
}

/** The recorded page in our words; `edges` come first with us, so that a page can be streamed. */
function translatePage(replay: Replay, exchange: GoldenExchange): Page {
  const { page_info, edges } = exchange.json as Page;
  return {
    edges: edges.map(({ node, cursor }) => {
      const isNonce = cursor === tagOf(node, 'Nonce');
      expect(isNonce, 'the recorded cursor is a nonce').to.equal(asksByNonce(exchange));
      return edgeOf(exchange, translateNode(replay, node, asksForAnchors(exchange)));
    }),
    page_info,
  };
}

/** When the process was spawned, as its own record says. */
function spawnedAt(replay: Replay, processId: string): number {
  const position = replay.conversation.exchanges.findIndex(
    ({ path }) => path === `/processes/${processId}`,
  );
  return (JSON.parse(answerAt(replay, position).text) as { timestamp: number }).timestamp;
}

function entriesOf(replay: Replay): readonly KeyedEdge[] {
  return [...replay.logs.values()].flat();
}

/**
 * Asserts a receipt of ours: the id of the item, or of the assignment for an assigned transaction, and the time of the
 * entry itself.
 *
 * @param about the id of the item or transaction that was scheduled
 */
export function expectReceipt(replay: Replay, answer: Answer, about: string): void {
  const isProcess = [...replay.conversation.processIds.values()].includes(about);
  if (isProcess) {
    expectJson(answer, { id: about, timestamp: spawnedAt(replay, about) });
    return;
  }
  const found = entriesOf(replay).find(({ key }) => key.split(' ')[1] === about);
  if (found === undefined) throw new Error(`our logs have no entry about ${about}`);
  const { message, assignment } = found.edge.node;
  expectJson(answer, {
    id: message?.id ?? assignment.id,
    timestamp: Number(tagOf(found.edge.node, 'Timestamp')),
  });
}

/** What a recorded POST scheduled: the transaction it names, else the item, whose id the receipt repeats. */
export function subjectOf({ path, json }: GoldenExchange): string {
  return /[?&]assign=([\w-]+)/.exec(path)?.[1] ?? (json as { id: string }).id;
}

/** Asserts that our answer is the recorded one, but for what is new each time. */
export function expectSame(replay: Replay, position: number): void {
  const exchange = exchangeAt(replay, position);
  const answer = answerAt(replay, position);
  const { status, type, json } = exchange;
  expect(answer.status, answer.text.slice(0, 300)).to.equal(status);
  expect(answer.type).to.equal(type);
  if (json === undefined) {
    expect(answer.text).to.equal(exchange.text);
    return;
  }
  const keys = Object.keys(json as object);
  if (keys.includes('error')) expectRefusal(answer, status);
  else if (keys.includes('edges')) expectJson(answer, translatePage(replay, exchange));
  else if (keys.includes('assignment'))
    expectJson(answer, translateNode(replay, json as WireNode, asksForAnchors(exchange)));
  else if (keys.includes('process_id')) expectSameRecord(replay, position);
  else if (keys.includes('id')) expectReceipt(replay, answer, subjectOf(exchange));
  else expectSameState(replay, position);
}

/** The record of a process: all as recorded but the time, which is that of the receipt. */
function expectSameRecord(replay: Replay, position: number): void {
  const recorded = exchangeAt(replay, position).json as { process_id: string; timestamp: number };
  const spawn = replay.conversation.exchanges.findIndex(
    ({ name, json }) =>
      name.startsWith('spawn ') && (json as { id: string }).id === recorded.process_id,
  );
  const receipt = JSON.parse(answerAt(replay, spawn).text) as { timestamp: number };
  expect(receipt.timestamp).to.be.a('number');
  expectNow(replay, receipt.timestamp);
  const own = replay.entries.get(`${recorded.process_id} ${recorded.process_id} 1`);
  expect(own !== undefined).to.equal(replay.processAssignment);
  if (own !== undefined) expect(tagOf(own.node, 'Timestamp')).to.equal(String(receipt.timestamp));
  expectJson(answerAt(replay, position), { ...recorded, timestamp: receipt.timestamp });
}

/**
 * Asserts that an assignment of ours that was never recorded has the form of a recorded one: the same keys and tags in
 * the same order, and the same values but for those that say what it is about or are new each time.
 */
export function expectFormOf(replay: Replay, node: WireNode, recordedPart: string): void {
  const { conversation, owner } = replay;
  const like = conversation.entries.find(({ key }) => key.includes(recordedPart));
  if (like === undefined) throw new Error(`nothing was recorded about ${recordedPart}`);
  const recorded = like.edge.node.assignment;
  const { assignment } = node;
  expect(Object.keys(assignment)).to.deep.equal(Object.keys(recorded));
  const isOwnValue = (name: string): boolean =>
    NEW_EACH_TIME.has(name) || name === 'Process' || name === 'Message';
  const form = ({ tags }: WireItem): unknown[] =>
    tags.map(({ name, value }) => (isOwnValue(name) ? name : [name, value]));
  expect(form(assignment)).to.deep.equal(form(recorded));
  expect(assignment.owner).to.deep.equal(owner);
  expect(assignment.target).to.equal(recorded.target);
}

/** `GET /` and `GET /timestamp`; the latter's keys stand in the order that its documentation names them. */
function expectSameState(replay: Replay, position: number): void {
  const recorded = exchangeAt(replay, position).json as Record<string, string>;
  const answer = answerAt(replay, position);
  const { timestamp } = JSON.parse(answer.text) as { timestamp: unknown };
  expect(timestamp).to.be.a('string').that.matches(/^\d+$/);
  expectNow(replay, Number(timestamp));
  const expected: Record<string, unknown> = { ...recorded, timestamp };
  if ('address' in recorded) expected['address'] = replay.owner.address;
  expect(answer.type).to.equal('application/json');
  expect(JSON.parse(answer.text)).to.deep.equal(expected);
}

function expectNow(replay: Replay, timestamp: number): void {
  expect(timestamp).to.be.within(replay.startedAt, replay.endedAt);
}
