import type { Id } from '../../src/lib/protocol/ids.js';
import { presignMessages, presignProcesses, type MessagePlan } from './presigned.js';

/*
 * A program of its own: signs items into files, with the Node that signs fastest. Its parent sends one PresignOrder at a
 * time and gets one PresignReport.
 */
export type PresignOrder =
  | { readonly kind: 'processes'; readonly file: string; readonly count: number }
  | ({ readonly kind: 'messages'; readonly file: string } & MessagePlan);

export interface PresignReport {
  /** Of the processes. */
  readonly ids: readonly Id[];
}

async function run(order: PresignOrder): Promise<PresignReport> {
  if (order.kind === 'processes') return { ids: await presignProcesses(order.file, order.count) };
  await presignMessages(order.file, order);
  return { ids: [] };
}

process.on('message', (order: PresignOrder) => {
  run(order).then(
    (report) => process.send?.(report),
    (error: unknown) => {
      throw error;
    },
  );
});
process.on('disconnect', () => process.exit(0));
