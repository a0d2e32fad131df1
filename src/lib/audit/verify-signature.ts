import { verify, type KeyObject } from 'node:crypto';
import type { DataItem } from '../protocol/data-item.js';
import { signatureMessage } from '../protocol/deep-hash.js';
import { toBase64Url } from '../protocol/ids.js';
import { pssUnder, rsaKeyOf } from '../protocol/rsa-pss.js';
import { verifySecp256k1 } from '../protocol/secp256k1.js';
import { verifyDataItem } from '../protocol/signature-types.js';
import { withoutStacks } from '../without-stacks.js';

const KEYS_MAX = 256;

/**
 * Verifies signatures on the thread it is called on: for threads that do nothing else. What the server uses goes through
 * libuv's pool, which has a fixed number of threads however many cores there are.
 */
export class SignatureVerifier {
  /** RSA keys by owner: one wallet signs all assignments, and its key need not be imported for each. */
  readonly #keys = new Map<string, KeyObject>();

  /** Whether the owner signed the item. */
  async verify(item: DataItem): Promise<boolean> {
    const { signatureType, owner, signature } = item;
    switch (signatureType) {
      case 1:
        return this.#verifyRsa(owner, await signatureMessage(item), signature);
      case 3:
      case 7: {
        const message = await signatureMessage(item);
        return verifySecp256k1({ signatureType, owner, message, signature });
      }
      case 2:
      case 4:
      case 5:
      case 6:
        return verifyDataItem(item);
    }
  }

  /** RSA-PSS over SHA-256, e = 65537, a salt of any length (ANS-104 signature type 1). */
  #verifyRsa(owner: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
    return withoutStacks(() => verify('sha256', message, pssUnder(this.#keyOf(owner)), signature));
  }

  #keyOf(owner: Uint8Array): KeyObject {
    const n = toBase64Url(owner);
    const known = this.#keys.get(n);
    if (known !== undefined) return known;
    if (this.#keys.size >= KEYS_MAX) this.#keys.clear();
    const key = rsaKeyOf(owner);
    this.#keys.set(n, key);
    return key;
  }
}
