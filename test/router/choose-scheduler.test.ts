import { expect } from 'chai';
import { makeChoose } from '../../src/lib/router/choose-scheduler.js';
import type { StoredScheduler } from '../../src/lib/router/ports.js';
import { randomId } from '../support/item-factory.js';

const OWNER = randomId();

function row(
  rowId: number,
  processCount: number,
  flags: Partial<StoredScheduler> = {},
): StoredScheduler {
  return {
    rowId,
    url: `http://su${rowId}`,
    processCount,
    noRoute: false,
    walletsToRoute: [],
    walletsOnly: false,
    ...flags,
  };
}

interface World {
  readonly down?: readonly number[];
  readonly unlisted?: readonly number[];
  readonly whenAllAreDown?: 'refuse' | 'choose';
}

function choose(rows: readonly StoredScheduler[], world: World = {}): number | undefined {
  const { down = [], unlisted = [], whenAllAreDown = 'refuse' } = world;
  const listed = rows.filter(({ rowId }) => !unlisted.includes(rowId)).map(({ url }) => url);
  return makeChoose({
    owner: OWNER,
    listed: new Set(listed),
    health: { takesNew: (url) => !down.includes(Number(url.slice(9))) },
    whenAllAreDown,
  })(rows);
}

describe('the choice of a Scheduler Unit', () => {
  it('falls on the one with the fewest processes', () => {
    expect(choose([row(1, 5), row(2, 3), row(3, 4)])).to.equal(2);
  });

  it('falls on the lowest row among equals', () => {
    expect(choose([row(1, 4), row(2, 3), row(3, 3)])).to.equal(2);
  });

  it('leaves out no_route and wallets_only', () => {
    expect(
      choose([row(1, 0, { noRoute: true }), row(2, 0, { walletsOnly: true }), row(3, 9)]),
    ).to.equal(3);
  });

  it("prefers the first row that names the owner's wallet, whatever the counts", () => {
    const own = { walletsToRoute: [randomId(), OWNER] };
    expect(choose([row(1, 0), row(2, 9, own), row(3, 1, own)])).to.equal(2);
    expect(choose([row(1, 0), row(2, 9, { ...own, walletsOnly: true })])).to.equal(2);
  });

  it('does not follow a wallet to an SU with no_route', () => {
    expect(choose([row(1, 7), row(2, 0, { walletsToRoute: [OWNER], noRoute: true })])).to.equal(1);
  });

  it('counts an SU with wallets of others like any, unless it is wallets_only', () => {
    expect(choose([row(1, 7), row(2, 0, { walletsToRoute: [randomId()] })])).to.equal(2);
  });

  it('falls on nobody when nobody may take it', () => {
    expect(choose([row(1, 0, { noRoute: true }), row(2, 0, { walletsOnly: true })])).to.equal(
      undefined,
    );
    expect(choose([])).to.equal(undefined);
  });

  it('leaves out an SU that the list does not name any more', () => {
    expect(choose([row(1, 0), row(2, 9)], { unlisted: [1] })).to.equal(2);
  });

  it('leaves out an SU that is down', () => {
    expect(choose([row(1, 0), row(2, 9)], { down: [1] })).to.equal(2);
  });

  it('refuses an owner whose own SU is down rather than put the process elsewhere for ever', () => {
    const rows = [row(1, 0), row(2, 9, { walletsToRoute: [OWNER] })];
    expect(choose(rows, { down: [2], whenAllAreDown: 'choose' })).to.equal(undefined);
  });

  it('goes by the list alone when all are down and clients go there themselves, else refuses', () => {
    const rows = [row(1, 4), row(2, 3)];
    expect(choose(rows, { down: [1, 2], whenAllAreDown: 'choose' })).to.equal(2);
    expect(choose(rows, { down: [1, 2], whenAllAreDown: 'refuse' })).to.equal(undefined);
  });
});
