import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Id } from '../../src/lib/protocol/ids.js';
import { openFakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway, type KnownTransaction } from '../support/fake-gateway.js';
import { readLog, type WireEdge } from '../support/read-log.js';
import { readRecordedItem } from '../support/recorded.js';
import { startSu, type SuProcess } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import {
  keyedLog,
  positionOf,
  readConversation,
  type Conversation,
  type EntryKey,
  type GoldenExchange,
  type KeyedEdge,
} from './conversation.js';

export interface Answer {
  readonly status: number;
  readonly type: string | undefined;
  readonly text: string;
}

/** A recorded conversation held again with a server of ours. */
export interface Replay {
  readonly processAssignment: boolean;
  readonly conversation: Conversation;
  /** One for each exchange. */
  readonly answers: readonly Answer[];
  /** Our logs after the last write, read with `show-anchor`, by process. */
  readonly logs: ReadonlyMap<string, readonly KeyedEdge[]>;
  /** The same again after the last exchange. */
  readonly logsAtEnd: ReadonlyMap<string, readonly KeyedEdge[]>;
  readonly entries: ReadonlyMap<EntryKey, WireEdge>;
  /** The server's wallet, as an owner is shown. */
  readonly owner: { readonly address: string; readonly key: string };
  readonly startedAt: number;
  readonly endedAt: number;
  /** How the server ended when it was told to stop. */
  readonly exit: number | string;
}

export const ASSIGNED = {
  target: 'nqkwBl0-NOGV9DnqyTwKjsDK1AvYb4i-8KaGIIjFmOs',
  plainData: '8A02ggMEQNGp5lFz_SMwelHpo_KN4jmr40olHux9CFE',
  baseLayer: 'Ei2dlKFImBhZvcx5kcIa4yXoXe3keOJ0o0CsL-QqUmQ',
  baseShallow: 'q6NXUxCQpz8NX5Ltz3MV4AcwQOGPAkHRPNhDe50gojs',
} as const;

/** What the gateway of the recording knew. Its GraphQL has nothing of the base layer, which only the status is asked for. */
const TRANSACTIONS: readonly KnownTransaction[] = [
  { id: ASSIGNED.target, data: readRecordedItem('assign-target') },
  { id: ASSIGNED.plainData, data: readRecordedItem('assign-plain-data') },
  { id: ASSIGNED.baseLayer, confirmations: 100, indexed: false },
  { id: ASSIGNED.baseShallow, confirmations: 3, indexed: false },
];

export interface ReplayOptions {
  readonly processAssignment: boolean;
  /** What the store needs; the embedded one takes its folder from here too. */
  readonly storeEnv: (folder: string) => Readonly<Record<string, string>>;
  /** Starts what stands before the server; the conversation is then held with that. */
  readonly front?: StartFront | undefined;
}

/** @param variables what the server was started with */
export type StartFront = (
  server: SuProcess,
  folder: string,
  variables: Readonly<Record<string, string>>,
) => Promise<SuProcess>;

/** Starts a server on an empty store, holds the whole recorded conversation with it, and stops it. */
export async function replayConversation(options: ReplayOptions): Promise<Replay> {
  const { processAssignment } = options;
  const wallet = await testWallet('scheduler');
  const folder = await mkdtemp(join(tmpdir(), 'su-golden-'));
  const gateway = await openFakeGateway({ height: 1_500_000, transactions: TRANSACTIONS });
  const bundler = await openFakeBundler();
  let server: SuProcess | undefined;
  let front: SuProcess | undefined;
  try {
    const variables = {
      SU_WALLET_PATH: testWalletPath('scheduler'),
      GATEWAY_URL: gateway.url,
      UPLOAD_NODE_URL: bundler.url,
      ARWEAVE_URL_LIST: gateway.url,
      ENABLE_PROCESS_ASSIGNMENT: String(processAssignment),
      // The recorded servers differ in this too.
      ENABLE_METRICS: String(processAssignment),
      ...options.storeEnv(folder),
    };
    server = await startSu({ cwd: folder, env: variables });
    front = await options.front?.(server, folder, variables);
    const held = await hold(
      (front ?? server).url,
      readConversation(recordingName(processAssignment)),
    );
    await front?.stop('SIGTERM');
    const exit = await server.stop('SIGTERM');
    const owner = { address: wallet.address, key: Buffer.from(wallet.owner).toString('base64url') };
    return { ...held, processAssignment, owner, exit };
  } finally {
    await front?.stop('SIGKILL');
    await server?.stop('SIGKILL');
    await gateway.close();
    await bundler.close();
    await rm(folder, { recursive: true, force: true });
  }
}

export function recordingName(processAssignment: boolean): string {
  return `${processAssignment ? 'with' : 'without'}-process-assignment`;
}

type Held = Omit<Replay, 'processAssignment' | 'owner' | 'exit'>;

async function hold(url: string, conversation: Conversation): Promise<Held> {
  const startedAt = Date.now();
  const firstRead = positionOf(conversation, 'page');
  const answers: Answer[] = [];
  let logs: Replay['logs'] = new Map();
  let entries: Replay['entries'] = new Map();
  for (const [position, exchange] of conversation.exchanges.entries()) {
    if (position === firstRead) {
      logs = await readLogs(url, conversation);
      entries = new Map([...logs.values()].flat().map(({ key, edge }) => [key, edge]));
    }
    answers.push(
      await send(url, exchange, translatePath({ conversation, entries }, exchange.path)),
    );
  }
  const logsAtEnd = await readLogs(url, conversation);
  return { conversation, answers, logs, logsAtEnd, entries, startedAt, endedAt: Date.now() };
}

async function readLogs(url: string, conversation: Conversation): Promise<Replay['logs']> {
  const logs = new Map<string, readonly KeyedEdge[]>();
  for (const processId of conversation.processIds.values()) {
    logs.set(processId, keyedLog(await readLog(url, processId as Id)));
  }
  return logs;
}

async function send(url: string, exchange: GoldenExchange, path: string): Promise<Answer> {
  const headers: Record<string, string> = {};
  if (exchange.name !== 'post without X-Real-IP') headers['x-real-ip'] = '127.0.0.1';
  if (exchange.body !== undefined) headers['content-type'] = 'application/octet-stream';
  const response = await fetch(url + path, {
    method: exchange.method,
    headers,
    ...(exchange.body !== undefined && {
      body: readRecordedItem(exchange.body.replace(/\.bin$/, '')),
    }),
  });
  return {
    status: response.status,
    type: response.headers.get('content-type') ?? undefined,
    text: await response.text(),
  };
}

/** Recorded bounds of pages that mean no entry: before all, after all, and no number. */
const NO_ENTRYS_TIMES = new Set(['0', '99999999999999', 'abc']);

/**
 * The path that asks us for what the recorded one asked the reference for: ids of assignments and times are new each
 * time. Nonces stay: what is asked for by nonce lies before the first place where the logs differ.
 */
export function translatePath(
  { conversation, entries }: Pick<Replay, 'conversation' | 'entries'>,
  path: string,
): string {
  const ours = (key: EntryKey | undefined): WireEdge => {
    const edge = key === undefined ? undefined : entries.get(key);
    if (edge === undefined) throw new Error(`${path}: our log has no entry ${key ?? 'recorded'}`);
    return edge;
  };
  return path
    .replace(/^\/([\w-]{43})(?=\?)/, (whole, id: string) => {
      const key = conversation.keys.get(id);
      return key === undefined ? whole : `/${ours(key).node.assignment.id}`;
    })
    .replace(/([?&](?:from|to)=)(\w+)/g, (whole, name: string, time: string) => {
      if (NO_ENTRYS_TIMES.has(time)) return whole;
      const recorded = conversation.entries.find(({ edge }) => edge.cursor === time);
      return name + tagTime(ours(recorded?.key));
    });
}

function tagTime({ node }: WireEdge): string {
  return node.assignment.tags.find(({ name }) => name === 'Timestamp')?.value ?? '';
}
