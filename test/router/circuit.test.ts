import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { makeCircuit, type Circuit } from '../../src/lib/router/circuit.js';

const URL_A = 'http://a';

type Health = 'ready' | 'waiting' | 'away';

/** A circuit whose time a test drives: each look is one call of `pass`. */
function world(failuresMax = 2) {
  const health = new Map<string, Health>();
  const timers = new Map<() => void, number>();
  const logged: string[] = [];
  const note = (fields: object): void => void logged.push((fields as { event: string }).event);
  const circuit: Circuit = makeCircuit({
    client: {
      fetchHealth(url) {
        const answer = health.get(url) ?? 'ready';
        if (answer !== 'away') return Promise.resolve(answer);
        return Promise.reject(new SuError('scheduler-unavailable', 'it is away'));
      },
    },
    log: { info: note, warn: note, error: note },
    failuresMax,
    intervalMs: 5_000,
    lostIntervalMs: 1_000,
    schedule: (callback, ms) => {
      timers.set(callback, ms);
      return { cancel: () => void timers.delete(callback) };
    },
  });
  return {
    circuit,
    health,
    logged,
    waits: () => [...timers.values()],
    /** Lets every timer that is set run out, and what it does be done. */
    async pass() {
      const due = [...timers.keys()];
      timers.clear();
      for (const callback of due) callback();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

describe('the circuit to a Scheduler Unit', () => {
  it('takes one it knows nothing of for alive', () => {
    const { circuit } = world();
    expect([circuit.isReachable(URL_A), circuit.takesNew(URL_A)]).to.deep.equal([true, true]);
    circuit.watch([URL_A]);
    expect([circuit.isReachable(URL_A), circuit.takesNew(URL_A)]).to.deep.equal([true, true]);
    circuit.close();
  });

  it('places nothing there from the first failure on, and opens at the one that is too many', () => {
    const { circuit, logged } = world(3);
    circuit.watch([URL_A]);
    circuit.failed(URL_A, 'refused');
    expect([circuit.isReachable(URL_A), circuit.takesNew(URL_A)]).to.deep.equal([true, false]);
    circuit.failed(URL_A, 'refused');
    expect(circuit.isReachable(URL_A)).to.equal(true);
    circuit.failed(URL_A, 'refused');
    expect(circuit.isReachable(URL_A)).to.equal(false);
    circuit.failed(URL_A, 'refused');
    expect(logged).to.deep.equal(['scheduler-lost']);
    circuit.close();
  });

  it('forgets failures at the first success', () => {
    const { circuit } = world(2);
    circuit.watch([URL_A]);
    circuit.failed(URL_A, 'reset');
    circuit.succeeded(URL_A);
    circuit.failed(URL_A, 'reset');
    expect(circuit.isReachable(URL_A)).to.equal(true);
    circuit.close();
  });

  it('asks by itself, more often one that is lost, and closes when it answers', async () => {
    const { circuit, health, pass, waits, logged } = world(2);
    circuit.watch([URL_A]);
    await circuit.firstLook();
    expect(waits()).to.deep.equal([5_000]);
    health.set(URL_A, 'away');
    await pass();
    expect(waits()).to.deep.equal([1_000]);
    expect(circuit.takesNew(URL_A)).to.equal(false);
    await pass();
    expect(circuit.isReachable(URL_A)).to.equal(false);
    health.set(URL_A, 'ready');
    await pass();
    expect([circuit.isReachable(URL_A), circuit.takesNew(URL_A)]).to.deep.equal([true, true]);
    expect(logged).to.deep.equal(['scheduler-lost', 'scheduler-back']);
    circuit.close();
  });

  it('places nothing on one that says it is not ready, and reads from it', async () => {
    const { circuit, health } = world();
    health.set(URL_A, 'waiting');
    circuit.watch([URL_A]);
    await circuit.firstLook();
    expect([circuit.isReachable(URL_A), circuit.takesNew(URL_A)]).to.deep.equal([true, false]);
    circuit.close();
  });

  it('calls those who wait when it opens, once, and not those who waited no longer', () => {
    const { circuit } = world(1);
    circuit.watch([URL_A]);
    const called: string[] = [];
    circuit.onOpen(URL_A, () => void called.push('waits'));
    circuit.onOpen(URL_A, () => void called.push('left'))();
    circuit.failed(URL_A, 'refused');
    circuit.succeeded(URL_A);
    circuit.failed(URL_A, 'refused');
    expect(called).to.deep.equal(['waits']);
    circuit.close();
  });

  it('stops asking one that it watches no more', async () => {
    const { circuit, waits } = world();
    circuit.watch([URL_A]);
    await circuit.firstLook();
    circuit.watch(['http://b']);
    await circuit.firstLook();
    expect(waits()).to.have.lengthOf(1);
    circuit.close();
    expect(waits()).to.deep.equal([]);
  });
});
