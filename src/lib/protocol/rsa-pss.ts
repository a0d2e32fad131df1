import {
  constants,
  createPublicKey,
  verify,
  type KeyObject,
  type VerifyKeyObjectInput,
} from 'node:crypto';
import { promisify } from 'node:util';
import { withoutStacks } from '../without-stacks.js';
import { toBase64Url } from './ids.js';

/** With a callback `verify` runs on the thread pool, without one it would block. */
const verifyOnThreadPool = promisify(verify);

/** 65537, the exponent of every Arweave key: the owner bytes hold the modulus alone. */
const EXPONENT = 'AQAB';

/** The public key of the modulus `owner`. */
export function rsaKeyOf(owner: Uint8Array): KeyObject {
  return createPublicKey({
    key: { kty: 'RSA', n: toBase64Url(owner), e: EXPONENT },
    format: 'jwk',
  });
}

/** How RSA-PSS is verified under a key, with a salt of any length. */
export function pssUnder(key: KeyObject): VerifyKeyObjectInput {
  return {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_AUTO,
  };
}

/**
 * Whether `signature` is RSA-PSS with SHA-256 over `message` under the modulus `owner`, with a salt of any length.
 * On the thread pool. The key is made anew each time: that takes 8 µs, next to 170 for the verification,
 * so a cache of keys would be state for nothing.
 */
export function verifyRsaPss(
  owner: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  return withoutStacks(() =>
    verifyOnThreadPool('sha256', message, pssUnder(rsaKeyOf(owner)), signature),
  );
}
