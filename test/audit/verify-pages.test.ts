import { expect } from 'chai';
import type { LogPages } from '../../src/lib/audit/ports.js';
import { sourceOfPages } from '../../src/lib/audit/url-source.js';
import { isSuError } from '../../src/lib/errors.js';
import { parseDataItem, type DataItem } from '../../src/lib/protocol/data-item.js';
import type { Id } from '../../src/lib/protocol/ids.js';
import { parseMessageBundle, parseProcessBundle } from '../../src/lib/protocol/bundle.js';
import { renderNode, renderProcessNode, renderProcessRecord } from '../../src/lib/protocol/wire.js';
import { testWallet } from '../support/item-factory.js';
import { readRecordedExchanges, readRecordedBundles } from '../support/recorded.js';
import { auditOf, briefly } from './audited.js';
import { SignedLog } from './signed-log.js';

const FIRST = 'fujEF2Hs7OKK9i5y9ltDaC470gTP2jQ8HTu6wh5ZQ4c' as Id;

/** The first recorded answer whose path has these parts. */
function recorded(name: string, ...parts: readonly string[]): unknown {
  const found = readRecordedExchanges(name).findLast(
    ({ path, status }) => status === 200 && parts.every((part) => path.includes(part)),
  );
  if (found === undefined) throw new Error(`no exchange with ${parts.join()}`);
  return found.json;
}

interface Edge {
  node: Record<string, Record<string, unknown> | null>;
  cursor: string;
}

/** Pages of a log that a test may have changed. */
function pagesOf(edges: readonly Edge[], record: unknown, pageEntries = 100): LogPages {
  const nonceOf = (edge: Edge): number => Number(edge.cursor);
  return {
    fetchProcess: (processId) =>
      Promise.resolve(
        (record as { process_id: string }).process_id === processId ? record : undefined,
      ),
    fetchPage: (_processId, afterNonce) => {
      const rest = edges.filter((edge) => nonceOf(edge) > afterNonce);
      return Promise.resolve({
        page_info: { has_next_page: rest.length > pageEntries },
        edges: rest.slice(0, pageEntries),
      });
    },
    fetchFirstSince: (_processId, since) => {
      const edge = edges.find(({ node }) => {
        const tags = node['assignment']?.['tags'] as { name: string; value: string }[] | undefined;
        return Number(tags?.find((tag) => tag.name === 'Timestamp')?.value) >= since;
      });
      return Promise.resolve({
        page_info: { has_next_page: false },
        edges: edge === undefined ? [] : [edge],
      });
    },
  };
}

function edgesOf(log: SignedLog): Edge[] {
  const options = { showAnchor: true };
  const edges: Edge[] = log.messages.map(({ bundle, nonce }) => ({
    node: JSON.parse(renderNode(parseMessageBundle(bundle), options)) as Edge['node'],
    cursor: String(nonce),
  }));
  const { item, assignment } = parseProcessBundle(log.process.bundle);
  if (assignment === undefined) return edges;
  const own = renderProcessNode({ item: item as DataItem, assignment }, options);
  return [{ node: JSON.parse(own) as Edge['node'], cursor: '0' }, ...edges];
}

function recordOf({ process }: SignedLog): unknown {
  const { item, assignment } = parseProcessBundle(process.bundle);
  const place = { blockHeight: 1, timestamp: 1 };
  return JSON.parse(renderProcessRecord({ item: item as DataItem, assignment, ...place }));
}

describe('an audit over HTTP', () => {
  it('finds the hole in what the reference answered, and says what it could not verify', async () => {
    const name = 'with-process-assignment';
    const page = recorded(name, `/${FIRST}?`, 'from-nonce=-1') as { edges: Edge[] };
    const pages = pagesOf(page.edges, recorded(name, `/processes/${FIRST}`));
    const { findings } = await auditOf(sourceOfPages(pages, 'recorded'), { processes: [FIRST] });
    expect(briefly(findings)).to.deep.equal(['nonce-hole 12', 'not-verifiable']);
  });

  it('finds nothing in the log of a process without an assignment', async () => {
    const log = await SignedLog.begin(false);
    await log.append(7);
    const source = sourceOfPages(pagesOf(edgesOf(log), recordOf(log), 3), 'pages');
    const { findings, summary } = await auditOf(source, { processes: [log.processId] });
    // The data of such a process is in no answer.
    expect(briefly(findings)).to.deep.equal(['not-verifiable']);
    expect(summary).to.include({ entries: 8, signatures: 14 });
  });

  const PLANTED = [
    [
      'other data',
      'message-signature 3',
      (node) => ({ ...node, message: { ...node['message'], data: 'x' } }),
    ],
    [
      'another id',
      'announced-id 3',
      (node) => ({ ...node, message: { ...node['message'], id: FIRST } }),
    ],
    [
      'another address',
      'announced-id 3',
      (node) => ({
        ...node,
        message: {
          ...node['message'],
          owner: { ...(node['message']?.['owner'] as object), address: FIRST },
        },
      }),
    ],
    [
      'an assignment whose signature is another’s',
      'assignment-signature 3',
      (node) => ({
        ...node,
        assignment: {
          ...node['assignment'],
          tags: [
            ...((node['assignment']?.['tags'] ?? []) as object[]),
            { name: 'Exclude', value: 'data' },
          ],
        },
      }),
    ],
    ['no assignment', 'assignment-unreadable 3', (node) => ({ ...node, assignment: null })],
    ['nonsense', 'bundle-unreadable 3', () => ({ message: { id: 5 } })],
  ] as const satisfies readonly (readonly [string, string, (node: Edge['node']) => object])[];
  for (const [what, expected, change] of PLANTED) {
    it(`finds ${what} as ${expected}`, async () => {
      const log = await SignedLog.begin();
      await log.append(5);
      const edges = edgesOf(log);
      const edge = edges[3] as Edge;
      edges[3] = { ...edge, node: change(edge.node) };
      const source = sourceOfPages(pagesOf(edges, recordOf(log), 2), 'pages');
      const { findings } = await auditOf(source, { processes: [log.processId] });
      expect(briefly(findings)[0], JSON.stringify(findings)).to.equal(expected);
      expect(findings.filter(({ severity }) => severity === 'fault')).to.have.length(1);
    });
  }

  it('reads a real log of the field', async () => {
    const bundles = readRecordedBundles('chain');
    const { item, assignment } = parseProcessBundle(bundles[0] as Uint8Array);
    const process = item as DataItem;
    const own = renderProcessNode({ item: process, assignment }, { showAnchor: true });
    const edges = bundles.slice(1).map((bundle): Edge => {
      const parsed = parseMessageBundle(bundle);
      const node = JSON.parse(renderNode(parsed, { showAnchor: true })) as Edge['node'];
      const cursor = parsed.assignment?.tags.find((tag) => tag.name === 'Nonce')?.value ?? '';
      return { node, cursor };
    });
    const first = { node: JSON.parse(own) as Edge['node'], cursor: '0' };
    const record = {
      ...(JSON.parse(
        renderProcessRecord({ item: process, assignment, blockHeight: 1, timestamp: 1 }),
      ) as object),
    };
    const all = assignment === undefined ? edges : [first, ...edges];
    const { findings } = await auditOf(sourceOfPages(pagesOf(all, record), 'field'), {
      processes: [process.id],
    });
    expect(findings.filter(({ severity }) => severity === 'fault')).to.deep.equal([]);
  });

  it('takes the flat records of the oldest servers, whose assignments it cannot verify', async () => {
    const log = await SignedLog.begin(false);
    await log.append(3);
    const edges = edgesOf(log).map(({ node, cursor }, index): Edge => {
      const {
        owner,
        data,
        target: _target,
        ...message
      } = node['message'] as Record<string, unknown>;
      const { nonce, timestamp, epoch, hashChain, assignmentId } = log.messages[index] ?? {};
      const flat = {
        message,
        owner,
        data,
        process_id: log.processId,
        nonce,
        timestamp,
        epoch,
        hash_chain: hashChain,
        assignment_id: assignmentId,
      };
      return { node: flat as unknown as Edge['node'], cursor };
    });
    const request = { processes: [log.processId] };
    const source = sourceOfPages(pagesOf(edges, recordOf(log)), 'flat');
    expect(briefly((await auditOf(source, request)).findings)).to.deep.equal(['not-verifiable']);
    const holed = sourceOfPages(pagesOf(edges.toSpliced(1, 1), recordOf(log)), 'flat');
    expect(briefly((await auditOf(holed, request)).findings)).to.include('nonce-hole 1');
  });

  it('begins at a time', async () => {
    const log = await SignedLog.begin();
    await log.append(9);
    const edges = edgesOf(log);
    edges[1] = { ...(edges[1] as Edge), node: {} };
    const source = sourceOfPages(pagesOf(edges, recordOf(log), 2), 'pages');
    const since = log.messages[5]?.timestamp;
    const { findings, summary } = await auditOf(source, { processes: [log.processId], since });
    expect(findings).to.deep.equal([]);
    expect(summary.entries).to.equal(4);
  });

  it('names a process that is not there', async () => {
    const log = await SignedLog.begin();
    const source = sourceOfPages(pagesOf(edgesOf(log), recordOf(log)), 'pages');
    const { findings } = await auditOf(source, { processes: [FIRST] });
    expect(briefly(findings)).to.deep.equal(['process-unknown']);
  });

  it('gives up on pages that do not go on', async () => {
    const log = await SignedLog.begin();
    await log.append(2);
    const pages = pagesOf(edgesOf(log), recordOf(log));
    const stuck: LogPages = {
      ...pages,
      fetchPage: async (processId) => {
        const page = (await pages.fetchPage(processId, -1)) as { edges: Edge[] };
        return { ...page, page_info: { has_next_page: true } };
      },
    };
    const audit = auditOf(sourceOfPages(stuck, 'stuck'), { processes: [log.processId] });
    const error: unknown = await audit.catch((reason: unknown) => reason);
    expect(isSuError(error, 'store-unavailable')).to.equal(true);
  });

  it('accepts tags that were encoded with the size of their block', async () => {
    const log = await SignedLog.begin();
    const wallet = await testWallet('user');
    const { encodeDataItem, encodeUnsigned } = await import('../../src/lib/protocol/data-item.js');
    const { signatureMessage } = await import('../../src/lib/protocol/deep-hash.js');
    const { idToBytes } = await import('../../src/lib/protocol/ids.js');
    const tags = [{ name: 'Type', value: 'Message' }];
    const records = Buffer.from([8, ...Buffer.from('Type'), 14, ...Buffer.from('Message')]);
    const rawTags = Buffer.concat([
      Buffer.from([1, 2 * records.length]),
      records,
      Buffer.from([0]),
    ]);
    const fields = {
      signatureType: 1 as const,
      owner: wallet.owner,
      target: idToBytes(log.processId),
      anchor: Buffer.from('a'.repeat(32)),
      tags,
      rawTags,
    };
    const data = Buffer.from('hello');
    const unsigned = parseDataItem(encodeUnsigned(fields, data), 'posted');
    const signature = await wallet.sign(await signatureMessage(unsigned));
    await log.message({
      item: parseDataItem(encodeDataItem({ ...fields, signature }, data), 'posted'),
    });
    const source = sourceOfPages(pagesOf(edgesOf(log), recordOf(log)), 'pages');
    expect((await auditOf(source, { processes: [log.processId] })).findings).to.deep.equal([]);
  });
});
