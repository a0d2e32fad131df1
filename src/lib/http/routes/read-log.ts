import type { Metrics } from '../../observability/metrics.js';
import { asBuffer } from '../../protocol/ids.js';
import type { LogReader } from '../../scheduler/ports.js';
import { readEntry } from '../../scheduler/read-entry.js';
import type { ReadPage } from '../../scheduler/read-page.js';
import { readLatest, readProcessRecord } from '../../scheduler/read-process.js';
import type { Handler, HandlerContext } from '../handler.js';
import { parseQuery, processOfQuery } from '../query.js';
import type { HoldAnswer } from '../hold-answers.js';
import { answerHeldJson, answerPage } from '../stream-page.js';
import { parsePageQuery } from './page-query.js';

/** Lets a process be read, or throws SuError `not-allowed` or `not-ready`. */
export type CheckRead = (processId: string) => void;

/** What the look-ups need. */
export interface LookUpOptions {
  readonly reader: LogReader;
  readonly holdAnswer: HoldAnswer;
  readonly checkRead?: CheckRead | undefined;
}

/** `GET /{id}`: a page of the process with this id, else the entry whose message or assignment has it. */
export function readLogRoute(
  options: LookUpOptions & { readonly readPage: ReadPage; readonly metrics: Metrics },
): Handler {
  const { reader, readPage, metrics, holdAnswer, checkRead } = options;
  return async (ctx) => {
    const startedAt = performance.now();
    const id = ctx.params['id'] ?? '';
    const isWanted = wanted(ctx);
    const query = parseQuery(ctx.querystring);
    const processId = processOfQuery(query);
    ctx.state.notes.id = id.slice(0, 64);
    if (processId !== undefined) checkRead?.(processId);
    try {
      const found = await readEntry(reader, {
        id,
        processId,
        showAnchor: query.get('show-anchor') !== undefined,
        isWanted,
      });
      if (found.kind === 'entry') {
        answerEntry(ctx, found.node, holdAnswer);
        return;
      }
      const { process } = found;
      const page = { ...parsePageQuery(query), isWanted };
      // A page keeps the process's own texts until its end.
      const ownBytes = process.record.length + (process.entry?.node.length ?? 0);
      await answerPage(ctx, readPage(process, page), (bytes) =>
        holdAnswer(ctx.res, ownBytes + bytes),
      );
    } finally {
      metrics.observeCore('read_message_data', performance.now() - startedAt);
    }
  };
}

/** `GET /{pid}/latest`: the node of the newest entry. */
export function latestRoute(options: LookUpOptions): Handler {
  const { reader, holdAnswer, checkRead } = options;
  return async (ctx) => {
    const processId = ctx.params['id'] ?? '';
    checkRead?.(processId);
    ctx.state.notes.processId = processId.slice(0, 64);
    const node = await readLatest(reader, processId, { isWanted: wanted(ctx) });
    answerEntry(ctx, node, holdAnswer);
  };
}

/** `GET /processes/{pid}`: the process record. */
export function processRoute(options: LookUpOptions): Handler {
  const { reader, holdAnswer, checkRead } = options;
  return async (ctx) => {
    const processId = ctx.params['id'] ?? '';
    checkRead?.(processId);
    ctx.state.notes.processId = processId.slice(0, 64);
    const record = await readProcessRecord(reader, processId, { isWanted: wanted(ctx) });
    answerEntry(ctx, record, holdAnswer);
  };
}

function answerEntry(ctx: HandlerContext, bytes: Uint8Array, holdAnswer: HoldAnswer): void {
  // Koa takes a plain Uint8Array for an object to stringify.
  answerHeldJson(ctx, asBuffer(bytes), holdAnswer(ctx.res, bytes.length));
}

/** False once the client is gone: nothing costly is begun for it then. */
function wanted(ctx: HandlerContext): () => boolean {
  const { socket } = ctx.req;
  return () => !socket.destroyed;
}
