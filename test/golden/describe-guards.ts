import { expect } from 'chai';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ownerAddress, parseDataItem } from '../../src/lib/protocol/data-item.js';
import { openFakeBundler } from '../support/fake-bundler.js';
import { openFakeGateway } from '../support/fake-gateway.js';
import { openFakeList } from '../support/fake-list.js';
import {
  readRecordedExchanges,
  readRecordedItem,
  type RecordedExchange,
} from '../support/recorded.js';
import { startSu, waitFor } from '../support/su-process.js';
import { testWallet, testWalletPath } from '../support/test-wallet.js';
import type { GoldenStore } from './describe-replay.js';

/** Ours where it differs from the recording; refusals of a guard are 403, what is too large 413, a copy 409. */
interface Expected {
  readonly status: number;
  readonly error?: RegExp;
}

const TOO_LARGE: Expected = { status: 413, error: /^the message has \d+ bytes, and 2500 is the/ };
const NOT_SERVED: Expected = { status: 403, error: /^process [\w-]{43} is not served by this SU$/ };

/** Where the answer differs from the recorded status, by position. */
const DEPARTURES: Readonly<Record<number, Expected>> = {
  4: TOO_LARGE,
  7: TOO_LARGE,
  10: { status: 403, error: /^this address may not write here$/ },
  13: { status: 403, error: /^process [\w-]{43} is read-only on this SU$/ },
  14: NOT_SERVED,
  15: NOT_SERVED,
  // A process without messages shows its own node.
  20: { status: 200 },
  22: NOT_SERVED,
  23: NOT_SERVED,
  24: NOT_SERVED,
  27: {
    status: 409,
    error:
      /^the same message was scheduled before, as 6i4vZ1smjqPxGpEVdJofD7W3NmLTc6qngX6TuNqBpi0$/,
  },
};

interface Answer {
  readonly status: number;
  readonly json: unknown;
}

type Recorded = RecordedExchange & {
  readonly section: string;
  readonly headers: Record<string, string>;
};

const OWN_URL = 'https://su1.example';

function itemOf(name: string) {
  return parseDataItem(readRecordedItem(`guards/${name}`), 'stored');
}

/** The variables of each recorded setting. */
function settings(urls: {
  readonly addresses: string;
  readonly processes: string;
}): Readonly<Record<string, Readonly<Record<string, string>>>> {
  const firstOwner = ownerAddress(itemOf('process'));
  return {
    'size limit': {
      ENABLE_MESSAGE_MAX_SIZE: 'true',
      MAX_MESSAGE_SIZE_BYTES: '2500',
      MAX_SIZE_OWNER_WHITELIST: ownerAddress(itemOf('big-by-listed-owner')),
      MAX_SIZE_FROM_WHITELIST: itemOf('process-second').id,
      MAX_SIZE_FROM_OWNER_WHITELIST: firstOwner,
    },
    'ip whitelist': { IP_WHITELIST_URL: urls.addresses },
    'process whitelist': { PROCESS_WHITELIST_URL: urls.processes, URL: `${OWN_URL}/` },
    'deep hash, local store': { ENABLE_DEEP_HASH_CHECKS: 'true' },
  };
}

const PROCESSES = {
  sus: { [OWN_URL]: { dbs: [{ db_name: 'su', efs_name: 'su' }] } },
  processes: {
    [itemOf('process').id]: { su: OWN_URL, db_name: 'su' },
    [itemOf('process-second').id]: { su: OWN_URL, db_name: 'su', read_only: true },
    [itemOf('process-third').id]: { su: 'https://su2.example', db_name: 'su' },
  },
};

/** Declares a test for each exchange of the recorded conversation about guards, on a store. */
export function describeGuards(store: GoldenStore): void {
  describe(`the recorded conversation about guards on ${store.name}`, () => {
    const exchanges = readRecordedExchanges('guards') as readonly Recorded[];
    const answers: Answer[] = [];

    before(async function () {
      this.timeout(120_000);
      answers.push(...(await holdConversation(store, exchanges)));
    });

    it('has all its exchanges', () => {
      expect(exchanges).to.have.lengthOf(31);
      expect(answers).to.have.lengthOf(31);
    });

    for (const [position, exchange] of exchanges.entries()) {
      const departure = DEPARTURES[position];
      const { section, name, status } = exchange;
      const how = departure === undefined ? 'as recorded' : `departs: ${departure.status}`;
      it(`${section}: ${name} (${how})`, () => {
        const answer = answers[position];
        expect(answer?.status, JSON.stringify(answer?.json)).to.equal(departure?.status ?? status);
        if (departure?.error !== undefined) {
          expect((answer?.json as { error: string } | undefined)?.error).to.match(departure.error);
        } else if (departure === undefined) {
          expectSame(exchange, answer?.json);
        }
      });
    }
  });
}

/** Pages are recorded by the number of their edges; what is posted by its id; a node by its message. */
function expectSame({ json }: Recorded, ours: unknown): void {
  const recorded = json as { id?: string; edges?: number; process_id?: string; message?: unknown };
  const { id, edges, process_id, message } = ours as typeof recorded & { edges?: unknown[] };
  if (recorded.id !== undefined) expect(id).to.equal(recorded.id);
  if (recorded.edges !== undefined) expect(edges).to.have.lengthOf(recorded.edges);
  if (recorded.process_id !== undefined) expect(process_id).to.equal(recorded.process_id);
  if (recorded.message !== undefined) expect(message).to.deep.equal(recorded.message);
}

async function holdConversation(
  store: GoldenStore,
  exchanges: readonly Recorded[],
): Promise<readonly Answer[]> {
  await testWallet('scheduler');
  const addresses = await openFakeList({ json: ['127.0.0.1'] });
  const processes = await openFakeList({ json: PROCESSES });
  const answers: Answer[] = [];
  const urls = { addresses: addresses.url, processes: processes.url };
  // The settings come one after the other on one store, but for the last, which has its own.
  const places = [await openPlace(store), await openPlace(store)];
  try {
    for (const [section, env] of Object.entries(settings(urls))) {
      const place = places[section.startsWith('deep hash') ? 1 : 0];
      const ofSection = exchanges.filter((exchange) => exchange.section === section);
      answers.push(...((await place?.hold(env, ofSection)) ?? []));
    }
  } finally {
    for (const place of places) await place.close();
    await addresses.close();
    await processes.close();
  }
  return answers;
}

async function openPlace(store: GoldenStore): Promise<{
  hold(
    env: Readonly<Record<string, string>>,
    exchanges: readonly Recorded[],
  ): Promise<readonly Answer[]>;
  close(): Promise<void>;
}> {
  const folder = await mkdtemp(join(tmpdir(), 'su-guards-'));
  const gateway = await openFakeGateway({ height: 1_500_000 });
  const bundler = await openFakeBundler();
  const opened = await store.open();
  return {
    async hold(env, exchanges) {
      const server = await startSu({
        cwd: folder,
        env: {
          SU_WALLET_PATH: testWalletPath('scheduler'),
          GATEWAY_URL: gateway.url,
          UPLOAD_NODE_URL: bundler.url,
          ENABLE_PROCESS_ASSIGNMENT: 'true',
          TRUST_PROXY: '127.0.0.1',
          ...opened.env(folder),
          ...env,
        },
      });
      try {
        await listsLoaded(server.url);
        const answers: Answer[] = [];
        for (const exchange of exchanges) answers.push(await send(server.url, exchange));
        return answers;
      } finally {
        await server.stop('SIGTERM');
      }
    },
    async close() {
      await gateway.close();
      await bundler.close();
      await opened.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A server is healthy before the lists that guard it are there. */
async function listsLoaded(url: string): Promise<void> {
  await waitFor(
    async () => {
      const response = await fetch(`${url}/health?verbose`);
      const { lists } = (await response.json()) as { lists: { loaded: boolean }[] };
      return lists.every(({ loaded }) => loaded) ? true : undefined;
    },
    () => 'the lists were not loaded',
    10_000,
  );
}

async function send(url: string, exchange: Recorded): Promise<Answer> {
  const { method, path, headers, body } = exchange;
  const response = await fetch(`${url}${path}`, {
    method,
    headers,
    ...(body === undefined ? {} : { body: readRecordedItem(body.replace(/\.bin$/, '')) }),
  });
  return { status: response.status, json: await response.json() };
}
