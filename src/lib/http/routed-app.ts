import cors from '@koa/cors';
import Router from '@koa/router';
import Koa from 'koa';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import { errorBoundary } from './error-boundary.js';
import type { Handler } from './handler.js';
import { logRequests, type RequestState } from './request-log.js';
import { refuseUnhandled } from './unhandled.js';

/** Declares a route: its pattern, which is also its name in log and metrics, and its handler. */
export type DeclareRoute = (path: string, handler: Handler) => void;

/**
 * The application around the routes, the same for a scheduler and a router: which middleware runs in which order.
 *
 * @param declare names every route, in the order in which they are tried
 */
export function makeRoutedApp(
  { log, metrics }: { readonly log: Log; readonly metrics: Metrics },
  declare: (get: DeclareRoute, post: DeclareRoute) => void,
): Koa<RequestState> {
  const router = new Router<RequestState>({ sensitive: true });
  declare(
    (path, handler) => void router.get(path, named(path, handler)),
    (path, handler) => void router.post(path, named(path, handler)),
  );
  const app = new Koa<RequestState>();
  app.use(logRequests({ log, metrics }));
  app.use(
    cors({
      allowMethods: 'GET,HEAD,POST,OPTIONS',
      exposeHeaders: 'X-Request-Id,Retry-After',
      maxAge: 86_400,
    }),
  );
  app.use(errorBoundary());
  app.use(router.routes());
  app.use(refuseUnhandled((path) => allowedMethods(router, path)));
  // Only what happens outside the middleware comes here: connections that break while an answer is written.
  app.on('error', (error: unknown) => log.info({ event: 'connection-broken', err: error }));
  return app;
}

/** Names the route for log and metrics, then runs its handler. */
function named(path: string, handler: Handler): Handler {
  return (ctx) => {
    ctx.state.route = path;
    return handler(ctx);
  };
}

function allowedMethods(router: Router<RequestState>, path: string): readonly string[] {
  const layers = router.stack.filter((layer) => layer.match(path));
  return [...new Set(layers.flatMap((layer) => layer.methods))].toSorted();
}
