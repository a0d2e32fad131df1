import { SuError } from '../errors.js';
import { deepHash } from '../protocol/deep-hash.js';
import { fromBase64Url, sha256Id } from '../protocol/ids.js';
import { verifyRsaPss } from '../protocol/rsa-pss.js';
import type { Described } from './described.js';

/** A transaction's fields without its data. */
const HEAD_BYTES_MAX = 65_536;
const LENGTH_BYTES = 4;

/** Enough of a stored transaction to describe it. */
export const TRANSACTION_PREFIX_BYTES = LENGTH_BYTES + HEAD_BYTES_MAX;

const TEXT_FIELDS = [
  'id',
  'last_tx',
  'owner',
  'target',
  'quantity',
  'data_root',
  'data_size',
  'reward',
  'signature',
] as const;

type Fields = Readonly<Record<(typeof TEXT_FIELDS)[number], string>> & {
  readonly tags: readonly { readonly name: string; readonly value: string }[];
};

/**
 * Checks a transaction in Arweave's JSON form (format 2, with its data) and turns it into the bytes to store:
 * the length of the JSON without the data, that JSON, the data. The signature must be its owner's; that the data
 * belongs to the signed `data_root` is not checked, as only a miner would.
 *
 * @throws SuError `invalid-data-item`, `invalid-signature`
 */
export async function acceptTransaction(body: Uint8Array): Promise<Buffer> {
  const { data, ...fields } = parseFields(body);
  const content = fromBase64Url(data);
  if (String(content.length) !== fields.data_size) {
    refuse('its data is not with it: the local network takes transactions whole, not in chunks');
  }
  const signature = fromBase64Url(fields.signature);
  if (sha256Id(signature) !== fields.id) refuse('its id is not the hash of its signature');
  const owner = fromBase64Url(fields.owner);
  if (!(await verifyRsaPss(owner, signedMessage(fields, owner), signature))) {
    throw new SuError('invalid-signature', 'the transaction is not signed by its owner');
  }
  const head = Buffer.from(JSON.stringify(fields));
  if (head.length > HEAD_BYTES_MAX) refuse(`its fields have more than ${HEAD_BYTES_MAX} bytes`);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(head.length);
  return Buffer.concat([length, head, content]);
}

/** The description of a stored transaction, from its first bytes. */
export function describeTransaction(prefix: Buffer): Described {
  const headEnd = LENGTH_BYTES + prefix.readUInt32LE(0);
  const fields = JSON.parse(prefix.toString('utf8', LENGTH_BYTES, headEnd)) as Fields;
  const text = (encoded: string): string => Buffer.from(encoded, 'base64url').toString('utf8');
  const signature = fromBase64Url(fields.signature);
  return {
    id: sha256Id(signature),
    owner: fromBase64Url(fields.owner),
    recipient: fields.target,
    anchor: fields.last_tx,
    signature,
    tags: fields.tags.map(({ name, value }) => ({ name: text(name), value: text(value) })),
    dataOffset: headEnd,
  };
}

function refuse(why: string): never {
  throw new SuError('invalid-data-item', `the transaction is refused: ${why}`);
}

function parseFields(body: Uint8Array): Fields & { readonly data: string } {
  let value: Partial<Record<string, unknown>>;
  try {
    value = JSON.parse(Buffer.from(body).toString('utf8')) as typeof value;
  } catch {
    return refuse('it is neither a data item nor JSON');
  }
  if (typeof value !== 'object' || value === null || value['format'] !== 2) {
    return refuse('it is not a transaction of format 2');
  }
  const texts = TEXT_FIELDS.map((name) => [name, value[name]] as const);
  const wrong = texts.find(([, text]) => typeof text !== 'string');
  if (wrong !== undefined) refuse(`its field "${wrong[0]}" is not a text`);
  const tags = value['tags'];
  if (!Array.isArray(tags) || !tags.every(isTag))
    return refuse('its tags are not a list of names and values');
  const data = value['data'] ?? '';
  if (typeof data !== 'string') return refuse('its field "data" is not a text');
  const named = Object.fromEntries(texts) as Record<(typeof TEXT_FIELDS)[number], string>;
  return { ...named, tags: tags.map(({ name, value: text }) => ({ name, value: text })), data };
}

function isTag(tag: unknown): tag is { name: string; value: string } {
  const { name, value } = (tag ?? {}) as Record<string, unknown>;
  return typeof name === 'string' && typeof value === 'string';
}

/** What the owner of a transaction of format 2 signs (arweave-js, `Transaction.getSignatureData`). */
function signedMessage(fields: Fields, owner: Uint8Array): Uint8Array {
  return deepHash([
    Buffer.from('2'),
    owner,
    fromBase64Url(fields.target),
    Buffer.from(fields.quantity),
    Buffer.from(fields.reward),
    fromBase64Url(fields.last_tx),
    fields.tags.map((tag) => [fromBase64Url(tag.name), fromBase64Url(tag.value)]),
    Buffer.from(fields.data_size),
    fromBase64Url(fields.data_root),
  ]);
}
