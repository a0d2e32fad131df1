import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';

/** What is needed to verify one secp256k1 signature: no more than some two hundred bytes. */
export interface Secp256k1Signature {
  /** 3: personal_sign under an uncompressed key; 7: EIP-712 typed data under an address */
  readonly signatureType: 3 | 7;
  readonly owner: Uint8Array;
  /** The deep hash that was signed. */
  readonly message: Uint8Array;
  /** r, s and v */
  readonly signature: Uint8Array;
}

const RS_BYTES = 64;
const ADDRESS_BYTES = 20;

/** v of a recoverable signature is 27 plus the parity of the point. */
const V_BASE = 27;

function text(value: string): Uint8Array {
  return Buffer.from(value, 'utf8');
}

function keccak(...parts: readonly Uint8Array[]): Uint8Array {
  return keccak_256(Buffer.concat(parts));
}

/** The hash that `personal_sign` signs (EIP-191 version 0x45). */
function personalHash(message: Uint8Array): Uint8Array {
  return keccak(text(`\u0019Ethereum Signed Message:\n${message.length}`), message);
}

/** The domain that arbundles signs under, `{name: "Bundlr", version: "1"}` (`TypedEthereumSigner.ts`). */
const DOMAIN_HASH = keccak(
  keccak(text('EIP712Domain(string name,string version)')),
  keccak(text('Bundlr')),
  keccak(text('1')),
);

const STRUCT_TYPE_HASH = keccak(text('Bundlr(bytes Transaction hash,address address)'));

/** The hash of the typed data that holds the message and the signer's address (EIP-712). */
function typedHash(message: Uint8Array, address: Uint8Array): Uint8Array {
  const padding = new Uint8Array(32 - ADDRESS_BYTES);
  const struct = keccak(STRUCT_TYPE_HASH, keccak(message), padding, address);
  return keccak(Uint8Array.of(0x19, 0x01), DOMAIN_HASH, struct);
}

/**
 * The uncompressed key that made `signature`, or undefined when none did. v must be 27 or 28 and s in the
 * lower half: every other form of the same signature would give the same message a second id.
 */
function recoverKey(hash: Uint8Array, signature: Uint8Array): Uint8Array | undefined {
  const { buffer, byteOffset, byteLength } = signature;
  const recovery = new DataView(buffer, byteOffset, byteLength).getUint8(RS_BYTES) - V_BASE;
  if (recovery !== 0 && recovery !== 1) return undefined;
  try {
    const parsed = secp256k1.Signature.fromBytes(signature.subarray(0, RS_BYTES), 'compact');
    if (parsed.hasHighS()) return undefined;
    return parsed.addRecoveryBit(recovery).recoverPublicKey(hash).toBytes(false);
  } catch {
    // r or s out of range, or r not on the curve: the library says so by throwing, to us it is a plain no.
    return undefined;
  }
}

function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}

/** Type 3: the owner is the key itself, 0x04 first; equal keys are equal addresses. */
function verifyPersonal({ owner, message, signature }: Secp256k1Signature): boolean {
  const key = recoverKey(personalHash(message), signature);
  return key !== undefined && areEqual(key, owner);
}

/** Type 7: the owner is the address as text; its case, which may carry a checksum, does not matter. */
function verifyTyped({ owner, message, signature }: Secp256k1Signature): boolean {
  const match = /^0x([0-9a-fA-F]{40})$/.exec(Buffer.from(owner).toString('latin1'));
  const hex = match?.[1];
  if (hex === undefined) return false;
  const address = Buffer.from(hex, 'hex');
  const key = recoverKey(typedHash(message, address), signature);
  return key !== undefined && areEqual(keccak(key.subarray(1)).subarray(-ADDRESS_BYTES), address);
}

/**
 * Whether a secp256k1 signature verifies. Takes 2 to 3 ms of pure JavaScript, so it runs in a thread
 * (`verify-worker.ts`) and never on the event loop.
 */
export function verifySecp256k1(job: Secp256k1Signature): boolean {
  return job.signatureType === 3 ? verifyPersonal(job) : verifyTyped(job);
}
