import { expect } from 'chai';
import { makeListClient } from '../../src/lib/arweave/list-client.js';
import { isSuError } from '../../src/lib/errors.js';
import { parseAddressList, type AddressSet } from '../../src/lib/http/client-address.js';
import {
  makeProcessGuard,
  parseProcessWhitelist,
  type ProcessWhitelist,
} from '../../src/lib/scheduler/process-whitelist.js';
import { openRefreshedList, type RefreshedList } from '../../src/lib/scheduler/refreshed-list.js';
import { delayByTimer } from '../../src/lib/uploader/delay.js';
import { openFakeList, type FakeList, type ListAnswer } from '../support/fake-list.js';
import { waitFor } from '../support/su-process.js';

const BYTES_MAX = 100_000;
const TIMEOUT_MS = 150;

interface Listed {
  readonly list: RefreshedList<AddressSet>;
  readonly warnings: string[];
}

describe('a list that is fetched again and again', () => {
  let server: FakeList;
  let opened: Listed | undefined;
  let closeClient = (): void => undefined;

  afterEach(async () => {
    await opened?.list.close();
    closeClient();
    await server.close();
  });

  async function open(first: ListAnswer): Promise<Listed> {
    server = await openFakeList(first);
    const client = makeListClient({ url: server.url, timeoutMs: TIMEOUT_MS, bytesMax: BYTES_MAX });
    closeClient = () => client.close();
    const warnings: string[] = [];
    const list = openRefreshedList({
      name: 'IP_WHITELIST_URL',
      what: 'the list of addresses that may write',
      fetch: (signal) => client.fetch(signal),
      parse: parseAddressList,
      intervalMs: 10,
      monotonicMs: () => performance.now(),
      pause: delayByTimer,
      onWarning: (message, details) => warnings.push(`${message}: ${String(details['reason'])}`),
      onLoaded: () => undefined,
    });
    opened = { list, warnings };
    return opened;
  }

  const waitForState = (list: Listed['list'], holds: (list: Listed['list']) => boolean) =>
    waitFor(
      () => (holds(list) ? true : undefined),
      () => `the list stands at ${JSON.stringify(list.state())}`,
      5_000,
    );

  it('takes what it finds, and what it finds there later', async () => {
    const { list } = await open({ json: ['10.0.0.1', '192.168.0.0/16', '2001:db8::/32'] });
    await waitForState(list, ({ state }) => state().loaded);
    expect(list.require().has('192.168.3.4')).to.equal(true);
    expect(list.require().has('2001:db8::7')).to.equal(true);
    expect(list.require().has('10.0.0.2')).to.equal(false);
    server.answer({ json: ['10.0.0.2'] });
    await waitForState(list, (now) => now.require().has('10.0.0.2'));
    expect(list.require().has('10.0.0.1')).to.equal(false);
  });

  it('follows a redirect', async () => {
    const target = await openFakeList({ json: ['10.0.0.9'] });
    const { list } = await open({ redirect: target.url });
    await waitForState(list, ({ state }) => state().loaded);
    expect(list.require().has('10.0.0.9')).to.equal(true);
    await target.close();
  });

  const TROUBLES: readonly (readonly [string, ListAnswer, RegExp])[] = [
    ['answers an error', { status: 500 }, /it answered 500/],
    ['answers nothing', 'hang', /no complete answer within 150 ms/],
    ['never ends', 'endless', /it has more than 100000 bytes/],
    ['is not JSON', { text: '<html>' }, /it is not JSON/],
    ['is no list', { json: { addresses: [] } }, /it is not a list of addresses/],
    ['holds a name', { json: ['10.0.0.1', 'proxy'] }, /"proxy" is neither an address nor a range/],
    ['holds no range', { json: ['10.0.0.0/33'] }, /"10.0.0.0\/33" is neither/],
    ['redirects in a circle', { redirect: 'list.json' }, /it redirected more than 5 times/],
  ];

  for (const [trouble, answer, reason] of TROUBLES) {
    it(`lets nothing pass while a list that was never loaded ${trouble}`, async () => {
      const { list, warnings } = await open(answer);
      await waitForState(list, ({ state }) => state().failure !== undefined);
      expect(list.state()).to.include({ loaded: false, ageMs: undefined });
      expect(list.state().failure).to.match(reason);
      expect(() => list.require())
        .to.throw('the list of addresses that may write has not been loaded yet: try again later')
        .with.property('code', 'not-ready');
      expect(warnings[0]).to.match(reason);
    });

    it(`keeps the last good list when it ${trouble}, says so once, and shows its age`, async () => {
      const { list, warnings } = await open({ json: ['10.0.0.1'] });
      await waitForState(list, ({ state }) => state().loaded);
      server.answer(answer);
      await waitForState(list, ({ state }) => state().failure !== undefined);
      const asked = server.asked();
      await waitForState(
        list,
        ({ state }) => server.asked() > asked + 2 && (state().ageMs ?? 0) > 30,
      );
      expect(list.require().has('10.0.0.1')).to.equal(true);
      expect(warnings).to.have.lengthOf(1);
      server.answer({ json: ['10.0.0.1'] });
      await waitForState(list, ({ state }) => state().failure === undefined);
    });
  }

  it('keeps the last good list while its server is down, and goes on when it is back', async () => {
    const { list } = await open({ json: ['10.0.0.1'] });
    await waitForState(list, ({ state }) => state().loaded);
    await server.goDown();
    await waitForState(list, ({ state }) => state().failure !== undefined);
    expect(list.require().has('10.0.0.1')).to.equal(true);
    server.answer({ json: ['10.0.0.2'] });
    await server.comeUp();
    await waitForState(list, (now) => now.require().has('10.0.0.2'));
  });

  it('ends at once when it is closed within a request', async () => {
    const { list } = await open('hang');
    const before = performance.now();
    await list.close();
    expect(performance.now() - before).to.be.lessThan(TIMEOUT_MS);
  });
});

describe('the list of processes', () => {
  const LISTED = '0KBEaVHnXhQGB_WRaubwgD81XU40Gzam6lOooZGTfu0';
  const READ_ONLY = 'zdFxUzMbozvqTp_YUNLrIObh3Ew3zxbWAS7NBY3zB5Q';
  const ELSEWHERE = 'VskKNO1ROdh-j8XgqR5TywHwE__Fwv2Lj-4tuDrtGj0';
  const OWN = 'https://su1.example';
  const good = {
    sus: {
      [`${OWN}/`]: { dbs: [{ db_name: 'one', efs_name: 'efs1' }] },
      'https://su2.example': { dbs: [{ db_name: 'two', efs_name: 'efs2' }] },
    },
    processes: {
      [LISTED]: { su: OWN, db_name: 'one', read_only: false },
      [READ_ONLY]: { su: `${OWN}/`, db_name: 'one', read_only: true },
      [ELSEWHERE]: { su: 'https://su2.example', db_name: 'two' },
    },
  };
  const parse = (value: unknown): ProcessWhitelist =>
    parseProcessWhitelist(Buffer.from(JSON.stringify(value)), `${OWN}/`);
  const guardOf = (value: unknown) => makeProcessGuard({ require: () => parse(value) });
  const codeOf = (work: () => void): string | undefined => {
    try {
      work();
      return undefined;
    } catch (error) {
      return isSuError(error) ? `${error.code}: ${error.message}` : String(error);
    }
  };

  it('reads what stands under our own URL, with or without a slash', () => {
    const list = parse(good);
    expect(list.databases).to.deep.equal([{ database: 'one', folder: 'efs1' }]);
    expect(list.find(LISTED)).to.deep.equal({ database: 'one', readOnly: false });
    expect(list.find(READ_ONLY)).to.deep.equal({ database: 'one', readOnly: true });
    expect(list.find(ELSEWHERE)).to.equal(undefined);
  });

  it('is whole for a router, which has no URL on it', () => {
    const list = parseProcessWhitelist(Buffer.from(JSON.stringify(good)), undefined);
    for (const id of [LISTED, READ_ONLY, ELSEWHERE]) expect(list.find(id)).to.not.equal(undefined);
  });

  it('serves the listed alone, and writes to none that is read-only', () => {
    const guard = guardOf(good);
    for (const id of [LISTED, READ_ONLY])
      expect(codeOf(() => guard.checkRead(id))).to.equal(undefined);
    expect(codeOf(() => guard.checkRead(ELSEWHERE))).to.equal(
      `not-allowed: process ${ELSEWHERE} is not served by this SU`,
    );
    expect(codeOf(() => guard.checkWrite(LISTED))).to.equal(undefined);
    expect(codeOf(() => guard.checkWrite(READ_ONLY))).to.equal(
      `not-allowed: process ${READ_ONLY} is read-only on this SU`,
    );
    expect(codeOf(() => guard.checkSpawn(LISTED as never))).to.equal(
      `not-allowed: process ${LISTED} cannot be spawned here: this SU serves the processes of a list alone`,
    );
  });

  it('says what it guards: an SU or a router', () => {
    const guard = makeProcessGuard({ require: () => parse(good) }, 'router');
    expect(codeOf(() => guard.checkRead(ELSEWHERE))).to.match(/is not served by this router$/);
    expect(codeOf(() => guard.checkWrite(READ_ONLY))).to.match(/is read-only on this router$/);
  });

  for (const [what, value, reason] of [
    ['without databases', { processes: {} }, /^sus is not as expected/],
    [
      'with a database whose name is a path',
      { ...good, sus: { [OWN]: { dbs: [{ db_name: '../x', efs_name: 'x' }] } } },
      /db_name is not as expected/,
    ],
    [
      'with a process whose id is none',
      { ...good, processes: { abc: { su: OWN, db_name: 'one' } } },
      /processes\.abc is not as expected/,
    ],
    ['that is a list', [], /^it is not as expected/],
  ] as const) {
    it(`refuses a list ${what}, with the place`, () => {
      expect(() => parse(value)).to.throw(reason);
    });
  }
});
