import type { RouterContext } from '@koa/router';
import type { RequestState } from './request-log.js';

/** What a route is given. */
export type HandlerContext = RouterContext<RequestState>;

/** A route's work: parse the input, run one use case, encode. It throws what happened; the error boundary answers. */
export type Handler = (ctx: HandlerContext) => void | Promise<void>;
