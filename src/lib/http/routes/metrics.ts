import { SuError } from '../../errors.js';
import type { Metrics } from '../../observability/metrics.js';
import type { Handler } from '../handler.js';

/** `GET /metrics`: Prometheus text. @throws SuError `unknown-route` from the handler when metrics are off */
export function metricsRoute(metrics: Metrics): Handler {
  return async (ctx) => {
    if (!metrics.enabled) {
      throw new SuError('unknown-route', 'metrics are off: ENABLE_METRICS=true turns them on');
    }
    const { contentType, text } = await metrics.render();
    ctx.set('Content-Type', contentType);
    ctx.body = text;
    ctx.status = 200;
  };
}
