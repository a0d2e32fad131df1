import type { Middleware } from 'koa';
import { SuError } from '../errors.js';
import type { RequestState } from './request-log.js';

/**
 * What no route took: `OPTIONS` is answered with what the path allows, another method or path is refused with a
 * sentence.
 *
 * @throws SuError from the middleware: `unknown-route`, `method-not-allowed`
 */
export function refuseUnhandled(
  allowedMethods: (path: string) => readonly string[],
): Middleware<RequestState> {
  return (ctx) => {
    const path = JSON.stringify(ctx.path.slice(0, 100));
    const methods = allowedMethods(ctx.path);
    if (methods.length === 0) throw new SuError('unknown-route', `nothing is served at ${path}`);
    const allow = [...methods, 'OPTIONS'].join(', ');
    ctx.set('Allow', allow);
    if (ctx.method !== 'OPTIONS') {
      throw new SuError(
        'method-not-allowed',
        `${ctx.method} is not served at ${path}: ${allow} are`,
      );
    }
    ctx.set('Access-Control-Allow-Origin', '*');
    ctx.status = 204;
  };
}
