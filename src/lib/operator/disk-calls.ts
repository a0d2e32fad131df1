import { z } from 'zod';
import type { DiskCheckPart } from '../migrator/ports.js';
import { isId, type Id } from '../protocol/ids.js';
import type { OperatorCall } from './outbox-calls.js';

const CHECK_CALL = 'disk.check';

const query = z.strictObject({ afterRow: z.int().min(0), repair: z.boolean() });
const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));
const part = z.object({
  processes: z.int(),
  entries: z.int(),
  findings: z.array(
    z.object({
      processId: id,
      fault: z.enum(['behind', 'incomplete', 'other-log', 'unreadable']),
      sentence: z.string(),
      isRepaired: z.boolean(),
    }),
  ),
  nextRow: z.int().optional(),
});

/** Compares the copies of the next processes with the database. */
export type CheckDisk = (options: {
  readonly afterRow: number;
  readonly repair: boolean;
}) => Promise<DiskCheckPart>;

/** The check of a disk copy as a call for the socket. */
export function diskCalls(check: CheckDisk): Readonly<Record<string, OperatorCall>> {
  return { [CHECK_CALL]: (params) => check(query.parse(params)) };
}

/**
 * The check by a running server, over its socket.
 *
 * @param call sends one call and answers its result
 */
export function diskOverCalls(
  call: (name: string, params: unknown) => Promise<unknown>,
): CheckDisk {
  return async (options) => {
    const { nextRow, ...rest } = part.parse(await call(CHECK_CALL, options));
    return { ...rest, nextRow };
  };
}
