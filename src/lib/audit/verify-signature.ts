import { constants, createPublicKey, verify, type KeyObject } from 'node:crypto';
import type { DataItem } from '../protocol/data-item.js';
import { signatureMessage } from '../protocol/deep-hash.js';
import { toBase64Url } from '../protocol/ids.js';
import { verifySecp256k1 } from '../protocol/secp256k1.js';
import { verifyDataItem } from '../protocol/signature-types.js';

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
    const options = {
      key: this.#keyOf(owner),
      padding: constants.RSA_PKCS1_PSS_PADDING,
      saltLength: constants.RSA_PSS_SALTLEN_AUTO,
    };
    return verify('sha256', message, options, signature);
  }

  #keyOf(owner: Uint8Array): KeyObject {
    const n = toBase64Url(owner);
    const known = this.#keys.get(n);
    if (known !== undefined) return known;
    if (this.#keys.size >= KEYS_MAX) this.#keys.clear();
    const key = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' });
    this.#keys.set(n, key);
    return key;
  }
}
