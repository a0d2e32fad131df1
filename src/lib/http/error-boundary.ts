import type { IncomingMessage } from 'node:http';
import type { Context, Middleware } from 'koa';
import { SuError } from '../errors.js';
import { answerJson, errorJson } from './answer.js';
import { answerForError } from './error-status.js';
import type { RequestState } from './request-log.js';

/**
 * Turns whatever a route throws into `{"error": sentence}` with its status, and leaves the failure in the request's
 * state for the log. An answer that has begun cannot be taken back: its connection is destroyed, so that a reader never
 * takes the beginning of a page for a whole one.
 */
export function errorBoundary(): Middleware<RequestState> {
  return async (ctx, next) => {
    try {
      requireHost(ctx.req);
      requirePath(ctx);
      await next();
    } catch (error) {
      ctx.state.error = error;
      if (ctx.res.headersSent) {
        ctx.respond = false;
        ctx.res.destroy();
        return;
      }
      const answer = answerForError(error);
      ctx.remove('Content-Length');
      answerJson(ctx, errorJson(answer.message));
      ctx.status = answer.status;
      if (answer.retryAfterSeconds !== undefined) {
        ctx.set('Retry-After', String(answer.retryAfterSeconds));
      }
    }
  };
}

/** RFC 9112, 3.2. Node's own answer to this has no body and no line in the log. */
function requireHost({ httpVersion, headers }: IncomingMessage): void {
  if (headers.host !== undefined || httpVersion !== '1.1') return;
  throw new SuError('invalid-request', 'the request has no Host header, which HTTP/1.1 requires');
}

/** A request line may name a whole address, of which koa reads the path when it is asked for: it throws, or has none. */
function requirePath(ctx: Pick<Context, 'path'>): void {
  try {
    if (typeof ctx.path === 'string') return;
  } catch {
    // refused below, as what has no path
  }
  throw new SuError('invalid-request', 'the request names no path');
}
