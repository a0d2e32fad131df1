import type Koa from 'koa';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import type { Locate, Located } from '../router/locate.js';
import type { Clock } from '../scheduler/ports.js';
import type { ProcessGuard } from '../scheduler/process-whitelist.js';
import type { ListState } from '../scheduler/refreshed-list.js';
import type { AddressGuard } from './client-address.js';
import type { Forward } from './forward.js';
import { BODY_LIMITS, makeReadBody, type BodyLimits } from './read-body.js';
import type { RequestState } from './request-log.js';
import { makeRoutedApp } from './routed-app.js';
import { healthRoute } from './routes/health.js';
import { infoRoute } from './routes/info.js';
import { metricsRoute } from './routes/metrics.js';
import { processReadRoute, readRoute, routerSubmitRoute } from './routes/router-forward.js';
import { ownTimestampRoute, type OwnTimestampOptions } from './routes/router-own.js';

export interface RouterAppOptions {
  readonly locate: Pick<Locate, 'locate'>;
  readonly forward: Forward;
  readonly height: Omit<OwnTimestampOptions, 'clock'>;
  /** The wallet's address. */
  readonly address: string;
  readonly clock: Clock;
  /** What the program still waits for before it is ready, undefined when nothing. */
  readonly health: () => string | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly limits?: Partial<BodyLimits>;
  /** None when left out. */
  readonly guards?: RouterGuards;
}

/** What an operator may put before the routes. */
export interface RouterGuards {
  /** Who may write. */
  readonly checkAddress: AddressGuard | undefined;
  /** Which processes are served. */
  readonly processes: ProcessGuard | undefined;
  /** How the fetched lists stand. */
  readonly lists: () => readonly ListState[];
}

const NO_GUARDS: RouterGuards = {
  checkAddress: undefined,
  processes: undefined,
  lists: () => [],
};

/** The application of `su serve router`: every route. */
export function makeRouterApp(options: RouterAppOptions): Koa<RequestState> {
  const { forward, height, address, clock, health, metrics, log } = options;
  const readBody = makeReadBody({ ...BODY_LIMITS, ...options.limits });
  const { checkAddress, processes, lists } = options.guards ?? NO_GUARDS;
  const locate = (processId: string): Promise<Located> => options.locate.locate(processId);
  const parts = { locate, forward, processes };

  return makeRoutedApp({ log, metrics }, (get, post) => {
    get('/', readRoute(parts, infoRoute({ address, clock })));
    post('/', routerSubmitRoute({ ...parts, readBody, checkAddress }));
    get('/timestamp', readRoute(parts, ownTimestampRoute({ clock, ...height })));
    get('/health', healthRoute(health, lists));
    get('/metrics', metricsRoute(metrics));
    get('/processes/:id', processReadRoute(parts));
    get('/:id/latest', processReadRoute(parts));
    get('/:id', readRoute(parts));
  });
}
