import type { RouterContext } from '@koa/router';
import type { RequestState } from './request-log.js';

/** A route's work: parse the input, run one use case, encode. It throws what happened; the error boundary answers. */
export type Handler = (ctx: RouterContext<RequestState>) => void | Promise<void>;
