import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { checkRoutes, type RoutesReport } from '../../src/lib/router/check-routes.js';
import { routesLines } from '../../src/lib/cli/routes-lines.js';
import type {
  ListedScheduler,
  RouteInspection,
  RouteStore,
  SchedulerClient,
} from '../../src/lib/router/ports.js';
import { randomId } from '../support/item-factory.js';
import { makeTempRocksdb, type TempRocksdb } from '../support/temp-rocksdb.js';

const OURS = randomId();
const NOW = 1_700_000_000_000;

function listed(url: string, flags: Partial<ListedScheduler> = {}): ListedScheduler {
  return { url, noRoute: false, walletsToRoute: [], walletsOnly: false, ...flags };
}

interface FakeSu {
  address?: string;
  skewMs?: number;
  health?: 'ready' | 'waiting' | 'away';
  processes?: readonly Id[];
}

function clientOf(units: Readonly<Record<string, FakeSu>>): SchedulerClient {
  const find = (url: string): FakeSu => {
    const unit = units[url] ?? {};
    if (unit.health !== 'away') return unit;
    throw new SuError('scheduler-unavailable', 'away', { details: { reason: 'refused' } });
  };
  return {
    fetchKnowsProcess: async (url, id) => find(url).processes?.includes(id) ?? false,
    fetchBlockHeight: async () => 1,
    fetchInfo: async (url) => {
      const { address = OURS, skewMs = 0 } = find(url);
      return { address, timestamp: NOW + skewMs };
    },
    fetchHealth: async (url) => (find(url).health === 'waiting' ? 'waiting' : 'ready'),
  };
}

describe('the check of routes', () => {
  let temp: TempRocksdb;
  let routes: RouteStore;
  let close: () => Promise<void>;

  beforeEach(async () => {
    temp = await makeTempRocksdb(1000);
    ({ routes, close } = await temp.open());
  });
  afterEach(async () => {
    await close();
    await temp.destroy();
  });

  const A = 'http://a';
  const B = 'http://b';

  function check(
    list: readonly ListedScheduler[],
    units: Readonly<Record<string, FakeSu>> = {},
    more: { fix?: boolean; routes?: RouteInspection | undefined } = {},
  ): Promise<RoutesReport> {
    return checkRoutes({
      list,
      routes: 'routes' in more ? more.routes : routes,
      client: clientOf(units),
      address: OURS,
      sampleFrom: randomId(),
      sampleSize: 50,
      fix: more.fix ?? false,
      clock: () => NOW,
      monotonicMs: () => 0,
    });
  }
  const inspection = (): RouteInspection => ({
    readSchedulers: () => routes.readSchedulers(),
    countPlacements: () => routes.countPlacements(),
    samplePlacements: (from, limit) => routes.samplePlacements(from, limit),
    repairCounts: () => routes.repairCounts(),
  });
  const said = ({ findings }: RoutesReport): readonly string[] =>
    findings.map(({ level, scheduler, sentence }) => `${level} ${scheduler}: ${sentence}`);
  async function place(rowId: number): Promise<Id> {
    const processId = randomId();
    await routes.place([{ processId, choose: () => rowId }]);
    return processId;
  }

  it('finds nothing wrong with a cluster that hangs together', async () => {
    await routes.applyList([listed(A), listed(B, { noRoute: true })]);
    const ids = [await place(1), await place(1)];
    const report = await check([listed(A), listed(B, { noRoute: true })], {
      [A]: { processes: ids },
    });
    expect(said(report)).to.deep.equal([]);
    expect(report).to.deep.include({
      faults: 0,
      repaired: [],
      sample: { asked: 2, found: 2, unknown: 0, elsewhere: 0, unasked: 0 },
    });
    expect(report.schedulers[0]).to.deep.equal({
      url: A,
      isListed: true,
      isStored: true,
      health: 'ready',
      address: OURS,
      skewMs: 0,
      latencyMs: 0,
      processCount: 2,
      placements: 2,
    });
  });

  it('reports an empty database, and one that is not there, and takes neither for a fault', async () => {
    for (const more of [{}, { routes: undefined }]) {
      const report = await check([listed(A)], {}, more);
      expect(report.faults).to.equal(0);
      expect(said(report)).to.have.lengthOf(1);
      expect(said(report)[0]).to.match(
        /^notice undefined: the database holds no Scheduler Unit yet/,
      );
    }
  });

  it('faults what the list and the database say differently', async () => {
    const wallet = randomId();
    await routes.applyList([
      listed(A, { walletsToRoute: [wallet] }),
      listed('http://gone'),
      listed('http://empty'),
    ]);
    await place(2);
    const report = await check([listed(A, { noRoute: true, walletsOnly: true }), listed(B)]);
    expect(report.faults).to.equal(3);
    const lines = said(report).join('\n');
    expect(lines).to.match(
      /^fault http:\/\/a: no_route, wallets_to_route, wallets_only differ from the list/m,
    );
    expect(lines).to.match(/^fault http:\/\/b: is in the list and not in the database/m);
    expect(lines).to.match(
      /^fault http:\/\/gone: is in the database and not in the list, with 1 processes/m,
    );
    expect(lines).to.match(
      /^notice http:\/\/empty: is in the database and not in the list, with 0 processes/m,
    );
  });

  it('faults an SU that is away, not ready, of another wallet, or has another clock', async () => {
    const urls = ['http://away', 'http://waiting', 'http://other', 'http://late', 'http://nearly'];
    const list = urls.map((url) => listed(url));
    await routes.applyList(list);
    const other = randomId();
    const report = await check(list, {
      'http://away': { health: 'away' },
      'http://waiting': { health: 'waiting' },
      'http://other': { address: other },
      'http://late': { skewMs: -5_001 },
      'http://nearly': { skewMs: 5_000 },
    });
    expect(said(report).toSorted()).to.deep.equal([
      'fault http://away: does not answer (refused)',
      'fault http://late: its clock is -5001 ms off ours',
      `fault http://other: signs as ${other}, and the router's wallet is ${OURS}`,
      'fault http://waiting: is not ready: its /health answers 503',
    ]);
  });

  it('notices a process that no SU knows, faults one that another SU has, and asks none that is away', async () => {
    await routes.applyList([listed(A), listed(B), listed('http://away')]);
    const [nowhere, elsewhere] = [await place(1), await place(1)];
    await place(3);
    const report = await check([listed(A), listed(B), listed('http://away')], {
      [B]: { processes: [elsewhere] },
      'http://away': { health: 'away' },
    });
    expect(report.sample).to.deep.equal({
      asked: 3,
      found: 0,
      unknown: 1,
      elsewhere: 1,
      unasked: 1,
    });
    expect(said(report)).to.include.members([
      `notice ${A}: does not know process ${nowhere}: its spawn was never sent on to it`,
      `fault ${A}: process ${elsewhere} is placed here, and ${B} has it`,
    ]);
    expect(report.faults).to.equal(2);
  });

  it('faults a wrong count, and with fix repairs it, says so, and changes nothing else', async () => {
    await routes.applyList([listed(A, { noRoute: true })]);
    const id = await place(1);
    let count = 5;
    const spoiled: RouteInspection = {
      ...inspection(),
      readSchedulers: async () =>
        (await routes.readSchedulers()).map((each) => ({ ...each, processCount: count })),
      repairCounts: async () => {
        const repaired = [{ url: A, from: count, to: 1 }];
        count = 1;
        return repaired;
      },
    };
    const list = [listed(A, { noRoute: true })];
    const units = { [A]: { processes: [id] } };
    const wrong = await check(list, units, { routes: spoiled });
    expect(said(wrong)).to.deep.equal([
      `fault ${A}: is counted with 5 processes and has 1: --fix repairs it`,
    ]);
    const fixed = await check(list, units, { routes: spoiled, fix: true });
    expect(fixed).to.deep.include({ faults: 0, repaired: [{ url: A, from: 5, to: 1 }] });
    expect(routesLines(fixed)).to.include(`repaired: ${A} was counted with 5 processes and has 1`);
  });
});
