import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { openBlockClock, type BlockClock } from '../../src/lib/scheduler/block-clock.js';

/** A gateway, a clock and a pause that a test moves by hand. */
class Harness {
  now = 1_000_000;
  answers: (number | Error)[] = [];
  readonly warnings: string[] = [];
  readonly recoveries: unknown[] = [];
  #resume: () => void = () => undefined;
  #asked: () => void = () => undefined;
  readonly clock: BlockClock;
  #paused = new Promise<void>((resolve) => (this.#asked = resolve));

  constructor(answers: (number | Error)[]) {
    this.answers = answers;
    this.clock = openBlockClock({
      gateway: {
        fetchBlockHeight: () => {
          const answer = this.answers.shift() ?? new Error('nothing more to say');
          return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
        },
      },
      monotonicMs: () => this.now,
      intervalMs: 5_000,
      staleMs: 60_000,
      ageMaxMs: 3_600_000,
      pause: (_ms, signal) => {
        this.#asked();
        return new Promise((resolve) => {
          this.#resume = resolve;
          if (signal.aborted) resolve();
          signal.addEventListener('abort', () => resolve());
        });
      },
      onWarning: (message) => this.warnings.push(message),
      onRecovered: (details) => this.recoveries.push(details),
    });
  }

  /** Resolves after the question that is under way. */
  async asked(): Promise<void> {
    await this.#paused;
  }

  /** Lets so much time pass and the next question be answered. */
  async later(ms: number): Promise<void> {
    await this.#paused;
    this.now += ms;
    this.#paused = new Promise<void>((resolve) => (this.#asked = resolve));
    this.#resume();
    await this.#paused;
  }
}

describe('the block clock', () => {
  it('knows no height before the first answer and refuses to be asked for one', () => {
    const harness = new Harness([]);
    expect(harness.clock.current()).to.equal(undefined);
    expect(() => harness.clock.require())
      .to.throw(SuError)
      .with.property('code', 'height-unavailable');
    return harness.clock.close();
  });

  it('gives the last height and its age', async () => {
    const harness = new Harness([1_500_000, 1_500_001]);
    await harness.asked();
    harness.now += 2_000;
    expect(harness.clock.current()).to.deep.equal({ height: 1_500_000, ageMs: 2_000 });
    await harness.later(3_000);
    expect(harness.clock.require()).to.equal(1_500_001);
    await harness.clock.close();
  });

  it('warns once when the height grows stale, and says when it is known again', async () => {
    const harness = new Harness([
      1_500_000,
      new Error('away'),
      new Error('away'),
      new Error('away'),
      1_500_002,
    ]);
    await harness.later(5_000);
    expect(harness.warnings).to.deep.equal([]);
    expect(harness.clock.isStale()).to.equal(false);
    await harness.later(60_000);
    await harness.later(5_000);
    expect(harness.warnings).to.have.length(1);
    expect(harness.clock.isStale()).to.equal(true);
    expect(harness.clock.require()).to.equal(1_500_000);
    await harness.later(5_000);
    expect(harness.recoveries).to.deep.equal([{ height: 1_500_002 }]);
    expect(harness.clock.isStale()).to.equal(false);
    await harness.clock.close();
  });

  it('goes by a clock that never steps: a wall clock that is set makes no height old', async () => {
    const harness = new Harness([1_500_000]);
    await harness.asked();
    const wallClock = Date.now;
    try {
      Date.now = () => wallClock() + 7_200_000;
      expect(harness.clock.current()).to.deep.equal({ height: 1_500_000, ageMs: 0 });
      expect(harness.clock.require()).to.equal(1_500_000);
    } finally {
      Date.now = wallClock;
    }
    await harness.clock.close();
  });

  it('refuses a height that is older than the limit', async () => {
    const harness = new Harness([1_500_000]);
    await harness.asked();
    harness.now += 3_600_000;
    expect(harness.clock.require()).to.equal(1_500_000);
    harness.now += 1;
    expect(() => harness.clock.require())
      .to.throw(SuError)
      .with.property('code', 'height-unavailable');
    await harness.clock.close();
  });

  for (const wrong of [0, -1, 1.5, Number.NaN, 1e12, 100_000_001, 1_700_000]) {
    it(`does not believe a height of ${wrong} after 1500000`, async () => {
      const harness = new Harness([1_500_000, wrong]);
      await harness.later(5_000);
      expect(harness.clock.require()).to.equal(1_500_000);
      await harness.clock.close();
    });
  }

  it('believes a leap that three answers in a row agree on', async () => {
    const harness = new Harness([1_000, 1_700_000, 1_700_001, 1_700_001]);
    await harness.later(5_000);
    await harness.later(5_000);
    expect(harness.clock.require()).to.equal(1_000);
    await harness.later(5_000);
    expect(harness.clock.require()).to.equal(1_700_001);
    await harness.clock.close();
  });

  it('does not believe leaps that do not agree', async () => {
    const harness = new Harness([1_000, 1_700_000, 9_000_000, 1_001, 1_700_000, 1_700_000]);
    for (let i = 0; i < 5; i += 1) await harness.later(5_000);
    expect(harness.clock.require()).to.equal(1_001);
    await harness.clock.close();
  });
});
