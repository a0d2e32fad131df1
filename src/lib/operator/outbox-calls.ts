import { z } from 'zod';
import { isId, type Id } from '../protocol/ids.js';
import type { Outbox, OutboxCounts, OutboxListing } from '../uploader/ports.js';

/** What an operator may do with the outbox, whether it is reached in this program or over the socket of another. */
export type OperatorOutbox = Pick<Outbox, 'list' | 'retry' | 'counts'>;

export const LIST_CALL = 'outbox.list';
export const RETRY_CALL = 'outbox.retry';
export const COUNTS_CALL = 'outbox.counts';

const LIST_MAX = 1000;
const KEYS_MAX = 10_000;

const listQuery = z.strictObject({
  state: z.enum(['pending', 'parked', 'all']),
  afterKey: z.string().max(100).optional(),
  limit: z.int().min(1).max(LIST_MAX),
});

const retryQuery = z.strictObject({
  keys: z.union([z.literal('all'), z.array(z.string().max(100)).max(KEYS_MAX)]),
});

const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));

const listing = z.object({
  key: z.string(),
  processId: id,
  messageId: id,
  assignmentId: id.optional(),
  parts: z.int(),
  attempts: z.int(),
  state: z.enum(['pending', 'parked']),
  reason: z.string().optional(),
  queuedAt: z.number(),
});

/** A call that the socket offers: takes what came over it, checked inside. */
export type OperatorCall = (params: unknown) => Promise<unknown>;

/** The outbox as calls for the socket. */
export function outboxCalls(outbox: OperatorOutbox): Readonly<Record<string, OperatorCall>> {
  return {
    [LIST_CALL]: (params) => {
      const { state, afterKey, limit } = listQuery.parse(params);
      return outbox.list({ state, afterKey, limit });
    },
    [RETRY_CALL]: (params) => outbox.retry(retryQuery.parse(params).keys),
    [COUNTS_CALL]: () => outbox.counts(),
  };
}

/**
 * The outbox of a running server, by calls over its socket.
 *
 * @param call sends one call and answers its result; what it throws reaches the caller
 */
export function outboxOverCalls(
  call: (name: string, params: unknown) => Promise<unknown>,
): OperatorOutbox {
  return {
    async list(query): Promise<readonly OutboxListing[]> {
      const rows = z.array(listing).parse(await call(LIST_CALL, query));
      return rows.map((row) => ({ ...row, assignmentId: row.assignmentId, reason: row.reason }));
    },
    async retry(keys): Promise<number> {
      return z.int().parse(await call(RETRY_CALL, { keys }));
    },
    async counts(): Promise<OutboxCounts> {
      return z.object({ pending: z.int(), parked: z.int() }).parse(await call(COUNTS_CALL, {}));
    },
  };
}
