import { SuError } from '../errors.js';
import type { DiskCopy, RowSource } from './disk-ports.js';

/**
 * Makes sure that a folder is the copy of this database and of no other, whose row ids mean something else. A new copy is
 * named after the database as soon as that has a message.
 *
 * @throws SuError `folder-refused`, `store-unavailable`
 */
export async function claimIdentity(
  copy: Pick<DiskCopy, 'readIdentity' | 'writeIdentity'>,
  source: Pick<RowSource, 'readIdentity'>,
): Promise<void> {
  const [ours, theirs] = [await copy.readIdentity(), await source.readIdentity()];
  if (ours === theirs || theirs === undefined) return;
  if (ours === undefined) {
    await copy.writeIdentity(theirs);
    return;
  }
  throw new SuError(
    'folder-refused',
    `the folder holds the copy of another database (its first message is ${ours}, not ${theirs}): ` +
      'name an empty folder in SU_DATA_DIR',
  );
}
