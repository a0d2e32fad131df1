import type { StoredMessage } from '../../migrator/ports.js';
import { parseMessageBundle, type StoredBundle } from '../../protocol/bundle.js';
import { renderNode } from '../../protocol/wire.js';
import type { StoredNode } from './rows.js';

/** What of a row of the database is not on the disk as it should be, undefined when all is right. */
export function compareStoredRow(
  row: StoredMessage,
  stored: { readonly node: StoredNode | undefined; readonly bundle: Buffer | undefined },
): string | undefined {
  const name = `row ${row.rank} (process ${row.processId}, nonce ${row.nonce})`;
  const { node } = stored;
  if (node === undefined) return `${name} is not on the disk`;
  if (node.timestamp !== row.timestamp) return `${name} has another timestamp on the disk`;
  if (stored.bundle === undefined) {
    // A bundle that cannot be read is left to the database.
    return isReadable(row) ? `${name} has no bundle on the disk` : undefined;
  }
  if (Buffer.compare(stored.bundle, row.bundle) !== 0) return `${name} has another bundle`;
  if (node.json === undefined) return undefined;
  const json = Buffer.from(renderNode(parseMessageBundle(row.bundle)), 'utf8');
  return node.json.equals(json) ? undefined : `${name} is shown otherwise than its bundle says`;
}

function isReadable(row: StoredMessage): boolean {
  let bundle: StoredBundle;
  try {
    bundle = parseMessageBundle(row.bundle);
  } catch {
    // That is what is asked.
    return false;
  }
  const isForeign =
    (row.assignmentId !== undefined && bundle.assignment?.id !== row.assignmentId) ||
    (bundle.form === 'inner-assignment' && bundle.item?.id !== row.messageId);
  return !isForeign;
}
