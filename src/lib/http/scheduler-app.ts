import cors from '@koa/cors';
import { Router } from '@koa/router';
import Koa from 'koa';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { Clock, LogReader } from '../scheduler/ports.js';
import type { ListState } from '../scheduler/refreshed-list.js';
import { makeReadPage, type PageLimits } from '../scheduler/read-page.js';
import type { AddressGuard } from './client-address.js';
import { errorBoundary } from './error-boundary.js';
import type { Handler } from './handler.js';
import { ANSWER_LIMITS, makeHoldAnswers, type AnswerLimits } from './hold-answers.js';
import { meterReader } from './metered-reader.js';
import { reportDamage } from './report-damage.js';
import { BODY_LIMITS, makeReadBody, type BodyLimits } from './read-body.js';
import { logRequests, type RequestState } from './request-log.js';
import { healthRoute } from './routes/health.js';
import { infoRoute } from './routes/info.js';
import { metricsRoute } from './routes/metrics.js';
import { latestRoute, processRoute, readLogRoute, type CheckRead } from './routes/read-log.js';
import { submitRoute, type SubmitPort } from './routes/submit.js';
import { timestampRoute, type HeightSource } from './routes/timestamp.js';
import { refuseUnhandled } from './unhandled.js';

/** Bounds on what one request may take. */
export interface SchedulerAppLimits extends BodyLimits, PageLimits, AnswerLimits {}

/** Pages default to what MAX_READ_MEMORY defaults to. */
export const SCHEDULER_APP_LIMITS: SchedulerAppLimits = {
  ...BODY_LIMITS,
  ...ANSWER_LIMITS,
  pageBytesMax: 67_108_864,
  partBytes: 1_048_576,
};

export interface SchedulerAppOptions {
  readonly submit: SubmitPort;
  readonly reader: LogReader;
  readonly blockClock: HeightSource;
  /** The wallet's address. */
  readonly address: string;
  readonly clock: Clock;
  /** What the program still waits for before it is ready, undefined when nothing. */
  readonly health: () => string | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly limits?: Partial<SchedulerAppLimits>;
  /** None when left out. */
  readonly guards?: HttpGuards;
}

/** What an operator may put before the routes. */
export interface HttpGuards {
  /** Who may write. */
  readonly checkAddress: AddressGuard | undefined;
  /** Which processes may be read. */
  readonly checkRead: CheckRead | undefined;
  /** How the fetched lists stand. */
  readonly lists: () => readonly ListState[];
}

const NO_GUARDS: HttpGuards = { checkAddress: undefined, checkRead: undefined, lists: () => [] };

/** The application of `su serve su`: which middleware runs in which order, and every route. */
export function makeSchedulerApp(options: SchedulerAppOptions): Koa<RequestState> {
  const { submit, blockClock, address, clock, health, metrics, log } = options;
  const { checkAddress, checkRead, lists } = options.guards ?? NO_GUARDS;
  const limits = { ...SCHEDULER_APP_LIMITS, ...options.limits };
  const reader = meterReader(reportDamage(options.reader, { log, metrics }), metrics);
  const readPage = makeReadPage(reader, limits);
  const readBody = makeReadBody(limits);
  const holdAnswer = makeHoldAnswers(limits);
  const lookUp = { reader, holdAnswer, checkRead };

  const router = new Router<RequestState>({ sensitive: true });
  const get = (path: string, handler: Handler): void => void router.get(path, route(path, handler));
  get('/', infoRoute({ address, clock }));
  router.post('/', route('/', submitRoute({ submit, readBody, metrics, checkAddress })));
  get('/timestamp', timestampRoute({ clock, blockClock }));
  get('/health', healthRoute(health, lists));
  get('/metrics', metricsRoute(metrics));
  get('/processes/:id', processRoute(lookUp));
  get('/:id/latest', latestRoute(lookUp));
  get('/:id', readLogRoute({ ...lookUp, readPage, metrics }));

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
function route(path: string, handler: Handler): Handler {
  return (ctx) => {
    ctx.state.route = path;
    return handler(ctx);
  };
}

function allowedMethods(router: Router<RequestState>, path: string): readonly string[] {
  const layers = router.stack.filter((layer) => layer.match(path));
  return [...new Set(layers.flatMap((layer) => layer.methods))].toSorted();
}
