import type { Clock } from '../../scheduler/ports.js';
import { answerJson } from '../answer.js';
import type { Handler } from '../handler.js';

/** `GET /`: who schedules here, and its clock. */
export function infoRoute(options: { readonly address: string; readonly clock: Clock }): Handler {
  const { address, clock } = options;
  return (ctx) => answerJson(ctx, JSON.stringify({ address, timestamp: String(clock()) }));
}
