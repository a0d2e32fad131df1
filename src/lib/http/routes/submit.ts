import { isSuError, SuError } from '../../errors.js';
import type { Metrics } from '../../observability/metrics.js';
import { answerJson } from '../answer.js';
import type { AddressGuard } from '../client-address.js';
import type { Handler } from '../handler.js';
import { parseQuery, type Query } from '../query.js';
import type { ReadBody } from '../read-body.js';
import type { RequestNotes } from '../request-log.js';

/** What a submission answers: the receipt, and what the log line says besides. */
export interface Submission {
  readonly id: string;
  /** The entry's own, ms. */
  readonly timestamp: number;
  readonly processId?: string | undefined;
  readonly nonce?: number | undefined;
  readonly kind?: string | undefined;
  /** True when the same was posted before and this is the first receipt. */
  readonly repeated?: boolean | undefined;
}

export interface AssignQuery {
  readonly processId: string;
  readonly assign: string;
  readonly baseLayer: boolean;
  readonly exclude: string | undefined;
}

/** The write path. */
export interface SubmitPort {
  submitItem(body: Uint8Array, context: { requestId: string }): Promise<Submission>;
  submitAssign(query: AssignQuery, context: { requestId: string }): Promise<Submission>;
}

export interface SubmitRouteOptions {
  readonly submit: SubmitPort;
  readonly readBody: ReadBody;
  readonly metrics: Metrics;
  /** Asked before anything of the request is read. */
  readonly checkAddress?: AddressGuard | undefined;
}

/** `POST /`: the body is a data item; or, with `process-id` and `assign`, an existing transaction is scheduled. */
export function submitRoute(options: SubmitRouteOptions): Handler {
  const { submit, readBody, metrics, checkAddress } = options;
  return async (ctx) => {
    checkAddress?.(ctx.req);
    const { requestId, notes } = ctx.state;
    const assign = parseAssign(parseQuery(ctx.querystring));
    let receipt: Submission;
    if (assign !== undefined) {
      Object.assign(notes, {
        processId: bounded(assign.processId),
        assign: bounded(assign.assign),
      });
      receipt = await measured(metrics, 'write_assignment', () =>
        submit.submitAssign(assign, { requestId }),
      );
    } else {
      receipt = await readBody(ctx.req, ctx.res, (body) => {
        notes.bytes = body.length;
        return measured(metrics, 'write_item', () => submit.submitItem(body, { requestId }));
      });
    }
    noteReceipt(notes, receipt);
    answerJson(ctx, JSON.stringify({ id: receipt.id, timestamp: receipt.timestamp }));
  };
}

/** @throws SuError `invalid-request` when only one of the two parameters is there */
export function parseAssign(query: Query): AssignQuery | undefined {
  const processId = query.get('process-id');
  const assign = query.get('assign');
  if (processId === undefined && assign === undefined) return undefined;
  if (processId === undefined || assign === undefined) {
    throw new SuError(
      'invalid-request',
      'process-id and assign go together: both schedule a transaction, neither posts the body',
    );
  }
  return {
    processId,
    assign,
    baseLayer: query.get('base-layer') !== undefined,
    exclude: query.get('exclude'),
  };
}

async function measured(
  metrics: Metrics,
  name: 'write_item' | 'write_assignment',
  work: () => Promise<Submission>,
): Promise<Submission> {
  const startedAt = performance.now();
  try {
    const receipt = await work();
    metrics.observeAck(performance.now() - startedAt);
    return receipt;
  } catch (error) {
    if (isSaveFailure(error)) metrics.messageSaveFailed();
    throw error;
  } finally {
    metrics.observeCore(name, performance.now() - startedAt);
  }
}

/** True when an item that was right was not kept: trouble of the store or of ours, not of the client or the gateway. */
function isSaveFailure(error: unknown): boolean {
  return (
    !isSuError(error) || isSuError(error, 'store-unavailable', 'refused-by-store', 'invariant')
  );
}

function noteReceipt(notes: RequestNotes, receipt: Submission): void {
  notes.id = receipt.id;
  if (receipt.processId !== undefined) notes.processId = receipt.processId;
  if (receipt.nonce !== undefined) notes.nonce = receipt.nonce;
  if (receipt.kind !== undefined) notes.kind = receipt.kind;
  if (receipt.repeated !== undefined) notes.repeated = receipt.repeated;
}

/** Ids come unchecked from the query; a log line must not grow with what a client writes there. */
function bounded(text: string): string {
  return text.slice(0, 64);
}
