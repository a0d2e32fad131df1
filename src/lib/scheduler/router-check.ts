import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import type { RouterPort } from './ports.js';

/**
 * Refuses to spawn a process that the router has placed on another SU: two logs of one process would be the end of it.
 * What the router does not know may be spawned.
 *
 * @param assignment this SU, as the router's redirects name it: a number N for `https://suN.…`, or its URL
 * @throws SuError `not-allowed`; `gateway-unavailable`, `gateway-timeout` when the router cannot be asked
 */
export function makeRouterCheck(
  router: RouterPort,
  assignment: string,
): (processId: Id) => Promise<void> {
  const isOwn = /^\d+$/.test(assignment) ? isNumbered(assignment) : isBelow(assignment);
  return async (processId) => {
    const place = await router.fetchPlace(processId);
    if (place.status === 'unknown') return;
    if (place.status === 'placed' && isOwn(new URL(place.url))) return;
    throw new SuError('not-allowed', `the router has placed process ${processId} on another SU`, {
      details: { place: place.status === 'placed' ? place.url : undefined, assignment },
    });
  };
}

function isNumbered(number: string): (url: URL) => boolean {
  const wanted = Number(number);
  return ({ protocol, hostname }) => {
    const found = /^su(\d+)\./.exec(hostname)?.[1];
    return protocol === 'https:' && found !== undefined && Number(found) === wanted;
  };
}

/** The router's Location is our URL with the path of the request behind it. */
function isBelow(own: string): (url: URL) => boolean {
  const { origin, pathname } = new URL(own);
  const base = pathname.replace(/\/+$/, '');
  return (url) => url.origin === origin && `${url.pathname}/`.startsWith(`${base}/`);
}
