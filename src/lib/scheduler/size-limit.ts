import { SuError } from '../errors.js';
import { ownerAddress, type DataItem } from '../protocol/data-item.js';
import { findTag } from '../protocol/tags.js';

/** Who may send messages of which size. */
export interface SizePolicy {
  /** Of a whole message, as it is posted. */
  readonly bytesMax: number;
  /** Addresses whose messages may have any size. */
  readonly owners: readonly string[];
  /** Processes that may send messages of any size, when the owner of the message is on the next list. */
  readonly fromProcesses: readonly string[];
  readonly fromOwners: readonly string[];
}

/**
 * Refuses messages that are too large. Processes are exempt; so are the listed owners, and messages that name a listed
 * process in `From-Process` and come from a listed owner. Both of these, because anybody can write that tag.
 */
export function makeSizeLimit(policy: SizePolicy): (message: DataItem) => void {
  const owners = new Set(policy.owners);
  const fromProcesses = new Set(policy.fromProcesses);
  const fromOwners = new Set(policy.fromOwners);
  return (message) => {
    const { length } = message.bytes;
    if (length <= policy.bytesMax) return;
    const owner = ownerAddress(message);
    if (owners.has(owner)) return;
    const from = findTag(message.tags, 'From-Process');
    if (from !== undefined && fromProcesses.has(from) && fromOwners.has(owner)) return;
    throw new SuError(
      'body-too-large',
      `the message has ${length} bytes, and ${policy.bytesMax} is the most this SU takes`,
    );
  };
}
