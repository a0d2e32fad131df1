import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { signatureMessageSync } from '../../src/lib/protocol/deep-hash.js';
import { encodeDataItem, encodeUnsigned, parseDataItem } from '../../src/lib/protocol/data-item.js';
import { idToBytes, type Id } from '../../src/lib/protocol/ids.js';
import type { Tag } from '../../src/lib/protocol/tags.js';

/** An Ed25519 wallet: its signatures are a hundred times cheaper to make than RSA's, for tests that need thousands. */
export interface QuickWallet {
  readonly owner: Uint8Array;
  readonly key: KeyObject;
}

/** A posted item and its id. */
export interface SignedItem {
  readonly id: Id;
  readonly bytes: Uint8Array;
}

/** A new wallet of signature type 2. */
export function quickWallet(): QuickWallet {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const { x = '' } = publicKey.export({ format: 'jwk' });
  return { owner: Buffer.from(x, 'base64url'), key: privateKey };
}

/** A signed data item of type 2. */
export function quickItem(
  wallet: QuickWallet,
  fields: { readonly target?: Id; readonly tags: readonly Tag[]; readonly data: Uint8Array },
): SignedItem {
  const parts = {
    signatureType: 2,
    owner: wallet.owner,
    target: fields.target === undefined ? undefined : idToBytes(fields.target),
    anchor: randomBytes(32),
    tags: fields.tags,
  } as const;
  const message = signatureMessageSync(parseDataItem(encodeUnsigned(parts, fields.data), 'posted'));
  const signature = sign(null, message, wallet.key);
  const bytes = encodeDataItem({ ...parts, signature }, fields.data);
  const id = createHash('sha256').update(signature).digest('base64url') as Id;
  return { id, bytes };
}

/** A signed process. */
export function quickProcess(wallet: QuickWallet): SignedItem {
  const anyId = randomBytes(32).toString('base64url');
  return quickItem(wallet, {
    tags: [
      { name: 'Data-Protocol', value: 'ao' },
      { name: 'Variant', value: 'ao.TN.1' },
      { name: 'Type', value: 'Process' },
      { name: 'Module', value: anyId },
      { name: 'Scheduler', value: anyId },
    ],
    data: Buffer.from('1984'),
  });
}

/** A signed message for a process, of about `dataBytes` and half a kilobyte around. */
export function quickMessage(wallet: QuickWallet, processId: Id, dataBytes = 16): SignedItem {
  return quickItem(wallet, {
    target: processId,
    tags: [
      { name: 'Data-Protocol', value: 'ao' },
      { name: 'Variant', value: 'ao.TN.1' },
      { name: 'Type', value: 'Message' },
      { name: 'Action', value: 'Transfer' },
    ],
    data: Buffer.from(
      randomBytes(Math.ceil(dataBytes / 2))
        .toString('hex')
        .slice(0, dataBytes),
    ),
  });
}
