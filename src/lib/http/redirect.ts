import type { PlaceProcess } from '../router/place-process.js';
import {
  notePlaced,
  noteScheduler,
  pathAndQuery,
  type Forward,
  type ForwardContext,
} from './forward.js';

/** Sends clients on with 307, which keeps method and body; `Location` is absolute. */
export function makeRedirect(placeProcess: PlaceProcess): Forward {
  return {
    send(ctx, url) {
      noteScheduler(ctx, url);
      redirect(ctx, url);
      return Promise.resolve();
    },
    async spawn(ctx, posted) {
      const placed = await placeProcess(posted);
      notePlaced(ctx, placed);
      redirect(ctx, placed.url);
    },
  };
}

/** Not koa's own redirect: it adds a page of HTML. */
function redirect(ctx: ForwardContext, url: string): void {
  ctx.status = 307;
  ctx.set('Location', url + pathAndQuery(ctx));
  ctx.body = Buffer.alloc(0);
  ctx.remove('Content-Type');
}
