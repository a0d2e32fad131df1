import { expect } from 'chai';
import { parseDataItem } from '../../src/lib/protocol/data-item.js';
import { idToBytes, sha256Id } from '../../src/lib/protocol/ids.js';
import { startCluster, type Cluster } from '../support/cluster.js';
import { readRecordedExchanges, readRecordedItem } from '../support/recorded.js';
import type { SuProcess } from '../support/su-process.js';
import { testWallet } from '../support/test-wallet.js';

/** A recorded exchange of a router; its answer is a place to go to, JSON, or text. */
interface RouterExchange {
  readonly name: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly location?: string;
}

interface Expected {
  /** What was recorded, or what we do otherwise and why. */
  readonly departs?: string;
  /** The recorded port of the SU to go to; undefined: an answer of the router's own. */
  readonly port?: number;
  /** Of the router's own answer. */
  readonly status?: number;
}

/** The flags of the recorded list, by the ports of the recording. */
const FLAGS = (routedWallet: string): Readonly<Record<number, object>> => ({
  9110: {},
  9111: {},
  9112: { no_route: true },
  9113: { wallets_to_route: routedWallet, wallets_only: true },
});

const PROCESS_OF_RECORDING = 'V7EaCXqFnBHy7bIPeQhYqU3-P1w4C9_bB_V_QYXRXj4';
const MESSAGE_OF_RECORDING = 'ojFoDcdBaI6vJYsuDXF3dwWXqNVfjxgQqybZh_v3jmA';
const ITEMS: Readonly<Record<string, string>> = {
  'spawn first': 'process-plain',
  'spawn first again': 'process-plain',
  'spawn second': 'process-no-anchor',
  'spawn third': 'process-lowercase',
  'spawn by a routed wallet': 'guards/process-third',
  message: 'message-json',
  'message to unknown process': 'bad-unknown-process',
  'spawn with a broken signature': 'bad-flipped-signature',
  'spawn empty': 'bad-empty',
};

const UNKNOWN = 'an unknown process is 404 with a sentence';
const OWN = 'a router answers for itself without a process';

const EXPECTED: Readonly<Record<string, Expected>> = {
  'spawn first': { port: 9110 },
  'spawn first again': { port: 9110, departs: 'a spawn sent twice goes to the same SU' },
  'spawn second': { port: 9111, departs: 'the spawn before took no count' },
  'spawn third': { port: 9110, departs: 'the spawn before took no count' },
  'spawn by a routed wallet': { port: 9113 },
  message: { port: 9110 },
  'message to unknown process': { status: 404, departs: UNKNOWN },
  assign: { port: 9110 },
  'assign to unknown process': { status: 404, departs: UNKNOWN },
  page: { port: 9110 },
  'message read': { port: 9110 },
  'page, no process-id': { port: 9110, departs: 'the id in the path is enough' },
  'page of unknown': { status: 404, departs: UNKNOWN },
  latest: { port: 9110 },
  process: { port: 9110 },
  'process of unknown': { status: 404, departs: UNKNOWN },
  'timestamp of a process': { port: 9110 },
  timestamp: { status: 200, departs: OWN },
  root: { status: 200, departs: OWN },
  'root of a process': { port: 9110 },
  health: { status: 200 },
  'spawn with a broken signature': { status: 400 },
  'spawn empty': { status: 400 },
};

const exchanges = readRecordedExchanges('router') as unknown as readonly RouterExchange[];
const processId = parseDataItem(readRecordedItem('process-plain'), 'posted').id;
const messageId = parseDataItem(readRecordedItem('message-json'), 'posted').id;
const routedOwner = parseDataItem(readRecordedItem('guards/process-third'), 'posted').owner;
const routedWallet = sha256Id(routedOwner);

function pathOf({ path }: RouterExchange): string {
  return path
    .replaceAll(PROCESS_OF_RECORDING, processId)
    .replaceAll(MESSAGE_OF_RECORDING, messageId);
}

async function send(url: string, exchange: RouterExchange): Promise<Response> {
  const item = ITEMS[exchange.name];
  return fetch(url + pathOf(exchange), {
    method: exchange.method,
    redirect: 'manual',
    ...(item === undefined ? {} : { body: readRecordedItem(item) }),
  });
}

describe('the recorded conversation with a router', () => {
  let cluster: Cluster;
  let ports: ReadonlyMap<number, SuProcess>;

  before(async function () {
    this.timeout(120_000);
    cluster = await startCluster({
      size: 4,
      transactions: [{ id: messageId, data: readRecordedItem('message-json') }],
    });
    ports = new Map(cluster.schedulers.map((scheduler, index) => [9110 + index, scheduler]));
    const flags = FLAGS(routedWallet);
    await cluster.writeList(
      [...ports].map(([port, { url }]) => ({ url: `${url}/`, ...flags[port] })),
    );
  });
  after(() => cluster.close());

  it('has an expectation for each exchange, and sends the message to the first process', () => {
    expect(Object.keys(EXPECTED)).to.deep.equal(exchanges.map(({ name }) => name));
    const message = parseDataItem(readRecordedItem('message-json'), 'posted');
    expect(message.target).to.deep.equal(new Uint8Array(idToBytes(processId)));
  });

  describe('that redirects', () => {
    let router: SuProcess;
    const answers: Response[] = [];

    before(async function () {
      this.timeout(60_000);
      router = await cluster.startRouter('redirecting');
      for (const exchange of exchanges) answers.push(await send(router.url, exchange));
    });

    for (const [index, exchange] of exchanges.entries()) {
      const { name } = exchange;
      const { port, status, departs } = EXPECTED[name] ?? {};
      const how = departs === undefined ? 'as recorded' : `otherwise: ${departs}`;
      it(`answers ${name} ${how}`, async () => {
        const answer = answers[index];
        const text = await answer?.text();
        if (port === undefined) {
          expect(answer?.status).to.equal(status);
          if (departs === undefined) expect(status).to.equal(exchange.status);
          if ((status ?? 0) >= 400) expect(JSON.parse(text ?? '')).to.have.all.keys('error');
          return;
        }
        expect(answer?.status).to.equal(307);
        expect(answer?.headers.get('location')).to.equal(
          (ports.get(port)?.url ?? '') + pathOf(exchange),
        );
        expect(text).to.equal('');
        expect(answer?.headers.get('content-type')).to.equal(null);
        if (departs === undefined) {
          expect(exchange.location).to.match(new RegExp(`^http://127.0.0.1:${port}/`));
        }
      });
    }

    it('tells its own address and clock, and the height', async () => {
      const root = (await (await fetch(router.url)).json()) as Record<string, unknown>;
      expect(root['address']).to.equal((await testWallet('scheduler')).address);
      expect(Number(root['timestamp'])).to.be.closeTo(Date.now(), 60_000);
      const time = (await (await fetch(`${router.url}/timestamp`)).json()) as object;
      expect(time)
        .to.include({ block_height: '000001500000' })
        .and.have.keys('timestamp', 'block_height');
    });
  });

  describe('that carries requests itself', () => {
    const answers: Response[] = [];

    before(async function () {
      this.timeout(60_000);
      const router = await cluster.startRouter('carrying', { ROUTER_FORWARD: 'proxy' });
      for (const exchange of exchanges) answers.push(await send(router.url, exchange));
    });

    for (const [index, exchange] of exchanges.entries()) {
      const { port, status } = EXPECTED[exchange.name] ?? {};
      it(`answers ${exchange.name} with what the SU says, or itself`, async () => {
        const answer = answers[index];
        expect(answer?.status).to.equal(port === undefined ? status : 200);
        expect(answer?.headers.get('location')).to.equal(null);
        const text = (await answer?.text()) ?? '';
        if (port === undefined || exchange.method !== 'GET') return;
        const direct = await send(ports.get(port)?.url ?? '', exchange);
        expect(answer?.headers.get('content-type')).to.equal(direct.headers.get('content-type'));
        const own = await direct.text();
        const isClock = /^\/(timestamp)?\?/.test(exchange.path);
        if (isClock)
          expect(Object.keys(JSON.parse(text) as object)).to.deep.equal(
            Object.keys(JSON.parse(own) as object),
          );
        else expect(text).to.equal(own);
      });
    }

    it('brings each process to the SU that the redirects name', async () => {
      for (const [name, { port }] of Object.entries(EXPECTED)) {
        if (!name.startsWith('spawn') || port === undefined) continue;
        const { id } = parseDataItem(readRecordedItem(ITEMS[name] ?? ''), 'posted');
        for (const [other, { url }] of ports) {
          const { status } = await fetch(`${url}/processes/${id}`);
          expect(status, `${name} on ${other}`).to.equal(other === port ? 200 : 404);
        }
      }
    });
  });
});
