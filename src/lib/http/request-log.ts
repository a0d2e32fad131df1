import { randomUUID } from 'node:crypto';
import type { Middleware, ParameterizedContext } from 'koa';
import { isSuError } from '../errors.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import { answerForError } from './error-status.js';

/** What the log line of a request says besides its outcome: ids and places, never payloads. */
export interface RequestNotes {
  id?: string | undefined;
  processId?: string | undefined;
  assign?: string | undefined;
  /** The SU that a router sends the request to. */
  scheduler?: string | undefined;
  nonce?: number | undefined;
  kind?: string | undefined;
  repeated?: boolean | undefined;
  edges?: number | undefined;
  bytes?: number | undefined;
}

/** What travels with a request through the middleware. */
export interface RequestState {
  requestId: string;
  /** The route's pattern, for the log and the metrics. */
  route: string;
  notes: RequestNotes;
  /** What the route threw. */
  error: unknown;
  /** The client went away before it had the whole answer. */
  clientGone: boolean;
}

/** The route of a request that no route took. */
const NO_ROUTE = 'none';

/** Asked for every few seconds by probes: below the log's usual level. */
const PROBE_ROUTES: ReadonlySet<string> = new Set(['/health', '/metrics']);

const SANE_REQUEST_ID = /^[\w.:-]{1,128}$/;

/**
 * Gives each request its id (`X-Request-Id`: the caller's when it is sane, else a new one) and writes one line about its
 * outcome, behind the answer: nobody waits for a line. The level follows the status: 500 needs a person, other 5xx were
 * degraded, the rest is information.
 */
export function logRequests(options: {
  readonly log: Log;
  readonly metrics: Metrics;
}): Middleware<RequestState> {
  const { log, metrics } = options;
  return async (ctx, next) => {
    const startedAt = performance.now();
    const given = ctx.get('X-Request-Id');
    const requestId = SANE_REQUEST_ID.test(given) ? given : randomUUID();
    ctx.state = { requestId, route: NO_ROUTE, notes: {}, error: undefined, clientGone: false };
    ctx.set('X-Request-Id', requestId);
    await next();
    const durationMs = performance.now() - startedAt;
    // What the answer's end closes says nothing of the client.
    ctx.state.clientGone ||= ctx.req.socket.destroyed;
    // Koa answers when this function has returned; the next request is taken after what is asked for here.
    setImmediate(() => {
      metrics.httpAnswered({ method: ctx.method, route: ctx.state.route, status: ctx.status });
      writeLine(ctx, { log, durationMs });
    });
  };
}

function writeLine(
  ctx: ParameterizedContext<RequestState>,
  { log, durationMs }: { log: Log; durationMs: number },
): void {
  const { requestId, route, notes, error, clientGone } = ctx.state;
  const level = levelOf(ctx.state);
  if (!log.isLevelEnabled(level)) return;
  const line: Record<string, unknown> = {
    event: 'request',
    requestId,
    method: ctx.method,
    route,
    status: ctx.status,
    durationMs: Math.round(durationMs * 100) / 100,
    ...notes,
  };
  // As it came: what it is said to be may not be readable as an address.
  if (route === NO_ROUTE) line['path'] = ctx.url.slice(0, 200);
  if (clientGone) line['clientGone'] = true;
  if (error !== undefined) Object.assign(line, errorFields(error));
  log[level](line);
}

function levelOf({ error, route }: RequestState): 'error' | 'warn' | 'info' | 'debug' {
  const status = error === undefined ? 200 : answerForError(error).status;
  if (status === 500) return 'error';
  if (PROBE_ROUTES.has(route)) return 'debug';
  return status > 500 ? 'warn' : 'info';
}

/** The failure for the log: the whole of it, with its causes, when the client was told less or somebody else failed. */
function errorFields(error: unknown): Record<string, unknown> {
  const status = answerForError(error).status;
  const fields: Record<string, unknown> = {
    code: isSuError(error) ? error.code : 'internal',
    ...(isSuError(error) && Object.keys(error.details).length > 0 && { details: error.details }),
  };
  if (status >= 500) fields['err'] = error;
  else if (error instanceof Error) fields['error'] = error.message;
  return fields;
}
