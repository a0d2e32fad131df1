import { SuError } from '../../errors.js';
import type { ListState } from '../../scheduler/refreshed-list.js';
import { answerJson } from '../answer.js';
import type { Handler } from '../handler.js';
import { parseQuery } from '../query.js';

/**
 * `GET /health`: 503 naming what is missing until nothing is; from then on an empty 200 while the program lives, since
 * reads go on and writes answer for themselves when a store or gateway goes away later.
 *
 * With `verbose` the answer says how the lists stand that decide who is served: one that was never loaded closes
 * what it guards, and yet the program is healthy.
 *
 * @param missing what the program still waits for, undefined when it is ready
 */
export function healthRoute(
  missing: () => string | undefined,
  lists: () => readonly ListState[] = () => [],
): Handler {
  let ready = false;
  return (ctx) => {
    const waitsFor = ready ? undefined : missing();
    if (waitsFor !== undefined) throw new SuError('not-ready', `not ready: ${waitsFor}`);
    ready = true;
    if (parseQuery(ctx.querystring).get('verbose') !== undefined) {
      answerJson(ctx, JSON.stringify({ ready, lists: lists().map(shownState) }));
      return;
    }
    ctx.body = Buffer.alloc(0);
    ctx.remove('Content-Type');
    ctx.status = 200;
  };
}

function shownState({ name, loaded, ageMs, failure }: ListState): object {
  return { name, loaded, age_ms: ageMs ?? null, failure: failure ?? null };
}
