import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import {
  makeProcessGuard,
  parseProcessWhitelist,
  type ProcessWhitelist,
} from '../../src/lib/scheduler/process-whitelist.js';
import { openFakeScheduler, type FakeScheduler } from '../support/fake-scheduler.js';
import { randomId } from '../support/item-factory.js';
import { startRouterApp, type RunningRouter } from '../support/router-app.js';
import { quickMessage, quickProcess, quickWallet } from '../support/signed-items.js';

const wallet = quickWallet();

for (const forward of ['redirect', 'proxy'] as const) {
  describe(`a router with lists (${forward})`, () => {
    const listed = quickProcess(wallet);
    const readOnly = quickProcess(wallet);
    const unlisted = quickProcess(wallet);
    const unplaced = quickProcess(wallet);
    const passed = forward === 'redirect' ? 307 : 200;
    let scheduler: FakeScheduler;
    let router: RunningRouter;
    let list: ProcessWhitelist | undefined;
    let mayWrite: boolean;

    before(async () => {
      scheduler = await openFakeScheduler();
      const processes = makeProcessGuard(
        {
          require() {
            if (list === undefined) throw new SuError('not-ready', 'the list is not loaded');
            return list;
          },
        },
        'router',
      );
      router = await startRouterApp({
        schedulers: [scheduler.url],
        forward,
        guards: {
          processes,
          checkAddress() {
            if (!mayWrite) throw new SuError('not-allowed', 'this address may not write here');
          },
          lists: () => [{ name: 'X', loaded: true, ageMs: 5, failure: undefined }],
        },
      });
      const [{ rowId } = { rowId: 0 }] = await router.routes.readSchedulers();
      const placed = [listed, readOnly, unlisted].map(({ id }) => ({
        processId: id,
        choose: () => rowId,
      }));
      await router.routes.place(placed);
      for (const { processId } of placed) scheduler.processes.add(processId);
    });
    beforeEach(() => {
      mayWrite = true;
      const place = { su: 'https://su7.example', db_name: 'su' };
      const processes = {
        [listed.id]: place,
        [unplaced.id]: place,
        [readOnly.id]: { ...place, read_only: true },
      };
      const bytes = Buffer.from(JSON.stringify({ sus: {}, processes }));
      list = parseProcessWhitelist(bytes, undefined);
    });
    after(async () => {
      await router.close();
      await scheduler.close();
    });

    const statusOf = async (path: string, body?: Uint8Array): Promise<number> => {
      const before = scheduler.seen.length;
      const answer = await fetch(router.url + path, {
        redirect: 'manual',
        ...(body === undefined ? {} : { method: 'POST', body }),
      });
      await answer.arrayBuffer();
      // What is refused does not reach the SU, and what is carried does.
      if (forward === 'proxy') {
        expect(scheduler.seen.length - before).to.equal(answer.status === 200 ? 1 : 0);
      }
      return answer.status;
    };

    it('serves every process on the list, whichever SU stands there', async () => {
      for (const { id } of [listed, readOnly]) {
        for (const path of [
          `/${id}`,
          `/${id}/latest`,
          `/processes/${id}`,
          `/${randomId()}?process-id=${id}`,
        ]) {
          expect(await statusOf(path), path).to.equal(passed);
        }
      }
    });

    it('refuses reads of what is not on the list as an SU does', async () => {
      const { id } = unlisted;
      for (const path of [
        `/${id}/latest`,
        `/processes/${id}`,
        `/${randomId()}?process-id=${id}`,
        `/${listed.id}?proc-id=${id}`,
        `/timestamp?process-id=${id}`,
      ]) {
        expect(await statusOf(path), path).to.equal(403);
      }
      expect(await statusOf(`/${id}`)).to.equal(404);
      expect(await statusOf(`/${randomId()}`)).to.equal(404);
    });

    it('takes messages and assigns for what is on the list and not read-only', async () => {
      const expected = [
        [listed, passed],
        [readOnly, 403],
        [unlisted, 403],
      ] as const;
      for (const [{ id }, status] of expected) {
        expect(await statusOf('/', quickMessage(wallet, id).bytes)).to.equal(status);
        const assign = `/?process-id=${id}&assign=${randomId()}`;
        expect(await statusOf(assign, new Uint8Array(0))).to.equal(status);
      }
    });

    it('spawns nothing; what is placed and on the list may be posted again', async () => {
      expect(await statusOf('/', listed.bytes)).to.equal(passed);
      for (const { bytes } of [unplaced, unlisted, quickProcess(wallet)]) {
        expect(await statusOf('/', bytes)).to.equal(403);
      }
      expect(await router.routes.findPlacement(unplaced.id)).to.equal(undefined);
    });

    it('lets the addresses of a list write, and everybody read', async () => {
      mayWrite = false;
      expect(await statusOf('/', quickMessage(wallet, listed.id).bytes)).to.equal(403);
      const assign = `/?process-id=${listed.id}&assign=${randomId()}`;
      expect(await statusOf(assign, new Uint8Array(0))).to.equal(403);
      expect(await statusOf(`/${listed.id}`)).to.equal(passed);
    });

    it('answers 503 while its list was never loaded, and is healthy nevertheless', async () => {
      list = undefined;
      for (const path of [`/${listed.id}`, `/${listed.id}/latest`, `/processes/${listed.id}`]) {
        expect(await statusOf(path), path).to.equal(503);
      }
      expect(await statusOf('/', quickMessage(wallet, listed.id).bytes)).to.equal(503);
      expect((await fetch(`${router.url}/health`)).status).to.equal(200);
      expect((await fetch(router.url)).status).to.equal(200);
    });

    it('says how its lists stand', async () => {
      const answer = await fetch(`${router.url}/health?verbose`);
      expect(await answer.json()).to.deep.equal({
        ready: true,
        lists: [{ name: 'X', loaded: true, age_ms: 5, failure: null }],
      });
    });
  });
}
