import { expect } from 'chai';
import type { Choose, ListedScheduler, RouteStore } from '../../../src/lib/router/ports.js';
import { randomId } from '../../support/item-factory.js';

/** A store of routes on one place, which can be closed and opened again. */
export interface RoutePlace {
  open(): Promise<{ readonly routes: RouteStore; close(): Promise<void> }>;
  /** Makes the count of an SU wrong, as a program without transactions would. */
  spoilCount(url: string, count: number): Promise<void>;
  destroy(): Promise<void>;
}

function listed(url: string, flags: Partial<ListedScheduler> = {}): ListedScheduler {
  return { url, noRoute: false, walletsToRoute: [], walletsOnly: false, ...flags };
}

const A = 'http://a.example';
const B = 'http://b.example/base';
const fewest: Choose = (schedulers) =>
  schedulers.toSorted((one, other) => one.processCount - other.processCount)[0]?.rowId;
const none: Choose = () => undefined;

/** What every store of routes must do. */
export function describeRouteStore(name: string, makePlace: () => Promise<RoutePlace>): void {
  describe(`the routes in ${name}`, function () {
    this.timeout(30_000);
    let place: RoutePlace;
    let opened: Awaited<ReturnType<RoutePlace['open']>>;
    let routes: RouteStore;

    beforeEach(async () => {
      place = await makePlace();
      opened = await place.open();
      ({ routes } = opened);
    });
    afterEach(async () => {
      await opened.close();
      await place.destroy();
    });

    async function reopen(): Promise<void> {
      await opened.close();
      opened = await place.open();
      ({ routes } = opened);
    }
    const countsOf = async (): Promise<number[]> =>
      (await routes.readSchedulers()).map(({ processCount }) => processCount);
    const placedCounts = async (): Promise<(number | undefined)[]> => {
      const counts = await routes.countPlacements();
      return (await routes.readSchedulers()).map(({ rowId }) => counts.get(rowId));
    };

    it('are empty at first', async () => {
      expect(await routes.readSchedulers()).to.deep.equal([]);
      expect(await routes.findPlacement(randomId())).to.equal(undefined);
      expect(await routes.samplePlacements(randomId(), 5)).to.deep.equal([]);
      expect((await routes.countPlacements()).size).to.equal(0);
      expect(await routes.place([{ processId: randomId(), choose: fewest }])).to.deep.equal([
        undefined,
      ]);
    });

    it('add SUs in the order of the list, and keep their flags', async () => {
      const wallets = [randomId(), randomId()];
      await routes.applyList([
        listed(B, { noRoute: true }),
        listed(A, { walletsToRoute: wallets, walletsOnly: true }),
      ]);
      await reopen();
      const [first, second] = await routes.readSchedulers();
      expect(first).to.include({ url: B, noRoute: true, walletsOnly: false, processCount: 0 });
      expect(second).to.include({ url: A, noRoute: false, walletsOnly: true });
      expect(second?.walletsToRoute).to.deep.equal(wallets);
      expect(first?.rowId).to.be.lessThan(second?.rowId ?? 0);
    });

    it('give known SUs the flags of a new list, and keep those it does not name', async () => {
      const before = await routes.applyList([listed(A, { noRoute: true }), listed(B)]);
      await routes.place([{ processId: randomId(), choose: fewest }]);
      const after = await routes.applyList([listed('http://c.example'), listed(A)]);
      expect(after.map(({ url }) => url)).to.deep.equal([A, B, 'http://c.example']);
      expect(after.slice(0, 2).map(({ rowId }) => rowId)).to.deep.equal(
        before.map(({ rowId }) => rowId),
      );
      expect(after[0]).to.include({ noRoute: false, processCount: 1 });
      expect(await routes.readSchedulers()).to.deep.equal(after);
    });

    it('record a placement and count it', async () => {
      await routes.applyList([listed(A), listed(B)]);
      const processId = randomId();
      const [placed] = await routes.place([{ processId, choose: fewest }]);
      expect(placed).to.include({ processId, isNew: true });
      await reopen();
      const found = await routes.findPlacement(processId);
      expect({ ...found, isNew: true }).to.deep.equal(placed);
      expect(await countsOf()).to.deep.equal([1, 0]);
      expect(await placedCounts()).to.deep.equal([1, undefined]);
    });

    it('show each choice of a batch the counts of those before it', async () => {
      await routes.applyList([listed(A), listed(B)]);
      const requests = Array.from({ length: 7 }, () => ({ processId: randomId(), choose: fewest }));
      const placed = await routes.place(requests);
      expect(new Set(placed.map((each) => each?.key)).size).to.equal(7);
      expect(await countsOf()).to.deep.equal([4, 3]);
      expect(await placedCounts()).to.deep.equal([4, 3]);
    });

    it('answer where a process is that was placed before, and count nothing', async () => {
      await routes.applyList([listed(A), listed(B)]);
      const processId = randomId();
      const [first] = await routes.place([{ processId, choose: fewest }]);
      await reopen();
      const [again] = await routes.place([{ processId, choose: fewest }]);
      expect(again).to.deep.equal({ ...first, isNew: false, key: again?.key });
      expect(await countsOf()).to.deep.equal([1, 0]);
    });

    it('record nothing where none is chosen, and place the others of the batch', async () => {
      await routes.applyList([listed(A)]);
      const [refused, taken] = [randomId(), randomId()];
      const answers = await routes.place([
        { processId: refused, choose: none },
        { processId: taken, choose: fewest },
      ]);
      expect(answers[0]).to.equal(undefined);
      expect(answers[1]).to.include({ processId: taken, isNew: true });
      expect(await routes.findPlacement(refused)).to.equal(undefined);
      expect(await countsOf()).to.deep.equal([1]);
    });

    it('place each process once, whoever else places it at the same time', async () => {
      await routes.applyList([listed(A), listed(B)]);
      const ids = Array.from({ length: 20 }, () => randomId());
      const rounds = await Promise.all(
        Array.from({ length: 8 }, () =>
          Promise.all(
            ids.map(async (processId) => (await routes.place([{ processId, choose: fewest }]))[0]),
          ),
        ),
      );
      for (const [index, processId] of ids.entries()) {
        const rows = new Set(rounds.map((round) => round[index]?.rowId));
        expect(rows.size, processId).to.equal(1);
        expect(rounds.filter((round) => round[index]?.isNew === true)).to.have.lengthOf(1);
      }
      expect(await countsOf()).to.deep.equal([10, 10]);
      expect(await placedCounts()).to.deep.equal([10, 10]);
    });

    it('take a placement back with its count, once', async () => {
      await routes.applyList([listed(A)]);
      const processId = randomId();
      const [placed] = await routes.place([{ processId, choose: fewest }]);
      if (placed === undefined) throw new Error('it was not placed');
      expect(await routes.takeBack(placed)).to.equal(true);
      expect(await routes.takeBack(placed)).to.equal(false);
      expect(await routes.findPlacement(processId)).to.equal(undefined);
      await reopen();
      expect(await countsOf()).to.deep.equal([0]);
    });

    it('do not take back a later placing of the same process', async () => {
      await routes.applyList([listed(A)]);
      const processId = randomId();
      const [first] = await routes.place([{ processId, choose: fewest }]);
      if (first === undefined) throw new Error('it was not placed');
      await routes.takeBack(first);
      const [second] = await routes.place([{ processId, choose: fewest }]);
      expect(second).to.include({ isNew: true, rowId: first.rowId });
      expect(await routes.takeBack(first)).to.equal(false);
      expect(await countsOf()).to.deep.equal([1]);
    });

    it('do not take back what another spawn has joined, however it joined', async () => {
      await routes.applyList([listed(A)]);
      const processId = randomId();
      expect(await routes.joinPlacement(processId)).to.equal(undefined);
      const [made] = await routes.place([{ processId, choose: fewest }]);
      if (made === undefined) throw new Error('it was not placed');
      const joined = await routes.joinPlacement(processId);
      expect(joined)
        .to.include({ processId, rowId: made.rowId })
        .and.not.include({ key: made.key });
      expect(await routes.takeBack(made)).to.equal(false);
      const [placedAgain] = await routes.place([{ processId, choose: fewest }]);
      expect(placedAgain).to.include({ isNew: false, rowId: made.rowId });
      expect(await routes.takeBack(joined ?? made)).to.equal(false);
      await reopen();
      expect(await routes.findPlacement(processId)).to.include({ key: placedAgain?.key });
      expect(await countsOf()).to.deep.equal([1]);
    });

    it('let a spawn join a placement or find it taken back, and nothing in between', async () => {
      await routes.applyList([listed(A)]);
      for (let round = 0; round < 20; round += 1) {
        const processId = randomId();
        const [made] = await routes.place([{ processId, choose: fewest }]);
        if (made === undefined) throw new Error('it was not placed');
        const [joined, isGone] = await Promise.all([
          routes.joinPlacement(processId),
          routes.takeBack(made),
        ]);
        expect(joined === undefined, 'not there to be joined').to.equal(isGone);
        expect(await routes.findPlacement(processId)).to.deep.equal(
          joined === undefined ? undefined : { processId, rowId: joined.rowId, key: joined.key },
        );
      }
    });

    it('sample from any id on, around the end, without repeating one', async () => {
      await routes.applyList([listed(A)]);
      const ids = Array.from({ length: 9 }, () => randomId());
      await routes.place(ids.map((processId) => ({ processId, choose: fewest })));
      for (const from of [randomId(), ids[4] ?? randomId()]) {
        const all = (await routes.samplePlacements(from, 20)).map(({ processId }) => processId);
        expect(all.toSorted()).to.deep.equal(ids.toSorted());
        const some = (await routes.samplePlacements(from, 4)).map(({ processId }) => processId);
        expect(some).to.deep.equal(all.slice(0, 4));
      }
    });

    it('repair counts that are wrong, say which, and touch nothing else', async () => {
      await routes.applyList([listed(A), listed(B)]);
      await routes.place([{ processId: randomId(), choose: fewest }]);
      await opened.close();
      await place.spoilCount(A, 7);
      opened = await place.open();
      ({ routes } = opened);
      expect(await countsOf()).to.deep.equal([7, 0]);
      expect(await routes.repairCounts()).to.deep.equal([{ url: A, from: 7, to: 1 }]);
      expect(await countsOf()).to.deep.equal([1, 0]);
      expect(await routes.repairCounts()).to.deep.equal([]);
      expect(await placedCounts()).to.deep.equal([1, undefined]);
    });

    it('refuse with store-unavailable once closed', async () => {
      await opened.close();
      for (const act of [
        () => routes.findPlacement(randomId()),
        () => routes.place([{ processId: randomId(), choose: fewest }]),
        () => routes.applyList([listed(A)]),
      ]) {
        const failure = await act().then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(failure).to.include({ code: 'store-unavailable' });
      }
    });
  });
}
