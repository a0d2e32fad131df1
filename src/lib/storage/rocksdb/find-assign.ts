import { idFromBytes } from '../../protocol/ids.js';
import type { Receipt, ReceiptQuery } from '../../scheduler/ports.js';
import type { Database } from './database.js';
import { assignDigest, assignKey, timestampOfAssignKey } from './keys.js';

/** Equal assigns, latest first, among which one's own is looked for. */
const ATTEMPTS_AMONG = 1000;

/**
 * The first assignment of a transaction that counts as the same assign: same process, same exclude list, and not
 * before the window.
 *
 * @throws SuError `store-unavailable`
 */
export function findFirstAssign(
  database: Database,
  query: Extract<ReceiptQuery, { kind: 'assign' }>,
): Receipt | undefined {
  const digest = assignDigest(query);
  const { attempts } = query;
  if (attempts?.length === 0) return undefined;
  const rows = database.readFew('default', {
    gte: assignKey(digest, Math.max(0, Math.ceil(query.since)), 0),
    lte: assignKey(digest, Number.MAX_SAFE_INTEGER, 0),
    // An attempt that landed is among the last: it was signed moments ago.
    ...(attempts === undefined ? { limit: 1 } : { limit: ATTEMPTS_AMONG, reverse: true }),
  });
  const row = rows.find(([, value]) => attempts?.includes(idFromBytes(value)) !== false);
  return row && { id: idFromBytes(row[1]), timestamp: timestampOfAssignKey(row[0]) };
}
