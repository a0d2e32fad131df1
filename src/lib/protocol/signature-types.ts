import { signatureMessage, type SignedFields } from './deep-hash.js';
import { verifyEd25519, verifyMultiAptos } from './ed25519.js';
import { verifyRsaPss } from './rsa-pss.js';
import { Secp256k1Thread } from './secp256k1-thread.js';

/** The number that a data item begins with: who may have signed it, and how. */
export type SignatureType = 1 | 2 | 3 | 4 | 5 | 6 | 7;

/** Sizes that a signature type fixes. */
export interface SignatureTypeSizes {
  readonly name: string;
  readonly signatureBytes: number;
  readonly ownerBytes: number;
}

/** The signature types of ANS-104 in use, with their names and sizes in arbundles (`src/constants.ts`). */
export const SIGNATURE_TYPES: Readonly<Record<SignatureType, SignatureTypeSizes>> = {
  1: { name: 'arweave', signatureBytes: 512, ownerBytes: 512 },
  2: { name: 'ed25519', signatureBytes: 64, ownerBytes: 32 },
  3: { name: 'ethereum', signatureBytes: 65, ownerBytes: 65 },
  4: { name: 'solana', signatureBytes: 64, ownerBytes: 32 },
  5: { name: 'injectedAptos', signatureBytes: 64, ownerBytes: 32 },
  6: { name: 'multiAptos', signatureBytes: 2052, ownerBytes: 1025 },
  7: { name: 'typedEthereum', signatureBytes: 65, ownerBytes: 42 },
};

/** True for the numbers of the signature types we know. */
export function isSignatureType(value: number): value is SignatureType {
  return Object.hasOwn(SIGNATURE_TYPES, value);
}

/** The parts of a data item that its verification looks at. */
export interface SignedItem extends SignedFields {
  readonly signatureType: SignatureType;
  readonly signature: Uint8Array;
}

/**
 * One thread for the whole program: it holds no state that matters, starts at the first signature that needs
 * it and does not keep the program alive.
 */
const secp256k1Thread = new Secp256k1Thread();

function hexText(bytes: Uint8Array): Uint8Array {
  return Buffer.from(Buffer.from(bytes).toString('hex'), 'latin1');
}

/** The text that an Aptos wallet shows and signs in place of the bare message. */
function aptosText(message: Uint8Array): Uint8Array {
  const hex = Buffer.from(message).toString('hex');
  return Buffer.from(`APTOS\nmessage: ${hex}\nnonce: bundlr`, 'latin1');
}

/**
 * Whether the owner of a data item signed it. The curve and RSA work happens off the event loop: on libuv's
 * thread pool, and for secp256k1, which Node cannot verify over keccak, in a thread of our own. What each
 * type signs: arbundles `src/signing/chains`.
 *
 * @throws SuError `scheduler-busy` when too many secp256k1 signatures wait, or their thread died
 */
export async function verifyDataItem(item: SignedItem): Promise<boolean> {
  const { signatureType, owner, signature } = item;
  const message = await signatureMessage(item);
  switch (signatureType) {
    case 1:
      return verifyRsaPss(owner, message, signature);
    case 2:
      return verifyEd25519(owner, message, signature);
    case 4:
      return verifyEd25519(owner, hexText(message), signature);
    case 5:
      return verifyEd25519(owner, aptosText(message), signature);
    case 6:
      return verifyMultiAptos(owner, message, signature);
    case 3:
    case 7:
      return secp256k1Thread.verify({ signatureType, owner, message, signature });
  }
}

/**
 * Ends the thread that verifies secp256k1 signatures; one that is asked for later starts it again. For
 * tests and for a shutdown that wants no thread left behind.
 */
export function closeVerification(): Promise<void> {
  return secp256k1Thread.close();
}
