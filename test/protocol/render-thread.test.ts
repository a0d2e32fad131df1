import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { isSuError } from '../../src/lib/errors.js';
import { encodeBundle, parseMessageBundle } from '../../src/lib/protocol/bundle.js';
import { encodeDataItem, parseDataItem } from '../../src/lib/protocol/data-item.js';
import {
  RenderThread,
  startRenderWorker,
  type RenderRequest,
} from '../../src/lib/protocol/render-thread.js';
import { renderNode, renderProcessNode } from '../../src/lib/protocol/wire.js';

const OWNER = randomBytes(512);

function bundleOf(data: Uint8Array): Uint8Array {
  const fields = { signatureType: 1, signature: randomBytes(512), owner: OWNER, tags: [] } as const;
  const item = parseDataItem(encodeDataItem(fields, data), 'stored');
  return encodeBundle({ owner: OWNER, anchor: randomBytes(32), items: [item, item] });
}

function fail(): never {
  throw new Error('the bundle has an item');
}

const failure = async (work: Promise<unknown>): Promise<unknown> => {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
};

describe('the thread that renders large entries', function () {
  this.timeout(20_000);
  const bundle = bundleOf(Buffer.alloc(400_000, 'text\n'));
  let thread: RenderThread;

  beforeEach(() => {
    thread = new RenderThread();
  });
  afterEach(() => thread.close());

  const request = (load: RenderRequest['load'] = () => bundle): RenderRequest => ({
    text: 'message-node',
    load,
  });

  it('gives the text and leaves the bundle as it was', async () => {
    const text = await thread.render(request());
    expect(text.toString() === renderNode(parseMessageBundle(bundle))).to.equal(true);
    expect(bundle.byteLength).to.be.greaterThan(400_000);
  });

  it('renders one after the other, writes first, and asks for a bundle only when its turn comes', async () => {
    const order: string[] = [];
    const named = (name: string): RenderRequest =>
      request(() => {
        order.push(name);
        return bundle;
      });
    const first = thread.render(named('first'));
    const second = thread.render(named('second'));
    const write = thread.render({ ...named('write'), isUrgent: true });
    expect(order).to.deep.equal(['first']);
    await Promise.all([first, second, write]);
    expect(order).to.deep.equal(['first', 'write', 'second']);
  });

  it('does nothing for those who went away before their turn', async () => {
    const first = thread.render(request());
    let isWanted = true;
    let wasLoaded = false;
    const second = thread.render({
      ...request(() => {
        wasLoaded = true;
        return bundle;
      }),
      isWanted: () => isWanted,
    });
    isWanted = false;
    const error = await failure(second);
    await first;
    expect(isSuError(error, 'invalid-request')).to.equal(true);
    expect(wasLoaded).to.equal(false);
  });

  it('refuses a reader while 32 wait, but no write, and takes up again afterwards', async () => {
    const waiting = Array.from({ length: 33 }, () => thread.render(request()));
    expect(isSuError(await failure(thread.render(request())), 'scheduler-busy')).to.equal(true);
    const write = await thread.render({ ...request(), isUrgent: true });
    await Promise.all(waiting);
    expect(write.equals(await thread.render(request()))).to.equal(true);
  });

  it('passes on what cannot be loaded or read, and goes on with the next', async () => {
    const broken = thread.render(request(() => Buffer.from('no bundle')));
    const missing = thread.render(request(() => Promise.reject(new Error('not there'))));
    const good = thread.render(request());
    expect(isSuError(await failure(broken), 'invalid-data-item')).to.equal(true);
    expect(await failure(missing)).to.have.property('message', 'not there');
    expect((await good).length).to.be.greaterThan(400_000);
  });

  it('gives a text that is small, though its bundle is not', async () => {
    const noText = bundleOf(Buffer.alloc(400_000, 0xff));
    const node = await thread.render({ text: 'process-node', load: () => noText });
    expect(node.length).to.be.lessThan(8_192);
    const { assignment, item } = parseMessageBundle(noText);
    expect(node.toString()).to.equal(
      renderProcessNode({ assignment, item: item ?? fail() }, { showAnchor: false }),
    );
  });

  it('ends its worker when there is nothing to do, and starts another when there is', async () => {
    const ended: Promise<unknown>[] = [];
    const resting = new RenderThread(() => {
      const worker = startRenderWorker();
      ended.push(once(worker, 'exit'));
      return worker;
    }, 10);
    await resting.render(request());
    // The timer does not keep the program alive by itself.
    const alive = setInterval(() => undefined, 1_000);
    await ended[0];
    clearInterval(alive);
    expect((await resting.render(request())).length).to.be.greaterThan(400_000);
    expect(ended).to.have.length(2);
    await resting.close();
  });

  it('refuses whom a thread leaves behind that dies, and starts another', async () => {
    await thread.close();
    let started = 0;
    const dying = new RenderThread(() => {
      started += 1;
      return new Worker(
        `require('node:worker_threads').parentPort.once('message', () => { throw new Error('gone'); });`,
        { eval: true },
      );
    });
    const errors = await Promise.all([
      failure(dying.render(request())),
      failure(dying.render(request())),
    ]);
    expect(errors.map((error) => isSuError(error, 'scheduler-busy'))).to.deep.equal([true, true]);
    expect(started).to.equal(2);
    await dying.close();
  });

  it('refuses those who wait when it is closed, and may be closed twice', async () => {
    const errors = [thread.render(request()), thread.render(request())].map(failure);
    await thread.close();
    await thread.close();
    for (const error of await Promise.all(errors)) {
      expect(isSuError(error, 'scheduler-busy')).to.equal(true);
    }
    expect(isSuError(await failure(thread.render(request())), 'scheduler-busy')).to.equal(true);
  });
});
