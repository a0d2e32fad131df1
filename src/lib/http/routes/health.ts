import { SuError } from '../../errors.js';
import type { Handler } from '../handler.js';

/**
 * `GET /health`: 503 naming what is missing until nothing is; from then on an empty 200 while the program lives, since
 * reads go on and writes answer for themselves when a store or gateway goes away later.
 *
 * @param missing what the program still waits for, undefined when it is ready
 */
export function healthRoute(missing: () => string | undefined): Handler {
  let ready = false;
  return (ctx) => {
    const waitsFor = ready ? undefined : missing();
    if (waitsFor !== undefined) throw new SuError('not-ready', `not ready: ${waitsFor}`);
    ready = true;
    ctx.body = Buffer.alloc(0);
    ctx.remove('Content-Type');
    ctx.status = 200;
  };
}
