import type { Metrics } from '../../observability/metrics.js';
import type { LogReader } from '../../scheduler/ports.js';
import { readEntry } from '../../scheduler/read-entry.js';
import type { ReadPage } from '../../scheduler/read-page.js';
import { readLatest, readProcessRecord } from '../../scheduler/read-process.js';
import { answerJson } from '../answer.js';
import type { Handler } from '../handler.js';
import { parseQuery } from '../query.js';
import { answerPage } from '../stream-page.js';
import { parsePageQuery } from './page-query.js';

/** `GET /{id}`: a page of the process with this id, else the entry whose message or assignment has it. */
export function readLogRoute(options: {
  readonly reader: LogReader;
  readonly readPage: ReadPage;
  readonly metrics: Metrics;
}): Handler {
  const { reader, readPage, metrics } = options;
  return async (ctx) => {
    const startedAt = performance.now();
    const id = ctx.params['id'] ?? '';
    const query = parseQuery(ctx.querystring);
    // HyperBEAM spells it `proc-id`.
    const processId = query.getDefined('process-id') ?? query.getDefined('proc-id');
    ctx.state.notes.id = id.slice(0, 64);
    try {
      const found = await readEntry(reader, {
        id,
        processId: processId === '' ? undefined : processId,
        showAnchor: query.get('show-anchor') !== undefined,
      });
      if (found.kind === 'entry') answerJson(ctx, asBuffer(found.node));
      else await answerPage(ctx, readPage(found.process, parsePageQuery(query)));
    } finally {
      metrics.observeCore('read_message_data', performance.now() - startedAt);
    }
  };
}

/** `GET /{pid}/latest`: the node of the newest entry. */
export function latestRoute(reader: LogReader): Handler {
  return async (ctx) => {
    const processId = ctx.params['id'] ?? '';
    ctx.state.notes.processId = processId.slice(0, 64);
    answerJson(ctx, asBuffer(await readLatest(reader, processId)));
  };
}

/** `GET /processes/{pid}`: the process record. */
export function processRoute(reader: LogReader): Handler {
  return async (ctx) => {
    const processId = ctx.params['id'] ?? '';
    ctx.state.notes.processId = processId.slice(0, 64);
    answerJson(ctx, asBuffer(await readProcessRecord(reader, processId)));
  };
}

/** The same bytes, not a copy: koa takes a plain Uint8Array for an object to stringify. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
