import { constants, createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** RSA-PSS with Node's own means and nothing of ours, in the thread pool. */
export interface BareSigner {
  sign(message: Uint8Array): Promise<Buffer>;
  verify(message: Uint8Array, signature: Uint8Array): Promise<boolean>;
}

const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
};

/** Reads a wallet's key. */
export function openBareSigner(walletFile: string): BareSigner {
  const key = createPrivateKey({
    key: JSON.parse(readFileSync(walletFile, 'utf8')),
    format: 'jwk',
  });
  const publicKey = createPublicKey(key);
  return {
    sign: (message) =>
      new Promise((resolve, reject) => {
        sign('sha256', message, { key, ...PSS }, (error, signature) =>
          error === null ? resolve(signature) : reject(error),
        );
      }),
    verify: (message, signature) =>
      new Promise((resolve, reject) => {
        verify('sha256', message, { key: publicKey, ...PSS }, signature, (error, isValid) =>
          error === null ? resolve(isValid) : reject(error),
        );
      }),
  };
}
