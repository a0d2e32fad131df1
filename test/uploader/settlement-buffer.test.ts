import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { delayByTimer } from '../../src/lib/uploader/delay.js';
import { NotSettledError, type Settlement } from '../../src/lib/uploader/ports.js';
import { SettlementBuffer } from '../../src/lib/uploader/settlement-buffer.js';
import { waitFor } from '../support/su-process.js';

/** A store of two tenants of which `a` may be away. */
class TwoTenants {
  readonly written: string[] = [];
  aIsAway = true;
  writes = 0;
  answers: Promise<void> = Promise.resolve();

  async settle(settlements: readonly Settlement[]): Promise<void> {
    this.writes += 1;
    await this.answers;
    const refused = (key: string): boolean => this.aIsAway && key.startsWith('a:');
    this.written.push(...settlements.map(({ key }) => key).filter((key) => !refused(key)));
    const unwritten = settlements.filter(({ key }) => refused(key));
    if (unwritten.length === 0) return;
    throw new NotSettledError(unwritten, new SuError('store-unavailable', 'away'));
  }
}

describe('settlement buffer', () => {
  let store: TwoTenants;
  let buffer: SettlementBuffer;
  beforeEach(() => (store = new TwoTenants()));
  afterEach(() => buffer.close());

  function open(limits: { batchRows: number; keptMax: number; retryMs: number }): void {
    const settle = (settlements: readonly Settlement[]): Promise<void> => store.settle(settlements);
    const onTrouble = (): void => undefined;
    buffer = new SettlementBuffer({ ...limits, settle, delay: delayByTimer, waitMs: 1, onTrouble });
  }

  const addAll = (keys: readonly string[]): void => {
    for (const key of keys) buffer.add({ key, status: 'done' });
  };
  const eventually = (holds: () => boolean): Promise<boolean> =>
    waitFor(
      () => (holds() ? true : undefined),
      () => `${store.written.length} written, ${buffer.size} wait`,
      5_000,
    );
  const keysOf = (tenant: string, count: number): string[] =>
    Array.from({ length: count }, (_, index) => `${tenant}:${index}`);

  it('writes the outcomes of other tenants once while one is away, and its own when it is back', async () => {
    open({ batchRows: 10, keptMax: 1_000, retryMs: 5 });
    addAll([...keysOf('a', 30), ...keysOf('b', 100)]);
    await eventually(() => store.written.length >= 100 && buffer.size === 30);
    expect(store.written.toSorted()).to.deep.equal(keysOf('b', 100).toSorted());
    store.aIsAway = false;
    await eventually(() => buffer.size === 0);
    expect(store.written.slice(100).toSorted()).to.deep.equal(keysOf('a', 30).toSorted());
  });

  it('forgets what was refused before what was never tried', async () => {
    open({ batchRows: 2, keptMax: 3, retryMs: 60_000 });
    let answer = (): void => undefined;
    store.answers = new Promise((resolve) => (answer = resolve));
    addAll(['a:0', 'a:1']);
    await eventually(() => store.writes === 1);
    addAll(['b:0', 'b:1', 'b:2']);
    answer();
    await buffer.close();
    expect(store.written).to.deep.equal(['b:0', 'b:1', 'b:2']);
  });

  it('at its close tries no tenant for ever', async () => {
    open({ batchRows: 10, keptMax: 1_000, retryMs: 60_000 });
    addAll(['a:0', 'b:0']);
    await buffer.close();
    expect(store.written).to.deep.equal(['b:0']);
  });
});
