import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import {
  AptosSigner,
  ArweaveSigner,
  createData,
  EthereumSigner,
  HexSolanaSigner,
  InjectedAptosSigner,
  MultiSignatureAptosSigner,
  TypedEthereumSigner,
  type JWKInterface,
  type Signer,
} from 'arbundles';
import type { SignatureType } from '../../src/lib/protocol/signature-types.js';
import { testWallet } from '../support/test-wallet.js';

/** What the items of a test hold, apart from owner and signature. */
export interface OracleParts {
  readonly target?: string;
  /** 32 ASCII characters */
  readonly anchor?: string;
  readonly tags?: { name: string; value: string }[];
}

/** An Ed25519 key pair that is the same in every run. */
export interface Ed25519Key {
  readonly seed: Buffer;
  readonly privateKey: KeyObject;
  readonly publicBytes: Buffer;
}

/** The Ed25519 key that this byte, repeated, is the seed of. */
export function ed25519Key(fill: number): Ed25519Key {
  const seed = Buffer.alloc(32, fill);
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { seed, privateKey, publicBytes: Buffer.from(x, 'base64url') };
}

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** Base58 of bytes that do not begin with a zero, the form in which Solana wallets give their keys. */
function base58(bytes: Uint8Array): string {
  let text = '';
  let rest = BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
  for (; rest > 0n; rest /= 58n) text = `${BASE58[Number(rest % 58n)] ?? ''}${text}`;
  return text;
}

const SECP256K1_KEY = '1f'.repeat(32);

/** What an Aptos wallet does when a page asks it to sign. */
function aptosWallet(key: Ed25519Key) {
  return {
    signMessage: ({ message, nonce }: { message: string; nonce: string }) => {
      const shown = Buffer.from(`APTOS\nmessage: ${message}\nnonce: ${nonce}`);
      return Promise.resolve({ signature: sign(null, shown, key.privateKey).toString('hex') });
    },
  };
}

/** The keys at these slots and a threshold, as the owner of a multi-signature account. */
export function multiOwner(slots: ReadonlyMap<number, Ed25519Key>, threshold: number): Buffer {
  const owner = Buffer.alloc(1025);
  for (const [slot, key] of slots) owner.set(key.publicBytes, slot * 32);
  owner[1024] = threshold;
  return owner;
}

/** arbundles' signer of a multi-signature account of which the keys at `signing` sign. */
export function multiSigner(
  slots: ReadonlyMap<number, Ed25519Key>,
  threshold: number,
  signing: readonly number[],
): Signer {
  return new MultiSignatureAptosSigner(multiOwner(slots, threshold), (message) => {
    const keys = signing.flatMap((slot) => slots.get(slot) ?? []);
    const signatures = keys.map((key) => sign(null, message, key.privateKey));
    return Promise.resolve({ signatures, bitmap: [...signing] });
  });
}

/** arbundles' own signer for a signature type, with a key that is the same in every run. */
export async function oracleSigner(signatureType: SignatureType): Promise<Signer> {
  const key = ed25519Key(7);
  switch (signatureType) {
    case 1:
      return new ArweaveSigner((await testWallet('user')).jwk as JWKInterface);
    case 2:
      return new AptosSigner(
        `0x${key.seed.toString('hex')}`,
        `0x${key.publicBytes.toString('hex')}`,
      );
    case 3:
      return new EthereumSigner(SECP256K1_KEY);
    case 4:
      return new HexSolanaSigner(base58(Buffer.concat([key.seed, key.publicBytes])));
    case 5:
      return new InjectedAptosSigner(aptosWallet(key), key.publicBytes);
    case 6:
      return multiSigner(
        new Map([
          [0, ed25519Key(1)],
          [1, ed25519Key(2)],
          [9, ed25519Key(3)],
        ]),
        2,
        [0, 9],
      );
    case 7:
      return new TypedEthereumSigner(SECP256K1_KEY);
  }
}

/** A data item made and signed by arbundles alone. */
export async function oracleItem(
  signer: Signer,
  data: string | Uint8Array,
  parts: OracleParts = {},
): Promise<Buffer> {
  const item = createData(data, signer, parts);
  await item.sign(signer);
  return item.getRaw();
}
