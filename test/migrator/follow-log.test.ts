import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { FOLLOW_LIMITS, LogFollower } from '../../src/lib/migrator/follow-log.js';
import type {
  CopyWatermark,
  DiskCopy,
  LogPiece,
  LogSource,
  StoredMessage,
} from '../../src/lib/migrator/ports.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { randomId } from '../storage/conformance/log-builder.js';
import { waitFor } from '../support/su-process.js';

const FULL = new SuError('store-unavailable', 'No space left on device');

/** A copy and a database in memory, as far as a follower asks them. */
class Fake {
  readonly processId: Id = randomId();
  readonly stored: StoredMessage[] = [];
  readonly copied: number[] = [];
  watermark: CopyWatermark | undefined;
  /** Writes that still fail. */
  failing = 0;
  readonly failures: unknown[] = [];
  readonly delays: number[] = [];
  /** Resolves when a log may be read from the database. */
  reading: Promise<void> = Promise.resolve();

  message(nonce: number): StoredMessage {
    const message = {
      processId: this.processId,
      messageId: randomId(),
      assignmentId: randomId(),
      epoch: 0,
      nonce,
      rank: nonce,
      timestamp: nonce,
      hashChain: `chain ${nonce}`,
      bundle: new Uint8Array(1000),
      json: undefined,
    };
    this.stored.push(message);
    return message;
  }

  piece(message: StoredMessage): LogPiece {
    return {
      processId: this.processId,
      process: undefined,
      messages: [message],
      from: { epoch: 0, nonce: message.nonce - 1 },
      to: { epoch: 0, nonce: message.nonce },
    };
  }

  follower(queueBytesMax = FOLLOW_LIMITS.queueBytesMax): LogFollower {
    const copy = {
      findWatermark: async () => this.watermark,
      writePiece: async ({ messages, from, to }: LogPiece) => {
        if (this.failing > 0) {
          this.failing -= 1;
          throw FULL;
        }
        if (from?.nonce !== this.watermark?.nonce) return false;
        const last = messages.at(-1);
        this.copied.push(...messages.map(({ nonce }) => nonce));
        const hashChain = last?.hashChain ?? '';
        this.watermark = { ...to, timestamp: to.nonce, hashChain, isOrdered: true };
        return true;
      },
    } satisfies Partial<DiskCopy> as unknown as DiskCopy;
    const { processId, stored } = this;
    const mayRead = (): Promise<void> => this.reading;
    const source = {
      findProcess: async () => ({
        processId,
        rank: 1,
        epoch: 0,
        nonce: 0,
        timestamp: 0,
        hashChain: 'chain 0',
        bundle: new Uint8Array(10),
        json: undefined,
        isPlain: true,
      }),
      readMessages: async function* (_id, after) {
        const rows = stored.filter(({ nonce }) => nonce > (after?.nonce ?? 0));
        await mayRead();
        yield rows;
      },
      findHashChain: async (_id, { nonce }) => `chain ${nonce}`,
      readHeads: async function* (afterRow) {
        const head = stored.at(-1);
        if (afterRow === 0) yield [{ rank: 1, processId, head }];
      },
      readNewRows: async (afterRow) =>
        stored.filter(({ rank }) => rank > afterRow).map((row) => ({ ...row })),
      readLastRow: async () => stored.at(-1)?.rank ?? 0,
    } satisfies Partial<LogSource> as unknown as LogSource;
    return new LogFollower({
      source,
      copy,
      ready: async () => undefined,
      delay: async (ms, signal) => {
        this.delays.push(ms);
        if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 2));
      },
      limits: { ...FOLLOW_LIMITS, queueBytesMax },
      onFailure: (error) => this.failures.push(error),
      onProgress: () => undefined,
    });
  }
}

describe('the keeper of a disk copy', () => {
  let fake: Fake;
  let follower: LogFollower | undefined;
  beforeEach(() => {
    fake = new Fake();
  });
  afterEach(() => follower?.close());

  const copied = (count: number): Promise<true> =>
    waitFor(
      () => (fake.copied.length >= count ? true : undefined),
      () => `copied ${fake.copied.join()}`,
    );

  it('copies what is missing at the start, and then what is offered, each once and in order', async () => {
    for (let nonce = 1; nonce <= 3; nonce += 1) fake.message(nonce);
    follower = fake.follower();
    follower.start();
    await copied(3);
    for (let nonce = 4; nonce <= 6; nonce += 1) follower.offer(fake.piece(fake.message(nonce)));
    await copied(6);
    expect(fake.copied).to.deep.equal([1, 2, 3, 4, 5, 6]);
  });

  it('tries a full disk again and again, ever more seldom, and loses nothing', async () => {
    fake.message(1);
    fake.failing = 4;
    follower = fake.follower();
    follower.start();
    await copied(1);
    expect(fake.failures).to.deep.equal([FULL, FULL, FULL, FULL]);
    expect(fake.delays.filter((ms) => ms >= FOLLOW_LIMITS.pauseMs && ms !== 2000)).to.include(4000);
    follower.offer(fake.piece(fake.message(2)));
    await copied(2);
    expect(fake.copied).to.deep.equal([1, 2]);
  });

  it('says that it stands still from a write that failed until one succeeds', async () => {
    const stands = (isStalled: boolean): Promise<true> =>
      waitFor(
        () => (follower?.status().isStalled === isStalled ? true : undefined),
        () => `it does not say ${isStalled}`,
      );
    fake.watermark = { epoch: 0, nonce: 0, timestamp: 0, hashChain: '', isOrdered: true };
    follower = fake.follower();
    expect(follower.status().isStalled).to.equal(false);
    follower.start();
    for (let nonce = 1; nonce <= 2; nonce += 1) {
      fake.failing = Number.POSITIVE_INFINITY;
      const message = fake.message(nonce);
      // The first is written as it is offered, the second as it is read from the database.
      if (nonce === 1) follower.offer(fake.piece(message));
      else follower.noteBehind(fake.processId);
      await stands(true);
      fake.failing = 0;
      await copied(nonce);
      await stands(false);
    }
  });

  it('leaves what does not fit its queue to be read from the database', async () => {
    follower = fake.follower(1500);
    const [one, two] = [fake.piece(fake.message(1)), fake.piece(fake.message(2))];
    fake.watermark = { epoch: 0, nonce: 0, timestamp: 0, hashChain: '', isOrdered: true };
    follower.offer(one);
    follower.offer(two);
    expect(follower.status()).to.include({ queueBytes: 1000, piecesLeft: 1, logsBehind: 1 });
    follower.start();
    await copied(2);
    expect(fake.copied).to.deep.equal([1, 2]);
  });

  it('reads from the database what does not continue the copy', async () => {
    follower = fake.follower();
    follower.start();
    fake.message(1);
    follower.offer(fake.piece(fake.message(2)));
    await copied(2);
    expect(fake.copied).to.deep.equal([1, 2]);
  });

  it('counts each entry once, also what is committed while its log is read from the database', async () => {
    fake.watermark = { epoch: 0, nonce: 0, timestamp: 0, hashChain: '', isOrdered: true };
    let release = (): void => undefined;
    const until = (holds: () => boolean): Promise<true> =>
      waitFor(
        () => (holds() ? true : undefined),
        () => JSON.stringify(follower?.status()),
      );
    follower = fake.follower();
    follower.start();
    for (const nonces of [[1, 2], [3]]) {
      fake.reading = new Promise((resolve) => (release = resolve));
      follower.noteBehind(fake.processId);
      await until(() => follower?.status().logsBehind === 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      for (const nonce of nonces) follower.offer(fake.piece(fake.message(nonce)));
      await copied(nonces.at(-1) ?? 0);
      release();
      await until(() => follower?.status().logsBehind === 0);
    }
    expect(follower.status().entriesCopied).to.equal(3);
  });

  it('can be closed at any moment, also before it is started', async () => {
    await fake.follower().close();
    const running = fake.follower();
    running.start();
    await running.close();
    await running.close();
  });
});
