import { expect } from 'chai';
import { parseDataItem } from '../../src/lib/protocol/data-item.js';
import { readRecordedItem } from '../support/recorded.js';
import type { WireEdge } from '../support/read-log.js';
import { positionOf, tagOf, type EntryKey, type Page, type WireNode } from './conversation.js';
import { ASSIGNED, type Replay } from './replay.js';
import {
  answerAt,
  asksForAnchors,
  edgeOf,
  exchangeAt,
  expectFormOf,
  expectJson,
  expectReceipt,
  expectRefusal,
  ownNode,
  translateNode,
} from './same-answer.js';

/** What an exchange must bring: what was recorded, or what we do instead and why. */
export type Expectation = 'same' | Departure;

export interface Departure {
  /** What we do otherwise, as the end of a sentence that begins with the exchange. */
  readonly instead: string;
  readonly check: (replay: Replay, position: number) => void;
}

function departs(instead: string, check: Departure['check']): Departure {
  return { instead, check };
}

/** Refused, with a status of ours. */
function refused(status: number, instead: string): Departure {
  return departs(`${instead}: ${status}`, (replay, position) =>
    expectRefusal(answerAt(replay, position), status),
  );
}

/** Answered with the same bytes as another exchange. */
function answeredAs(name: string, instead: string): Departure {
  return departs(instead, (replay, position) => {
    const other = answerAt(replay, positionOf(replay.conversation, name));
    const answer = answerAt(replay, position);
    expect(other.status).to.equal(200);
    expect({ ...answer }).to.deep.equal({ ...other });
  });
}

const NUL = parseDataItem(readRecordedItem('message-nul'), 'posted');

/** How our log of the first process differs from the recorded one. */
export const LOG_DEPARTURES = {
  /** After the entry about the first item comes one about the second. */
  inserted: new Map<string, string>([
    [parseDataItem(readRecordedItem('message-100kb'), 'posted').id, NUL.id],
    [ASSIGNED.plainData, ASSIGNED.baseLayer],
  ]),
  /** Entries that are not there. */
  dropped: (key: EntryKey): boolean => key.endsWith(` ${ASSIGNED.target} 2`),
} as const;

/** The keys that our logs must have where the recorded ones have `keys`, in order. */
export function expectedKeys(keys: readonly EntryKey[]): readonly EntryKey[] {
  return keys.flatMap((key) => {
    if (LOG_DEPARTURES.dropped(key)) return [];
    const [processId = '', about = ''] = key.split(' ');
    const next = LOG_DEPARTURES.inserted.get(about);
    return next === undefined ? [key] : [key, `${processId} ${next} 1` as const];
  });
}

/** A page on which the differences of the logs show. */
const DEPARTED_LOG = departs(
  'holds the message with U+0000 and the base-layer transaction, and the transaction assigned twice once',
  (replay, position) => {
    const exchange = exchangeAt(replay, position);
    const { page_info, edges } = exchange.json as Page;
    const showAnchor = asksForAnchors(exchange);
    const recordedNodes = new Map(
      edges.map(({ node }) => [replay.conversation.keys.get(node.assignment.id), node]),
    );
    const keys = [...recordedNodes.keys()].filter((key) => key !== undefined);
    const expected = expectedKeys(keys);
    expect(expected).to.include.members(
      [NUL.id, ASSIGNED.baseLayer].map((id) => `${processOf(replay, 'plain')} ${id} 1`),
    );
    expectJson(answerAt(replay, position), {
      edges: expected.map((key): WireEdge => {
        const recorded = recordedNodes.get(key);
        const node =
          recorded === undefined
            ? ownNode(entryOf(replay, key), showAnchor)
            : translateNode(replay, recorded, showAnchor);
        return edgeOf(exchange, node);
      }),
      page_info,
    });
  },
);

function processOf(replay: Replay, name: string): string {
  const id = replay.conversation.processIds.get(`process-${name}`);
  if (id === undefined) throw new Error(`no process ${name} was spawned`);
  return id;
}

function entryOf(replay: Replay, key: EntryKey): WireEdge {
  const edge = replay.entries.get(key);
  if (edge === undefined) throw new Error(`our log has no entry ${key}`);
  return edge;
}

/** The latest entry of a process without messages: the process itself, its item as the recorded record shows it. */
function latestIsOwn(name: string): Departure {
  return departs(
    'gives the node of the process itself when it has an assignment, else 404',
    (replay, position) => {
      const answer = answerAt(replay, position);
      if (!replay.processAssignment) {
        expectRefusal(answer, 404);
        return;
      }
      const processId = processOf(replay, name);
      const record = replay.conversation.exchanges.find(
        ({ path }) => path === `/processes/${processId}`,
      )?.json as Record<string, unknown>;
      const { owner, data, tags, signature, anchor, target } = record;
      const entry = entryOf(replay, `${processId} ${processId} 1`);
      const plain = processOf(replay, 'plain');
      expectFormOf(replay, entry.node, `${plain} ${plain} 1`);
      expect(tagOf(entry.node, 'Process')).to.equal(processId);
      expectJson(answer, {
        message: { id: processId, owner, data, tags, signature, anchor, target },
        assignment: ownNode(entry, false).assignment,
      });
    },
  );
}

const NUL_IS_SCHEDULED = departs('schedules a message with U+0000 in its data', (replay, at) => {
  expectReceipt(replay, answerAt(replay, at), NUL.id);
  const { node } = entryOf(replay, `${processOf(replay, 'plain')} ${NUL.id} 1`);
  const message = node.message as (NonNullable<WireNode['message']> & { data: string }) | null;
  expect(message?.id).to.equal(NUL.id);
  expect(message?.data).to.equal(Buffer.from(NUL.data).toString('utf8')).and.to.include('\0');
  expect(message?.tags).to.deep.equal(NUL.tags);
  expect(tagOf(node, 'Message')).to.equal(NUL.id);
  expectFormOf(replay, node, parseDataItem(readRecordedItem('message-100kb'), 'posted').id);
});

const BASE_LAYER_IS_SCHEDULED = departs(
  'schedules a base-layer transaction with enough confirmations',
  (replay, at) => {
    expectReceipt(replay, answerAt(replay, at), ASSIGNED.baseLayer);
    const { node } = entryOf(replay, `${processOf(replay, 'plain')} ${ASSIGNED.baseLayer} 1`);
    expect(node.message).to.equal(null);
    expect(tagOf(node, 'Message')).to.equal(ASSIGNED.baseLayer);
    expectFormOf(replay, node, `${ASSIGNED.target} 1`);
  },
);

const LATEST_IS_BASE_LAYER = departs(
  'gives the base-layer transaction, the last that was assigned',
  (replay, at) => {
    const key = `${processOf(replay, 'plain')} ${ASSIGNED.baseLayer} 1` as const;
    expectJson(answerAt(replay, at), ownNode(entryOf(replay, key), false));
  },
);

const METRICS = departs(
  'are Prometheus text under the recorded names when they are on, else 404',
  (replay, at) => {
    const { status, type, text } = answerAt(replay, at);
    if (!replay.processAssignment) {
      expectRefusal({ status, type, text }, 404);
      return;
    }
    expect(status).to.equal(200);
    expect(type).to.match(/^text\/plain; version=0\.0\.4/);
    const types = (all: string): string[] => all.match(/^# TYPE .*$/gm) ?? [];
    const recorded = types(exchangeAt(replay, at).text ?? '');
    expect(recorded).to.have.lengthOf(2);
    expect(types(text)).to.include.members(recorded);
    expect(text).to.match(/^message_save_failures(?:_total)? 0$/m);
    for (const name of ['get_process', 'get_messages', 'write_item', 'write_assignment']) {
      expect(text).to.match(
        new RegExp(
          `^su_core_metrics_duration_milliseconds_count{function_name="${name}"} [1-9]`,
          'm',
        ),
      );
    }
  },
);

/** Every exchange of the two conversations by its name, in order: names repeat, positions do not. */
export const EXPECTATIONS: readonly (readonly [name: string, expectation: Expectation])[] = [
  ['info', 'same'],
  ['timestamp', 'same'],
  ['health', 'same'],
  ['spawn process-plain', 'same'],
  ['spawn process-no-anchor', 'same'],
  ['spawn process-binary-data', 'same'],
  ['spawn process-lowercase', 'same'],
  ['process just spawned: page', 'same'],
  ['process just spawned: latest', latestIsOwn('plain')],
  ['post message-no-anchor', 'same'],
  ['post message-ascii-anchor', 'same'],
  ['post message-binary-anchor', 'same'],
  ['post message-empty-data', 'same'],
  ['post message-unicode', 'same'],
  ['post message-binary-data', 'same'],
  ['post message-json', 'same'],
  ['post message-from-process', 'same'],
  ['post message-lowercase', 'same'],
  ['post message-long-tags', 'same'],
  ['post message-100kb', 'same'],
  ['post message-nul', NUL_IS_SCHEDULED],
  ['post message-p2', 'same'],
  ['post message-p3', 'same'],
  ['post message-no-target', 'same'],
  ['repeat message', answeredAs('post message-no-anchor', 'gives the first receipt')],
  ['repeat process', answeredAs('spawn process-plain', 'gives the first receipt')],
  ['refuse bad-unknown-process', refused(404, 'names an unknown process')],
  ['refuse bad-no-type', 'same'],
  ['refuse bad-type', 'same'],
  ['refuse bad-no-protocol', 'same'],
  ['refuse bad-link-name', 'same'],
  ['refuse bad-link-value', 'same'],
  ['refuse bad-process-no-module', 'same'],
  ['refuse bad-process-no-scheduler', 'same'],
  ['refuse bad-flipped-data', 'same'],
  ['refuse bad-flipped-signature', 'same'],
  ['refuse bad-truncated', refused(400, 'is answered')],
  ['refuse bad-type-99', 'same'],
  ['refuse bad-empty', 'same'],
  ['refuse bad-garbage', 'same'],
  ['assign message', 'same'],
  ['assign again', answeredAs('assign message', 'gives the first receipt')],
  ['assign data', 'same'],
  ['assign base layer', BASE_LAYER_IS_SCHEDULED],
  ['assign base layer, shallow', 'same'],
  ['assign unknown tx', refused(404, 'names an unknown transaction')],
  ['assign without process', 'same'],
  ['process without assign', 'same'],
  ['assign short id', 'same'],
  ['assign unknown process', refused(404, 'names an unknown process')],
  ['page', DEPARTED_LOG],
  ['page &limit=1', 'same'],
  ['page &limit=3', 'same'],
  ['page &from=T', DEPARTED_LOG],
  ['page &from=T&limit=2', 'same'],
  ['page &to=T', 'same'],
  ['page &from=T&to=T', 'same'],
  ['page &from-nonce=3', DEPARTED_LOG],
  ['page &from-nonce=3&to-nonce=5', 'same'],
  ['page &to-nonce=2', 'same'],
  ['page &from-nonce=-1', DEPARTED_LOG],
  ['page &from-nonce=0&limit=2', 'same'],
  ['page &limit=0', refused(400, 'is refused in both conversations')],
  ['page &limit=100000', DEPARTED_LOG],
  ['page &limit=undefined', answeredAs('page', 'has the default limit')],
  ['page &from=abc', 'same'],
  ['page &from=T9', 'same'],
  ['page &from-nonce=9999', 'same'],
  ['page &show-anchor=true&limit=4', 'same'],
  ['page &from=0', DEPARTED_LOG],
  ['page &from=T&to=T', 'same'],
  ['page of p2', 'same'],
  ['page of p3', 'same'],
  ['page without process-id', answeredAs('page', 'is found by the id in the path')],
  ['message message-no-anchor', 'same'],
  ['message message-binary-anchor', 'same'],
  ['message message-binary-data', 'same'],
  ['message message-empty-data', 'same'],
  ['message message-unicode', 'same'],
  ['message by assignment id', 'same'],
  ['assigned entry by assignment id', 'same'],
  ['assigned tx by its id', refused(404, 'is found by its assignment only')],
  ['message with wrong process', refused(404, 'is not shown under another process')],
  ['unknown id', refused(404, 'is unknown')],
  ['not an id', refused(404, 'is unknown')],
  ['latest p1', LATEST_IS_BASE_LAYER],
  ['process p1', 'same'],
  ['latest p2', 'same'],
  ['process p2', 'same'],
  ['latest p3', 'same'],
  ['process p3', 'same'],
  ['latest p4', latestIsOwn('lowercase')],
  ['process p4', 'same'],
  ['latest unknown', refused(404, 'is unknown')],
  ['process unknown', refused(404, 'is unknown')],
  ['post without X-Real-IP', answeredAs('post message-p3', 'needs no such header')],
  ['no such route', refused(404, 'says so in JSON')],
  ['delete', refused(404, 'says so in JSON')],
  ['metrics', METRICS],
];
