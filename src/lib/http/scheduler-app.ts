import type Koa from 'koa';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { Clock, LogReader } from '../scheduler/ports.js';
import type { ListState } from '../scheduler/refreshed-list.js';
import { makeReadPage, type PageLimits } from '../scheduler/read-page.js';
import type { AddressGuard } from './client-address.js';
import { ANSWER_LIMITS, makeHoldAnswers, type AnswerLimits } from './hold-answers.js';
import { meterReader } from './metered-reader.js';
import { reportDamage } from './report-damage.js';
import { BODY_LIMITS, makeReadBody, type BodyLimits } from './read-body.js';
import type { RequestState } from './request-log.js';
import { makeRoutedApp } from './routed-app.js';
import { healthRoute } from './routes/health.js';
import { infoRoute } from './routes/info.js';
import { metricsRoute } from './routes/metrics.js';
import { latestRoute, processRoute, readLogRoute, type CheckRead } from './routes/read-log.js';
import { submitRoute, type SubmitPort } from './routes/submit.js';
import { timestampRoute, type HeightSource } from './routes/timestamp.js';

/** Bounds on what one request may take. */
export interface SchedulerAppLimits extends BodyLimits, PageLimits, AnswerLimits {}

/** Pages default to what MAX_READ_MEMORY defaults to. */
export const SCHEDULER_APP_LIMITS: SchedulerAppLimits = {
  ...BODY_LIMITS,
  ...ANSWER_LIMITS,
  pageBytesMax: 67_108_864,
  partBytes: 262_144,
  keptBytesMax: 12_582_912,
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

/** The application of `su serve su`: every route. */
export function makeSchedulerApp(options: SchedulerAppOptions): Koa<RequestState> {
  const { submit, blockClock, address, clock, health, metrics, log } = options;
  const { checkAddress, checkRead, lists } = options.guards ?? NO_GUARDS;
  const limits = { ...SCHEDULER_APP_LIMITS, ...options.limits };
  const reader = meterReader(reportDamage(options.reader, { log, metrics }), metrics);
  const readPage = makeReadPage(reader, limits);
  const readBody = makeReadBody(limits);
  const holdAnswer = makeHoldAnswers(limits);
  const lookUp = { reader, holdAnswer, checkRead };

  return makeRoutedApp({ log, metrics }, (get, post) => {
    get('/', infoRoute({ address, clock }));
    post('/', submitRoute({ submit, readBody, metrics, checkAddress }));
    get('/timestamp', timestampRoute({ clock, blockClock }));
    get('/health', healthRoute(health, lists));
    get('/metrics', metricsRoute(metrics));
    get('/processes/:id', processRoute(lookUp));
    get('/:id/latest', latestRoute(lookUp));
    get('/:id', readLogRoute({ ...lookUp, readPage, metrics }));
  });
}
