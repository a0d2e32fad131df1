import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import type { Id } from '../../src/lib/protocol/ids.js';
import { MemoryLog } from '../support/memory-store.js';
import { startApp, type RunningApp } from '../support/scheduler-app.js';

interface Node {
  message: { id: Id } | null;
  assignment: { id: Id; tags: { name: string; value: string }[] };
}

interface Page {
  edges: { node: Node; cursor: string }[];
  page_info: { has_next_page: boolean };
}

interface Exchange {
  name: string;
  path: string;
  status: number;
  json?: Page;
}

/** Where the answers of a Scheduler Unit are to differ from the recorded ones, by the recorded query. */
const DEPARTURES: Readonly<Record<string, { status: number; isWhole?: true }>> = {
  '&limit=0': { status: 400 },
  '&limit=undefined': { status: 200, isWhole: true },
};

const tagOf = (node: Node, name: string): number =>
  Number(node.assignment.tags.find((tag) => tag.name === name)?.value);

/** The log of one process as the recorded page of all of it shows it. */
function logOf(processId: Id, page: Page): MemoryLog {
  const log = new MemoryLog();
  const own = page.edges.find((edge) => edge.node.message?.id === processId);
  for (const { node } of page.edges) {
    const entry = {
      epoch: tagOf(node, 'Epoch'),
      nonce: tagOf(node, 'Nonce'),
      timestamp: tagOf(node, 'Timestamp'),
      node: Buffer.from(JSON.stringify(node)),
    };
    if (node === own?.node)
      log.processes.set(processId, { processId, entry, record: Buffer.from('{}') });
    else {
      log.entries.push({
        ...entry,
        processId,
        messageId: node.message?.id ?? node.assignment.id,
        assignmentId: node.assignment.id,
        isAssignedTransaction: node.message === null,
      });
    }
  }
  if (own === undefined) {
    log.processes.set(processId, { processId, entry: undefined, record: Buffer.from('{}') });
  }
  return log;
}

for (const recording of ['with-process-assignment', 'without-process-assignment']) {
  describe(`http: the recorded pages ${recording}`, () => {
    const url = new URL(`../vectors/golden/${recording}.json`, import.meta.url);
    const all = JSON.parse(readFileSync(url, 'utf8')) as Exchange[];
    const start = all.findIndex((exchange) => exchange.name === 'page');
    const exchanges = all.slice(start).filter(({ name }) => /^page( &|$)/.test(name));
    const whole = exchanges[0]?.json;
    if (whole === undefined) throw new Error('the recording holds no page');
    const processId = new URL(exchanges[0]?.path ?? '', 'http://x').pathname.slice(1) as Id;
    let app: RunningApp;
    before(async () => {
      app = await startApp({ reader: logOf(processId, whole) });
    });
    after(() => app.server.close(1000));

    it('are many', () => {
      expect(exchanges.length).to.be.greaterThan(20);
    });

    for (const { name, path, status, json } of exchanges) {
      it(`are answered as recorded, departures apart: ${name}`, async () => {
        const response = await fetch(app.url + path);
        const departure = DEPARTURES[name.replace('page ', '')];
        if (departure !== undefined) {
          expect(response.status).to.equal(departure.status);
          if (departure.isWhole) expect(await response.json()).to.deep.equal(whole);
          return;
        }
        expect(response.status).to.equal(status);
        const answer = (await response.json()) as Page;
        if (name.includes('show-anchor')) {
          // Rendering is not the log's reader's: its fake has each node in one form only.
          const places = (page?: Page) => [page?.page_info, page?.edges.map((edge) => edge.cursor)];
          expect(places(answer)).to.deep.equal(places(json));
        } else if (status === 200) expect(answer).to.deep.equal(json);
        else expect(answer).to.have.all.keys('error');
      });
    }
  });
}
