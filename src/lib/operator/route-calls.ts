import { z } from 'zod';
import { isId, type Id } from '../protocol/ids.js';
import type { RouteInspection } from '../router/ports.js';
import type { OperatorCall } from './outbox-calls.js';

export const SCHEDULERS_CALL = 'routes.schedulers';
const COUNTS_CALL = 'routes.counts';
const SAMPLE_CALL = 'routes.sample';
const REPAIR_CALL = 'routes.repair';

const SAMPLE_MAX = 10_000;

const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));

const sampleQuery = z.strictObject({ from: id, limit: z.int().min(1).max(SAMPLE_MAX) });

const schedulers = z.array(
  z.object({
    rowId: z.int(),
    url: z.string(),
    processCount: z.int(),
    noRoute: z.boolean(),
    walletsToRoute: z.array(z.string()),
    walletsOnly: z.boolean(),
  }),
);

const counts = z.array(z.tuple([z.int(), z.int()]));

const placements = z.array(z.object({ processId: id, rowId: z.int(), key: z.string() }));

const repaired = z.array(z.object({ url: z.string(), from: z.int(), to: z.int() }));

/** What the operator's check looks at, as calls for the socket. */
export function routeCalls(routes: RouteInspection): Readonly<Record<string, OperatorCall>> {
  return {
    [SCHEDULERS_CALL]: () => routes.readSchedulers(),
    [COUNTS_CALL]: async () => [...(await routes.countPlacements())],
    [SAMPLE_CALL]: (params) => {
      const { from, limit } = sampleQuery.parse(params);
      return routes.samplePlacements(from, limit);
    },
    [REPAIR_CALL]: () => routes.repairCounts(),
  };
}

/**
 * The same of a running router, by calls over its socket.
 *
 * @param call sends one call and answers its result; what it throws reaches the caller
 */
export function routesOverCalls(
  call: (name: string, params: unknown) => Promise<unknown>,
): RouteInspection {
  return {
    readSchedulers: async () => schedulers.parse(await call(SCHEDULERS_CALL, {})),
    countPlacements: async () => new Map(counts.parse(await call(COUNTS_CALL, {}))),
    samplePlacements: async (from, limit) =>
      placements.parse(await call(SAMPLE_CALL, { from, limit })),
    repairCounts: async () => repaired.parse(await call(REPAIR_CALL, {})),
  };
}
