import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { makeDeepHashGuard, type DeepHashGuard } from '../../src/lib/scheduler/deep-hash-guard.js';
import type { NewEntry, TransactionContent } from '../../src/lib/scheduler/ports.js';
import { openRecompute, type Recompute } from '../../src/lib/scheduler/recompute-deep-hashes.js';
import type { RocksdbStore } from '../../src/lib/storage/rocksdb/open-store.js';
import { fakeMessageItem, messageTags, randomId, tagsOf } from '../support/item-factory.js';
import { makeTempRocksdb, type TempRocksdb } from '../support/temp-rocksdb.js';
import { newLog, runOf, type LogBuilder } from '../storage/conformance/log-builder.js';

const FROM = tagsOf(['From-Process', randomId()]);

describe('the deep hashes of old entries', () => {
  let place: TempRocksdb;
  let store: RocksdbStore;
  let builder: LogBuilder;
  let known: Map<Id, TransactionContent | SuError>;
  let done: Record<string, unknown>[];
  let failed: unknown[];
  let now = 0;

  beforeEach(async () => {
    place = await makeTempRocksdb(1_000);
    store = await place.open();
    const log = await newLog(0);
    builder = log.builder;
    await store.store.append([log.run]);
    known = new Map();
    done = [];
    failed = [];
    now = 0;
  });
  afterEach(async () => {
    await store.close();
    await place.destroy();
  });

  function open(options: { version?: string; entriesMax?: number } = {}): Recompute {
    const { version = '1.0', entriesMax = 400 } = options;
    return openRecompute({
      store: store.deepHashes,
      hash: guardOf(version).hash,
      gateway: {
        async fetchTransaction(id, use) {
          const answer = known.get(id);
          if (answer instanceof SuError) throw answer;
          return answer && use(answer);
        },
      },
      version,
      entriesMax,
      processesMax: 2,
      retryMs: 1_000,
      monotonicMs: () => now,
      onDone: (_, details) => done.push({ ...details }),
      onFailed: (_, error) => failed.push(error),
    });
  }

  function guardOf(version = '1.0'): DeepHashGuard {
    return makeDeepHashGuard({
      store: store.deepHashes,
      version,
      onProcess: () => undefined,
      lookUpsAtOnce: 16,
    });
  }

  async function append(entry: (builder: LogBuilder) => Promise<NewEntry>): Promise<NewEntry> {
    const onto = builder.head;
    const made = await entry(builder);
    const [outcome] = await store.store.append([runOf(onto, made)]);
    expect(outcome?.status).to.equal('appended');
    return made;
  }

  const pushed = (content: string): Promise<NewEntry> =>
    append((log) => log.messageOf(fakeMessageItem(log.processId, { tags: FROM, data: content })));

  /** The message that a new copy of the content would be refused for. */
  async function firstOf(content: string, version = '1.0'): Promise<Id | undefined> {
    const { processId } = builder;
    const copy = fakeMessageItem(processId, { tags: FROM, data: content });
    const hashes = await guardOf(version).hash(copy);
    return (await store.deepHashes.findDuplicates([{ processId, hashes }]))[0];
  }

  async function run(recompute: Recompute): Promise<void> {
    recompute.touch(builder.processId);
    await recompute.idle();
  }

  it('are made for pushed messages, the earliest first, and for no others', async () => {
    const first = await pushed('same');
    await pushed('same');
    await append((log) => log.messageOf(fakeMessageItem(log.processId, { data: 'user' })));
    await run(open());
    expect(await firstOf('same')).to.equal(first.messageId);
    expect(done).to.deep.equal([{ looked: 3, hashed: 2, version: '1.0' }]);
  });

  it('are made once in a run of the program, and after a restart only for what is new', async () => {
    await pushed('one');
    const recompute = open();
    await run(recompute);
    await run(recompute);
    expect(done).to.have.lengthOf(1);
    const second = await pushed('two');
    await run(open());
    expect(done.at(-1)).to.deep.equal({ looked: 1, hashed: 1, version: '1.0' });
    expect(await firstOf('two')).to.equal(second.messageId);
    await run(open());
    expect(done.at(-1)).to.deep.equal({ looked: 0, hashed: 0, version: '1.0' });
  });

  it('are made anew for another version', async () => {
    const entry = await pushed('one');
    await run(open());
    expect(await firstOf('one', '2.0')).to.equal(undefined);
    await run(open({ version: '2.0' }));
    expect(await firstOf('one', '2.0')).to.equal(entry.messageId);
  });

  it('are made of the newest entries only, as many as are asked for', async () => {
    for (let index = 0; index < 40; index += 1) await pushed(`content ${index}`);
    await run(open({ entriesMax: 25 }));
    expect(done).to.deep.equal([{ looked: 25, hashed: 25, version: '1.0' }]);
    expect(await firstOf('content 14')).to.equal(undefined);
    expect(await firstOf('content 15')).to.not.equal(undefined);
    await run(open({ entriesMax: 0 }));
    expect(done).to.have.lengthOf(1);
  });

  it('are made of assigned transactions by what the gateway says, past those it does not know or cannot show', async () => {
    const ids = [randomId(), randomId(), randomId()] as const;
    const copy = fakeMessageItem(builder.processId, { tags: FROM, data: 'assigned' });
    known.set(ids[0], copy);
    known.set(ids[1], new SuError('body-too-large', 'too large'));
    for (const id of ids) await append((log) => log.assign(id));
    await run(open());
    expect(done).to.deep.equal([{ looked: 3, hashed: 1, version: '1.0' }]);
    expect(await firstOf('assigned')).to.equal(ids[0]);
  });

  it('are tried again later while the gateway is away, and leave no gap behind', async () => {
    const id = randomId();
    const copy = fakeMessageItem(builder.processId, { tags: FROM, data: 'assigned' });
    await append((log) => log.assign(id));
    known.set(id, new SuError('gateway-unavailable', 'away'));
    const recompute = open();
    await run(recompute);
    await run(recompute);
    expect(failed).to.have.lengthOf(1);
    expect(await store.deepHashes.findCoverage(builder.processId)).to.equal(undefined);
    known.set(id, copy);
    now += 1_001;
    await run(recompute);
    expect(await firstOf('assigned')).to.equal(id);
  });

  it('are made for a whole queue, and broken off when it is closed', async () => {
    await pushed('one');
    const recompute = open();
    for (let index = 0; index < 5; index += 1) recompute.touch(randomId());
    recompute.touch(builder.processId);
    await recompute.idle();
    expect(done).to.have.lengthOf(6);
    await recompute.close();
    recompute.touch(randomId());
    await recompute.idle();
    expect(done).to.have.lengthOf(6);
  });
});

describe('copies of one message that arrive together', () => {
  const processId = randomId();
  const stored = new Map<string, Id>();
  const guard = makeDeepHashGuard({
    store: {
      findDuplicates: (queries) =>
        Promise.resolve(queries.map(({ hashes }) => stored.get(hashes.stored))),
    },
    version: '1.0',
    onProcess: () => undefined,
    lookUpsAtOnce: 16,
  });
  beforeEach(() => stored.clear());

  async function place(messageId: Id, work: () => Promise<string>): Promise<string> {
    const hashes = await guard.hash(fakeMessageItem(processId, { tags: messageTags(FROM) }));
    return guard
      .place({ processId, messageId, kind: 'message', hashes }, work)
      .catch((error: unknown) => {
        if (error instanceof SuError) return `${error.code}: ${error.message}`;
        throw error;
      });
  }

  it('wait for the first one, and are refused when it is placed', async () => {
    const [first, second] = [randomId(), randomId()];
    const answers = await Promise.all([
      place(first, () => Promise.resolve('placed')),
      place(second, () => Promise.reject(new Error('must not be placed'))),
    ]);
    expect(answers).to.deep.equal([
      'placed',
      `duplicate-message: the same message was scheduled before, as ${first}`,
    ]);
  });

  it('take its place when it is refused for itself', async () => {
    const refused = new SuError('refused-by-store', 'no');
    const answers = await Promise.all([
      place(randomId(), () => Promise.reject(refused)),
      place(randomId(), () => Promise.resolve('placed')),
    ]);
    expect(answers).to.deep.equal(['refused-by-store: no', 'placed']);
  });

  it('share its failure when that is the store’s, and are free afterwards', async () => {
    const away = new SuError('store-unavailable', 'away');
    const answers = await Promise.all([
      place(randomId(), () => Promise.reject(away)),
      place(randomId(), () => Promise.resolve('placed')),
    ]);
    expect(answers).to.deep.equal(['store-unavailable: away', 'store-unavailable: away']);
    expect(await place(randomId(), () => Promise.resolve('placed'))).to.equal('placed');
  });

  it('are refused for what is stored, but a message is no copy of itself', async () => {
    const id = randomId();
    const hashes = await guard.hash(fakeMessageItem(processId, { tags: messageTags(FROM) }));
    stored.set(hashes.stored, id);
    expect(await place(randomId(), () => Promise.resolve('placed'))).to.equal(
      `duplicate-message: the same message was scheduled before, as ${id}`,
    );
    expect(await place(id, () => Promise.resolve('placed'))).to.equal('placed');
  });
});
