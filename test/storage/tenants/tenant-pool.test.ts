import { expect } from 'chai';
import { isSuError, SuError } from '../../../src/lib/errors.js';
import { NotSettledError, type Settlement } from '../../../src/lib/uploader/ports.js';
import { TenantOutbox } from '../../../src/lib/storage/tenants/tenant-outbox.js';
import { TenantPool, type TenantStore } from '../../../src/lib/storage/tenants/tenant-pool.js';
import { randomId } from '../../support/item-factory.js';
import { waitFor } from '../../support/su-process.js';

/** Tenants that remember what happened to them. */
class Tenants {
  readonly events: string[] = [];
  readonly open = new Set<string>();
  readonly pending = new Map<string, number>();
  readonly settled: Settlement[] = [];
  mostOpen = 0;
  away = new Set<string>();
  /** Ready when it leaves this set, or broken off by its closing. */
  readonly migrating = new Set<string>();
  /** Answers no count until it is closed. */
  readonly silent = new Set<string>();
  asked = 0;
  /** Answers to the claims of these are a test's to give; they are in `claims`. */
  readonly slow = new Set<string>();
  readonly claims: ((answer: 'rows' | Error) => void)[] = [];
  readonly settles: (() => void)[] = [];
  now = (): number => performance.now();
  closing: () => Promise<void> = () => Promise.resolve();
  readonly pool: TenantPool;

  constructor(options: { openMax: number; idleMs?: number }) {
    this.pool = new TenantPool({
      open: (database) => this.#open(database),
      openMax: options.openMax,
      idleMs: options.idleMs ?? 60_000,
      roomWaitMs: 200,
      monotonicMs: () => this.now(),
      log: { info: () => undefined, warn: () => undefined },
    });
  }

  async #open(database: string): Promise<TenantStore> {
    expect(this.open.has(database), `${database} is open twice`).to.equal(false);
    this.events.push(`open ${database}`);
    this.open.add(database);
    this.mostOpen = Math.max(this.mostOpen, this.open.size);
    const rows = () =>
      Array.from({ length: this.pending.get(database) ?? 0 }, (_, index) => ({
        key: String(index),
        processId: randomId(),
        messageId: randomId(),
        assignmentId: undefined,
        parts: 1,
        attempts: 0,
      }));
    let breakOff = (): void => undefined;
    const closed = new Promise<never>((_resolve, reject) => {
      breakOff = () => reject(new SuError('interrupted', 'closed'));
    });
    closed.catch(() => undefined);
    const outbox = {
      counts: () => {
        this.asked += 1;
        if (this.silent.has(database)) return closed;
        return Promise.resolve({ pending: rows().length, parked: 1 });
      },
      claim: async (limit: number) => {
        if (!this.slow.has(database)) return rows().slice(0, limit);
        const answer = await new Promise<'rows' | Error>((resolve) => this.claims.push(resolve));
        if (answer !== 'rows') throw answer;
        return rows().slice(0, limit);
      },
      settle: async (settlements: readonly Settlement[]) => {
        if (this.slow.has(database)) {
          await new Promise<void>((resolve) => this.settles.push(resolve));
        }
        this.settled.push(...settlements.map((one) => ({ ...one, key: `${database}/${one.key}` })));
        this.pending.set(database, 0);
      },
    };
    return {
      outbox,
      ready: () => {
        if (this.away.has(database)) {
          return Promise.reject(new SuError('store-unavailable', 'away'));
        }
        return this.migrating.has(database) ? closed : Promise.resolve();
      },
      close: async () => {
        breakOff();
        await this.closing();
        this.open.delete(database);
        this.events.push(`close ${database}`);
      },
    } as unknown as TenantStore;
  }

  touch(database: string): Promise<string> {
    return this.pool.use(database, () => Promise.resolve(database));
  }
}

describe('the stores of tenants', () => {
  let tenants: Tenants;
  afterEach(() => tenants.pool.close());

  const eventually = (holds: () => boolean): Promise<boolean> =>
    waitFor(
      () => (holds() ? true : undefined),
      () => tenants.events.join(),
      5_000,
    );

  const eventuallyCounted = (databases: readonly string[]): Promise<boolean> =>
    eventually(() => {
      tenants.pool.visitNext();
      return databases.every((database) => tenants.pool.counts.has(database));
    });

  it('are opened when they are first needed, once for all who need them', async () => {
    tenants = new Tenants({ openMax: 4 });
    tenants.pool.setDatabases(['a', 'b']);
    expect(tenants.events).to.deep.equal([]);
    await Promise.all([tenants.touch('a'), tenants.touch('a'), tenants.touch('a')]);
    expect(tenants.events).to.deep.equal(['open a']);
  });

  it('are never more than the bound: the one unused the longest makes room', async () => {
    tenants = new Tenants({ openMax: 2 });
    for (const database of ['a', 'b', 'a', 'c']) await tenants.touch(database);
    expect(tenants.events).to.deep.equal(['open a', 'open b', 'close b', 'open c']);
    expect([...tenants.open].toSorted()).to.deep.equal(['a', 'c']);
  });

  it('refuse one more with 503 while all are in use', async () => {
    tenants = new Tenants({ openMax: 1 });
    const { release } = await tenants.pool.hold('a');
    const failure = await tenants.touch('b').catch((error: unknown) => error);
    expect(failure).to.include({ code: 'store-unavailable', retryAfterSeconds: 2 });
    release();
    expect(await tenants.touch('b')).to.equal('b');
  });

  it('wait a while for one that is about to be given back', async () => {
    tenants = new Tenants({ openMax: 1 });
    const { release } = await tenants.pool.hold('a');
    const waiting = [tenants.touch('b'), tenants.touch('b'), tenants.touch('c')];
    setTimeout(release, 30);
    expect(await Promise.all(waiting)).to.deep.equal(['b', 'b', 'c']);
    expect(tenants.mostOpen).to.equal(1);
  });

  it('are opened again only when their closing is over', async () => {
    tenants = new Tenants({ openMax: 1 });
    tenants.closing = () => new Promise((resolve) => setTimeout(resolve, 30));
    for (const database of ['a', 'b', 'a', 'b', 'a']) await tenants.touch(database);
    expect(tenants.events.filter((event) => event === 'open a')).to.have.lengthOf(3);
  });

  it('are closed when nobody uses them, but not before their uploads are through', async () => {
    tenants = new Tenants({ openMax: 4, idleMs: 20 });
    tenants.pending.set('b', 1);
    await tenants.touch('a');
    await tenants.touch('b');
    await eventually(() => tenants.events.includes('close a'));
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect([...tenants.open]).to.deep.equal(['b']);
    tenants.pending.set('b', 0);
    await eventually(() => tenants.events.includes('close b'));
  });

  it('are not closed under a reader that takes its time', async () => {
    tenants = new Tenants({ openMax: 4, idleMs: 20 });
    const { release } = await tenants.pool.hold('a');
    await new Promise((resolve) => setTimeout(resolve, 80));
    expect(tenants.events).to.deep.equal(['open a']);
    release();
    await eventually(() => tenants.events.includes('close a'));
  });

  it('are each visited for their uploads, a bounded number at a time, whatever one of them suffers', async () => {
    tenants = new Tenants({ openMax: 2, idleMs: 20 });
    const databases = ['a', 'b', 'c', 'd', 'e'];
    tenants.away.add('c');
    tenants.pool.setDatabases(databases);
    for (const database of databases) tenants.pending.set(database, 3);
    const outbox = new TenantOutbox(tenants.pool);
    const drained = new Set<string>();
    await waitFor(
      async () => {
        for (const row of await outbox.claim(10).catch(() => [])) {
          await outbox.settle([{ key: row.key, status: 'done' }]);
          drained.add(row.key.split(':')[0] ?? '');
        }
        if (drained.size === 4) tenants.away.clear();
        return drained.size === 5 ? true : undefined;
      },
      () => `drained ${[...drained].join()}: ${tenants.events.join()}`,
      10_000,
    );
    expect(tenants.mostOpen).to.equal(2);
    expect(new Set(tenants.settled.map(({ key }) => key))).to.include('d/0');
    expect((await outbox.counts()).parked).to.be.greaterThan(0);
  });

  it('are claimed from while another tenant migrates', async () => {
    tenants = new Tenants({ openMax: 4, idleMs: 20 });
    tenants.migrating.add('a');
    tenants.pending.set('b', 1);
    tenants.pool.setDatabases(['a', 'b']);
    const outbox = new TenantOutbox(tenants.pool);
    expect(await outbox.claim(5)).to.deep.equal([]);
    await tenants.touch('b');
    expect((await outbox.claim(5)).map(({ key }) => key)).to.deep.equal(['b:0']);
  });

  describe('when one of them answers no claim', () => {
    let outbox: TenantOutbox;
    const claimed = async (limit = 5): Promise<string[]> =>
      (await outbox.claim(limit)).map(({ key }) => key);

    beforeEach(async () => {
      tenants = new Tenants({ openMax: 4 });
      for (const database of ['a', 'b']) await tenants.touch(database);
      tenants.slow.add('a');
      tenants.pending.set('a', 3);
      tenants.pending.set('b', 1);
      outbox = new TenantOutbox(tenants.pool);
    });

    it('are claimed from without it, and it is not asked again before it answers', async () => {
      for (let claim = 0; claim < 3; claim += 1) {
        expect(await claimed()).to.deep.equal(['b:0']);
        expect(tenants.claims).to.have.length(1);
      }
    });

    it('give out its rows when it has answered, no more than are asked for, and ask it again', async () => {
      expect(await claimed()).to.deep.equal(['b:0']);
      tenants.pending.set('b', 0);
      tenants.claims[0]?.('rows');
      await new Promise((resolve) => setImmediate(resolve));
      expect(await claimed(2)).to.deep.equal(['a:0', 'a:1']);
      expect(await claimed(2)).to.deep.equal(['a:2']);
      tenants.slow.clear();
      expect(await claimed()).to.deep.equal(['a:0', 'a:1', 'a:2']);
    });

    it('leave rows that come much later to their lease', async () => {
      expect(await claimed()).to.deep.equal(['b:0']);
      tenants.claims[0]?.('rows');
      tenants.now = () => performance.now() + 5_001;
      await new Promise((resolve) => setImmediate(resolve));
      expect(await claimed()).to.deep.equal(['b:0']);
      tenants.slow.clear();
      expect(await claimed()).to.have.members(['a:0', 'a:1', 'a:2', 'b:0']);
    });

    it('fail when all fail, also while they are asked again, and are there when they answer', async () => {
      tenants.slow.add('b');
      const failure = new SuError('store-unavailable', 'silent');
      expect(await claimed()).to.deep.equal([]);
      for (const answer of tenants.claims) answer(failure);
      await new Promise((resolve) => setImmediate(resolve));
      for (let claim = 0; claim < 3; claim += 1) {
        expect(await outbox.claim(5).catch((error: unknown) => error)).to.equal(failure);
      }
      expect(tenants.claims).to.have.length(4);
      for (const answer of tenants.claims) answer('rows');
      await new Promise((resolve) => setImmediate(resolve));
      expect(await claimed()).to.have.members(['a:0', 'a:1', 'a:2', 'b:0']);
    });
  });

  it('are swept while another tenant migrates', async () => {
    tenants = new Tenants({ openMax: 4, idleMs: 20 });
    tenants.migrating.add('a');
    tenants.pool.setDatabases(['a']);
    tenants.pool.visitNext();
    await tenants.touch('b');
    await eventually(() => tenants.events.includes('close b'));
    expect([...tenants.open]).to.deep.equal(['a']);
  });

  it('are visited when they were away at their first use, so that they are not open for ever', async () => {
    tenants = new Tenants({ openMax: 4, idleMs: 20 });
    tenants.away.add('a');
    await tenants.touch('a').catch(() => undefined);
    tenants.away.clear();
    await eventually(() => {
      tenants.pool.visitNext();
      return tenants.events.includes('close a');
    });
  });

  it('are visited again when they make room before the uploads of their last use were counted', async () => {
    tenants = new Tenants({ openMax: 1 });
    tenants.pool.setDatabases(['a', 'b']);
    const outbox = new TenantOutbox(tenants.pool);
    await eventuallyCounted(['a', 'b']);
    await tenants.pool.use('a', () => Promise.resolve(tenants.pending.set('a', 1)));
    await tenants.touch('b');
    const [row] = await waitFor(
      async () => {
        const rows = await outbox.claim(5);
        return rows.length > 0 ? rows : undefined;
      },
      () => tenants.events.join(),
      5_000,
    );
    expect(row?.key).to.equal('a:0');
  });

  it('do not take the room from each other when nobody uses them', async () => {
    tenants = new Tenants({ openMax: 1 });
    tenants.pool.setDatabases(['a', 'b', 'c']);
    await eventuallyCounted(['a', 'b', 'c']);
    const before = tenants.events.length;
    for (let look = 0; look < 50; look += 1) {
      tenants.pool.visitNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(tenants.events.slice(before)).to.deep.equal([]);
  });

  it('take settlements while another tenant is away, and those of that one are named', async () => {
    tenants = new Tenants({ openMax: 4 });
    tenants.away.add('a');
    const outbox = new TenantOutbox(tenants.pool);
    const failure = await outbox
      .settle([
        { key: 'a:1', status: 'done' },
        { key: 'b:1', status: 'done' },
      ])
      .catch((error: unknown) => error);
    expect(tenants.settled.map(({ key }) => key)).to.deep.equal(['b/1']);
    expect(failure).to.be.instanceOf(NotSettledError);
    expect(failure).to.have.deep.property('unwritten', [{ key: 'a:1', status: 'done' }]);
  });

  it('take settlements while another tenant is silent, which is told again when it has answered', async () => {
    tenants = new Tenants({ openMax: 4 });
    tenants.slow.add('a');
    const outbox = new TenantOutbox(tenants.pool);
    const settled = (): string[] => tenants.settled.map(({ key }) => key);
    const unwrittenOf = async (settlements: readonly Settlement[]): Promise<unknown> =>
      outbox.settle(settlements).then(
        () => [],
        (error: unknown) => (error instanceof NotSettledError ? error.unwritten : error),
      );
    const done = (key: string): Settlement => ({ key, status: 'done' });
    const [first, second] = [done('a:1'), done('a:2')];
    expect(await unwrittenOf([first, done('b:1')])).to.deep.equal([first]);
    expect(await unwrittenOf([first, second, done('b:2')])).to.deep.equal([first, second]);
    expect(settled()).to.deep.equal(['b/1', 'b/2']);
    expect(tenants.settles, 'it is told once at a time').to.have.length(1);
    tenants.slow.clear();
    tenants.settles[0]?.();
    await eventually(() => settled().includes('a/1'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(await unwrittenOf([first, second])).to.deep.equal([]);
    expect(settled(), 'nothing twice').to.deep.equal(['b/1', 'b/2', 'a/1', 'a/2']);
  });

  it('are closed at the end also under a sweep that waits for one of them', async () => {
    tenants = new Tenants({ openMax: 2, idleMs: 20 });
    tenants.silent.add('a');
    await tenants.touch('a');
    await eventually(() => tenants.asked > 0);
    await tenants.pool.close();
    expect(tenants.events).to.deep.equal(['open a', 'close a']);
  });

  it('let nobody in after the end', async () => {
    tenants = new Tenants({ openMax: 2 });
    await tenants.touch('a');
    await tenants.pool.close();
    expect(tenants.events).to.deep.equal(['open a', 'close a']);
    const failure = await tenants.touch('b').catch((error: unknown) => error);
    expect(isSuError(failure, 'store-unavailable')).to.equal(true);
  });
});
