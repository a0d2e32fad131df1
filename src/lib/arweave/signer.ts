import { constants, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { SuError, invariant } from '../errors.js';
import type { Signer } from '../scheduler/ports.js';
import { withoutStacks } from '../without-stacks.js';
import type { Wallet } from './wallet.js';

/** The longest salt that fits RSA-4096 with SHA-256 (512 - 32 - 2), which all recorded SU signatures have. */
const SALT_BYTES = 478;
const SIGNATURE_BYTES = 512;

/**
 * The wallet as a Signer. Each signature runs on libuv's thread pool; how many may run at once is for the caller
 * to bound. One signature is made and verified before the signer is given out, so that a key whose parts do
 * not belong together is found at start and not at the first message.
 *
 * @throws SuError `invalid-wallet` when the key's signature does not verify under its own modulus
 */
export async function openSigner(wallet: Wallet): Promise<Signer> {
  const key = {
    key: wallet.key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: SALT_BYTES,
  };
  const signer: Signer = {
    address: wallet.address,
    owner: wallet.owner,
    sign: (message) =>
      new Promise((resolve, reject) => {
        withoutStacks(() =>
          sign('sha256', message, key, (error, signature) => {
            if (error === null) resolve(signature);
            else reject(error);
          }),
        );
      }),
  };
  await proveKey(signer, wallet);
  return signer;
}

async function proveKey(signer: Signer, wallet: Wallet): Promise<void> {
  const sample = Buffer.from('ao-su');
  const publicKey = {
    key: {
      kty: 'RSA',
      n: Buffer.from(wallet.owner).toString('base64url'),
      e: 'AQAB',
    },
    format: 'jwk',
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: SALT_BYTES,
  } as const;
  let proven = false;
  try {
    const signature = await signer.sign(sample);
    invariant(signature.byteLength === SIGNATURE_BYTES, 'a signature of RSA-4096 has 512 bytes');
    proven = await promisify(verify)('sha256', sample, publicKey, signature);
  } catch (cause) {
    throw new SuError('invalid-wallet', `the wallet ${wallet.file} cannot sign`, { cause });
  }
  if (!proven) {
    throw new SuError(
      'invalid-wallet',
      `the wallet ${wallet.file} is damaged: its private and public parts are of different keys`,
    );
  }
}
