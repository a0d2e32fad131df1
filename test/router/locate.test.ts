import { expect } from 'chai';
import { makeLocate } from '../../src/lib/router/locate.js';
import type { Placement } from '../../src/lib/router/ports.js';
import { idOf } from '../support/memory-store.js';

describe('where a process is', () => {
  it('is remembered for reads and messages, and joined in the store for each spawn', async () => {
    const processId = idOf('p');
    let stored: Placement | undefined = { processId, rowId: 1, key: '1' };
    const { joinStored, locate } = makeLocate({
      store: {
        findPlacement: () => Promise.resolve(stored),
        joinPlacement: () => Promise.resolve(stored),
      },
      directory: {
        isReady: () => true,
        find: () => Promise.resolve({ rowId: 1, url: 'http://su' } as never),
      },
      discover: undefined,
      cacheSize: 10,
      cacheMs: 60_000,
      monotonicMs: () => 1,
    });
    expect((await locate(processId)).url).to.equal('http://su');
    // Another router takes it back.
    stored = undefined;
    expect((await locate(processId)).url).to.equal('http://su');
    expect(await joinStored(processId)).to.equal(undefined);
  });
});
