import type { RouterContext } from '@koa/router';
import type { PlacedProcess, PostedProcess } from '../router/place-process.js';
import type { RequestState } from './request-log.js';

export type ForwardContext = RouterContext<RequestState>;

/** How a router lets a request reach its SU. The context holds the request; its body, if any, was read. */
export interface Forward {
  /** Answers with what the SU at this base URL says, or with where it is. */
  send(ctx: ForwardContext, url: string, body: Buffer | undefined): Promise<void>;
  /** The same for a new process, which is placed first. */
  spawn(ctx: ForwardContext, posted: PostedProcess, body: Buffer): Promise<void>;
}

/** Path and query as the client sent them. An absolute request target loses its host: it must not choose where we go. */
export function pathAndQuery(ctx: ForwardContext): string {
  return ctx.path + ctx.search;
}

/** Says in the log line where the request went. */
export function noteScheduler(ctx: ForwardContext, url: string): void {
  ctx.state.notes.scheduler = url;
}

/** Says in the log line whether the process was placed before. */
export function notePlaced(ctx: ForwardContext, placed: PlacedProcess): void {
  noteScheduler(ctx, placed.url);
  ctx.state.notes.repeated = !placed.isNew;
}
