import { isSuError } from '../../errors.js';
import { isId, parseId, sha256Id, type Id } from '../../protocol/ids.js';
import { unknownProcess, type Located } from '../../router/locate.js';
import type { ProcessGuard } from '../../scheduler/process-whitelist.js';
import { verifyPostedItem } from '../../scheduler/verify-data-item.js';
import type { AddressGuard } from '../client-address.js';
import type { Forward, ForwardContext } from '../forward.js';
import type { Handler } from '../handler.js';
import { parseQuery, processOfQuery } from '../query.js';
import type { ReadBody } from '../read-body.js';
import { parseAssign, type AssignQuery } from './submit.js';

export interface ForwardRouteOptions {
  readonly locate: (processId: string) => Promise<Located>;
  readonly forward: Forward;
  /** Which processes are served; undefined: all. */
  readonly processes: ProcessGuard | undefined;
}

export interface ForwardSubmitOptions extends ForwardRouteOptions {
  readonly readBody: ReadBody;
  /** Asked before anything of the request is read; undefined: everybody may write. */
  readonly checkAddress: AddressGuard | undefined;
}

/**
 * A read of a process, which the query names (`process-id`, or `proc-id` as HyperBEAM spells it), else the path. With
 * `otherwise` the path names none, and a request without a process is the router's own to answer.
 */
export function readRoute(options: ForwardRouteOptions, otherwise?: Handler): Handler {
  const { locate, forward, processes } = options;
  return async (ctx) => {
    const named = processOfQuery(parseQuery(ctx.querystring));
    const processId = named ?? ctx.params['id'];
    if (processId === undefined && otherwise !== undefined) {
      await otherwise(ctx);
      return;
    }
    ctx.state.notes.processId = (processId ?? '').slice(0, 64);
    if (named === undefined) checkFound(processId ?? '', processes);
    else processes?.checkRead(named);
    const { url } = await locate(processId ?? '');
    await forward.send(ctx, url, undefined);
  };
}

/** The id in a path may be a message's: to whom the process is not served it is not known, rather than refused. */
function checkFound(id: string, processes: ProcessGuard | undefined): void {
  try {
    processes?.checkRead(id);
  } catch (error) {
    if (!isSuError(error, 'not-allowed')) throw error;
    throw unknownProcess(id);
  }
}

/** A read whose path names the process: whatever the query says, that one is meant. */
export function processReadRoute({ locate, forward, processes }: ForwardRouteOptions): Handler {
  return async (ctx) => {
    const processId = ctx.params['id'] ?? '';
    ctx.state.notes.processId = processId.slice(0, 64);
    processes?.checkRead(processId);
    const { url } = await locate(processId);
    await forward.send(ctx, url, undefined);
  };
}

/**
 * `POST /`: a process is placed, a message and an assign go to the SU of their process. The item is verified first, so
 * that nothing is placed that no SU would take.
 */
export function routerSubmitRoute(options: ForwardSubmitOptions): Handler {
  return async (ctx) => {
    options.checkAddress?.(ctx.req);
    const assign = parseAssign(parseQuery(ctx.querystring));
    if (assign === undefined) {
      await options.readBody(ctx.req, ctx.res, (body) => forwardItem(ctx, body, options));
    } else await forwardAssign(ctx, assign, options);
  };
}

async function forwardItem(
  ctx: ForwardContext,
  body: Buffer,
  options: ForwardSubmitOptions,
): Promise<void> {
  const { locate, forward, processes } = options;
  const { notes } = ctx.state;
  notes.bytes = body.length;
  const { kind, processId, item } = await verifyPostedItem(body);
  Object.assign(notes, { id: item.id, kind, processId });
  if (kind === 'process') {
    await checkSpawn(processId, options);
    const owner = sha256Id(item.owner);
    await forward.spawn(ctx, { processId, owner }, body);
    return;
  }
  processes?.checkWrite(processId);
  const { url } = await locate(processId);
  await forward.send(ctx, url, body);
}

/** With a list no process is spawned; one that is there already may be posted again, for its receipt. */
async function checkSpawn(
  processId: Id,
  { locate, processes }: ForwardRouteOptions,
): Promise<void> {
  if (processes === undefined) return;
  processes.checkRead(processId);
  try {
    await locate(processId);
  } catch (error) {
    if (isSuError(error, 'unknown-process')) processes.checkSpawn(processId);
    throw error;
  }
}

/** The body of an assign is ignored, so it is neither read nor passed on. */
async function forwardAssign(
  ctx: ForwardContext,
  assign: AssignQuery,
  { locate, forward, processes }: ForwardRouteOptions,
): Promise<void> {
  Object.assign(ctx.state.notes, {
    processId: assign.processId.slice(0, 64),
    assign: assign.assign.slice(0, 64),
    kind: 'assigned-transaction',
  });
  requireForm(assign.processId, 'process-id');
  requireForm(assign.assign, 'assign');
  processes?.checkWrite(assign.processId);
  const { url } = await locate(assign.processId);
  await forward.send(ctx, url, undefined);
}

/** @throws SuError `invalid-request` for what has not the form of an id; one that cannot exist is unknown, not malformed */
function requireForm(text: string, name: string): void {
  if (!isId(text) && !/^[\w-]{43}$/.test(text)) parseId(text, name);
}
