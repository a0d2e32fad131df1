import { SuError } from '../errors.js';
import { parseDataItem, type DataItem } from '../protocol/data-item.js';
import { idFromBytes, isId, type Id } from '../protocol/ids.js';
import { verifyDataItem } from '../protocol/signature-types.js';
import { findTag } from '../protocol/tags.js';

/** A posted item that is well formed, keeps the rules and is signed by its owner. */
export type VerifiedItem =
  | {
      readonly kind: 'process';
      readonly processId: Id;
      readonly item: DataItem;
      /** The id in its `On-Boot` tag that has to exist on Arweave. */
      readonly onBoot: Id | undefined;
    }
  | { readonly kind: 'message'; readonly processId: Id; readonly item: DataItem };

/**
 * Bytes → item, from the cheapest check to the dearest: structure, rules on tags and target, signature.
 *
 * @throws SuError `invalid-data-item` (structure), `invalid-request` (rules), `invalid-signature`
 */
export async function verifyPostedItem(body: Uint8Array): Promise<VerifiedItem> {
  const item = parseDataItem(body, 'posted');
  const verified = checkRules(item);
  if (!(await verifyDataItem(item))) {
    throw new SuError('invalid-signature', `the signature of data item ${item.id} is not valid`, {
      details: { id: item.id, signatureType: item.signatureType },
    });
  }
  return verified;
}

/**
 * The rules that need nothing but the item (a router applies them too).
 *
 * @throws SuError `invalid-request`
 */
export function checkRules(item: DataItem): VerifiedItem {
  const type = findTag(item.tags, 'Type', 'type');
  if (type === undefined) throw refused('the item has no Type tag');
  if (type !== 'Process' && type !== 'Message') {
    throw refused(`its Type tag is ${quote(type)}: expected Process or Message`);
  }
  if (findTag(item.tags, 'Data-Protocol', 'data-protocol') === undefined) {
    throw refused('the item has no Data-Protocol tag');
  }
  for (const { name, value } of item.tags) {
    if (name.endsWith('+link') || value.endsWith('+link')) {
      throw refused(`tag ${quote(name)} ends in +link`);
    }
  }
  return type === 'Process' ? checkProcess(item) : checkMessage(item);
}

function checkProcess(item: DataItem): VerifiedItem {
  for (const name of ['Module', 'Scheduler']) {
    if (findTag(item.tags, name) === undefined) {
      throw refused(`a process needs a ${name} tag`);
    }
  }
  const onBoot = findTag(item.tags, 'On-Boot');
  if (onBoot === undefined || onBoot === 'Data') {
    return { kind: 'process', processId: item.id, item, onBoot: undefined };
  }
  if (!isId(onBoot)) {
    throw refused(`its On-Boot tag is ${quote(onBoot)}: expected Data or a 43-character id`);
  }
  return { kind: 'process', processId: item.id, item, onBoot };
}

function checkMessage(item: DataItem): VerifiedItem {
  if (item.target.length === 0) {
    throw refused('a message needs a target: the id of its process');
  }
  return { kind: 'message', processId: idFromBytes(item.target), item };
}

function refused(why: string): SuError {
  return new SuError('invalid-request', `the data item is refused: ${why}`);
}

/** A tag's text as it may stand in an error: bounded, with no control characters. */
function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
