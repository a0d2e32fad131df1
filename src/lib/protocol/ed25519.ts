import { createPublicKey, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { withoutStacks } from '../without-stacks.js';
import { toBase64Url } from './ids.js';

const KEY_BYTES = 32;
const SIGNATURE_BYTES = 64;
const KEYS_MAX = 32;
const KEYS_BYTES = KEYS_MAX * KEY_BYTES;
const SIGNATURES_BYTES = KEYS_MAX * SIGNATURE_BYTES;

/**
 * The points of small order, all spellings, without the sign bit (as in libsodium's `ge25519_has_small_order`). Under such a key one
 * signature fits many messages, so two contents could share an id.
 */
const SMALL_ORDER_KEYS: ReadonlySet<string> = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
]);

/** With a callback `verify` runs on the thread pool, without one it would block. */
const verifyOnThreadPool = promisify(verify);

/**
 * Whether `signature` is Ed25519 over `message` under the key `owner`, as OpenSSL decides it (RFC 8032 without
 * the cofactor; s below the group's order, so a signature has one form), and never under a key of small order. On
 * the thread pool.
 */
export async function verifyEd25519(
  owner: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (hasSmallOrder(owner)) return false;
  // A JWK, because the same import from SPKI takes ten times as long (109 against 9 µs).
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: toBase64Url(owner) };
  const key = withoutStacks(() => createPublicKey({ key: jwk, format: 'jwk' }));
  return verifyOnThreadPool(null, message, key, signature);
}

function hasSmallOrder(key: Uint8Array): boolean {
  const bytes = Buffer.from(key);
  bytes.writeUInt8(bytes.readUInt8(KEY_BYTES - 1) & 0x7f, KEY_BYTES - 1);
  return SMALL_ORDER_KEYS.has(bytes.toString('hex'));
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface SignedSlot {
  readonly key: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * The slots whose bit is set, or undefined when the form is not the one honest signers make. A slot without
 * a key (all zeros) is a point of order four, under which anybody finds a valid signature within a few tries,
 * so its bit must not be set. A slot whose bit is not set must hold zeros: nobody signs those
 * bytes, and changing them would give the same message a second id.
 */
function readSlots(owner: Uint8Array, signature: Uint8Array): SignedSlot[] | undefined {
  const slots: SignedSlot[] = [];
  // Four bytes, each from its highest bit: one big-endian number with the first key at its highest bit.
  const bitmap = viewOf(signature).getUint32(SIGNATURES_BYTES);
  for (let index = 0; index < KEYS_MAX; index += 1) {
    const isSet = ((bitmap >>> (KEYS_MAX - 1 - index)) & 1) === 1;
    const key = owner.subarray(index * KEY_BYTES, (index + 1) * KEY_BYTES);
    const slot = signature.subarray(index * SIGNATURE_BYTES, (index + 1) * SIGNATURE_BYTES);
    if (isSet ? isZero(key) : !isZero(slot)) return undefined;
    if (isSet) slots.push({ key, signature: slot });
  }
  return slots;
}

/**
 * Whether enough of up to 32 keys signed `message`. `owner` holds the keys and, in its last byte, the threshold;
 * `signature` holds a signature per key and a bitmap of four bytes, the first key at the highest bit of the
 * first (Aptos `MultiEd25519`). Every set bit must verify, and the keys that signed, each counted once
 * however often it is listed, must reach a threshold of at least one. On the thread pool.
 */
export async function verifyMultiAptos(
  owner: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  const threshold = viewOf(owner).getUint8(KEYS_BYTES);
  if (threshold === 0) return false;
  const slots = readSlots(owner, signature);
  if (slots === undefined) return false;
  const distinctKeys = new Set(slots.map((slot) => toBase64Url(slot.key)));
  if (distinctKeys.size < threshold) return false;
  const verified = await Promise.all(
    slots.map((slot) => verifyEd25519(slot.key, message, slot.signature)),
  );
  return verified.every(Boolean);
}
