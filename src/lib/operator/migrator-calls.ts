import { z } from 'zod';
import type { BundleSealer, UploadQueue } from '../migrator/ports.js';
import { fromBase64Url, isId, toBase64Url, type Id } from '../protocol/ids.js';
import type { OperatorCall } from './outbox-calls.js';

const QUEUE_CALL = 'outbox.queue';
const SEAL_CALL = 'bundles.seal';

const ROWS_MAX = 1000;
/** Of 683 characters each. */
const SIGNATURES_MAX = 500;

const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));

const uploads = z.strictObject({
  rows: z
    .array(
      z.strictObject({
        processId: id,
        messageId: id,
        assignmentId: id.optional(),
        parts: z.int().min(1).max(7),
      }),
    )
    .max(ROWS_MAX),
});

const seals = z.strictObject({
  signatures: z
    .array(
      z.strictObject({
        processId: id,
        place: z.strictObject({ epoch: z.int(), nonce: z.int(), rank: z.int() }).optional(),
        signature: z.string().length(683),
      }),
    )
    .max(SIGNATURES_MAX),
});

/** What repairs and hand-backs write, as calls for the socket. */
export function migratorCalls(parts: {
  readonly queue: UploadQueue;
  readonly sealer: BundleSealer;
}): Readonly<Record<string, OperatorCall>> {
  return {
    [QUEUE_CALL]: async (params) => {
      const { rows } = uploads.parse(params);
      await parts.queue.queueUploads(
        rows.map((row) => ({ ...row, assignmentId: row.assignmentId })),
      );
      return null;
    },
    [SEAL_CALL]: async (params) => {
      const { signatures } = seals.parse(params);
      await parts.sealer.sealBundles(
        signatures.map(({ processId, place, signature }) => ({
          processId,
          place,
          signature: fromBase64Url(signature),
        })),
      );
      return null;
    },
  };
}

/**
 * The same of a running server, by calls over its socket.
 *
 * @param call sends one call and answers its result; what it throws reaches the caller
 */
export function migratorOverCalls(call: (name: string, params: unknown) => Promise<unknown>): {
  readonly queue: UploadQueue;
  readonly sealer: BundleSealer;
} {
  return {
    queue: {
      async queueUploads(rows) {
        for (let begin = 0; begin < rows.length; begin += ROWS_MAX) {
          await call(QUEUE_CALL, { rows: rows.slice(begin, begin + ROWS_MAX) });
        }
      },
    },
    sealer: {
      async sealBundles(signatures) {
        const rows = signatures.map(({ processId, place, signature }) => ({
          processId,
          ...(place && { place: { epoch: place.epoch, nonce: place.nonce, rank: place.rank } }),
          signature: toBase64Url(signature),
        }));
        for (let begin = 0; begin < rows.length; begin += SIGNATURES_MAX) {
          await call(SEAL_CALL, { signatures: rows.slice(begin, begin + SIGNATURES_MAX) });
        }
      },
    },
  };
}
