import { expect } from 'chai';
import { parseDataItem } from '../../src/lib/protocol/data-item.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { FakeBundler } from './fake-bundler.js';
import { post, startLoad, type Acknowledged, type Load } from './load.js';
import { faultsOfLog, readLog } from './read-log.js';
import { quickProcess, quickWallet, type QuickWallet } from './signed-items.js';
import { waitFor } from './su-process.js';

/** What a durability test knows of the messages that were acknowledged so far. */
export interface Ledger {
  readonly wallet: QuickWallet;
  readonly processes: readonly Id[];
  readonly acknowledged: Acknowledged[];
}

/** Spawns the processes that the load goes to. */
export async function openLedger(url: string, processCount: number): Promise<Ledger> {
  const wallet = quickWallet();
  const items = Array.from({ length: processCount }, () => quickProcess(wallet));
  const answers = await Promise.all(items.map((item) => post(url, item)));
  for (const { status, text } of answers) expect(status, text).to.equal(200);
  return { wallet, processes: items.map(({ id }) => id), acknowledged: [] };
}

/** Puts load on the server, does the harm while it runs, and adds what was acknowledged to the ledger. */
export async function underLoad(
  ledger: Ledger,
  options: { readonly url: string; readonly clients: number; harm(load: Load): Promise<void> },
): Promise<Load> {
  const { wallet, processes } = ledger;
  const load = startLoad({ url: options.url, wallet, processes, clients: options.clients });
  await options.harm(load);
  await load.stop();
  ledger.acknowledged.push(...load.acknowledged);
  return load;
}

/** Reads every log back: nothing acknowledged is missing, every chain is whole, every receipt tells the truth. */
export async function expectLedgerHolds(ledger: Ledger, url: string): Promise<void> {
  const ids = new Map<string, number>();
  for (const processId of ledger.processes) {
    const edges = await readLog(url, processId);
    expect(await faultsOfLog(processId, edges)).to.deep.equal([]);
    for (const { node } of edges) {
      const stamp = node.assignment.tags.find(({ name }) => name === 'Timestamp')?.value;
      ids.set(node.message?.id ?? '', Number(stamp));
    }
  }
  const wrong = ledger.acknowledged.filter(({ id, timestamp }) => ids.get(id) !== timestamp);
  expect(wrong).to.deep.equal([]);
}

/** Waits until the bundler has taken every message and every assignment of the logs. */
export async function expectAllPublished(
  ledger: Ledger,
  url: string,
  bundler: FakeBundler,
): Promise<void> {
  const wanted = new Set<string>();
  for (const processId of ledger.processes) {
    for (const { node } of await readLog(url, processId)) {
      wanted.add(node.assignment.id);
      if (node.message !== null) wanted.add(node.message.id);
    }
  }
  let read = 0;
  await waitFor(
    () => {
      for (; read < bundler.uploads.length; read += 1) {
        const upload = bundler.uploads[read];
        if (upload?.answer === 200) wanted.delete(parseDataItem(upload.bytes, 'stored').id);
      }
      return wanted.size === 0 ? true : undefined;
    },
    () =>
      `${wanted.size} of the logs' items were never uploaded: ${[...wanted].slice(0, 5).join()}`,
    120_000,
  );
}
