import { createPrivateKey, randomBytes } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import { link, open, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SuError } from '../errors.js';
import { sha256Id, type Id } from '../protocol/ids.js';

/** An RSA-4096 JWK has 3.2 KB; a larger file is something else. */
const WALLET_BYTES_MAX = 65_536;
const KEY_BITS = 4096;
const OWNER_BYTES = KEY_BITS / 8;

/** A wallet that was read and checked. The private key stays inside its KeyObject, so that printing a wallet shows no secret. */
export interface Wallet {
  readonly file: string;
  /** base64url(SHA-256(owner)) */
  readonly address: Id;
  /** The RSA modulus, 512 bytes. */
  readonly owner: Uint8Array;
  readonly key: KeyObject;
}

/** What `su wallet:info` shows. */
export interface WalletDescription {
  readonly address: Id;
  readonly keyBits: number;
  readonly file: string;
}

/**
 * Reads an Arweave wallet: a JSON Web Key (RFC 7517) with an RSA-4096 private key and e = 65537.
 *
 * @throws SuError `invalid-wallet`, saying what the file holds instead; never with key material
 */
export async function readWallet(file: string): Promise<Wallet> {
  const jwk = parseJwk(await readWalletFile(file), file);
  const key = privateKeyOf(jwk, file);
  const owner = new Uint8Array(Buffer.from(jwk.n as string, 'base64url'));
  return { file, address: sha256Id(owner), owner, key };
}

/**
 * Address, key size and file of a wallet.
 *
 * @throws SuError `invalid-wallet`
 */
export async function describeWallet(file: string): Promise<WalletDescription> {
  const wallet = await readWallet(file);
  return { address: wallet.address, keyBits: KEY_BITS, file };
}

/**
 * Makes an RSA-4096 wallet, mode 0600, and puts it at `file` in one step: the file is either absent or whole,
 * and one that exists is never replaced.
 *
 * @throws SuError `invalid-wallet` when `file` exists or cannot be written
 */
export async function createWallet(file: string): Promise<Wallet> {
  // Loaded only here: the package is large and only a first start makes a wallet.
  const { default: Arweave } = await import('arweave');
  const jwk = await Arweave.init({}).wallets.generate();
  const draft = `${file}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await writeSynced(draft, `${JSON.stringify(jwk)}\n`);
    // A hard link fails when the name is taken, where a rename would replace what is there.
    await link(draft, file);
    await syncFolder(dirname(file));
  } catch (cause) {
    throw new SuError('invalid-wallet', unwritableReason(file, cause), { cause });
  } finally {
    await unlink(draft).catch(() => undefined); // absent when it was never made
  }
  return readWallet(file);
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function unwritableReason(file: string, cause: unknown): string {
  const code = errorCode(cause);
  if (code === 'EEXIST') return `the wallet ${file} exists already and is not replaced`;
  return `the wallet ${file} cannot be written (${code})`;
}

async function readWalletFile(file: string): Promise<string> {
  const refuse = (why: string, cause?: unknown): SuError =>
    new SuError('invalid-wallet', `the wallet ${file} ${why}`, { cause });
  const handle = await open(file, 'r').catch((cause: unknown) => {
    const code = errorCode(cause);
    throw refuse(code === 'ENOENT' ? 'does not exist' : `cannot be opened (${code})`, cause);
  });
  try {
    const stat = await handle.stat();
    if (!stat.isFile())
      throw refuse(stat.isDirectory() ? 'is a folder, not a file' : 'is not a file');
    if (stat.size === 0) throw refuse('is empty');
    if (stat.size > WALLET_BYTES_MAX) {
      throw refuse(`has ${stat.size} bytes: no wallet is larger than ${WALLET_BYTES_MAX}`);
    }
    return await handle.readFile('utf8');
  } catch (cause) {
    throw cause instanceof SuError ? cause : refuse(`cannot be read (${errorCode(cause)})`, cause);
  } finally {
    await handle.close();
  }
}

function parseJwk(text: string, file: string): JsonWebKey {
  const expected = 'expected the JSON of an RSA-4096 private key (JWK)';
  const refuse = (what: string): SuError =>
    new SuError('invalid-wallet', `the wallet ${file} ${what}; ${expected}`);
  if (/-----BEGIN [A-Z ]+-----/.test(text)) throw refuse('is a PEM file');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes what it read, which may be half of a key.
    throw refuse('is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw refuse(`is JSON but ${Array.isArray(value) ? 'an array' : 'not an object'}`);
  }
  if ('keys' in value) throw refuse('is a set of keys');
  const jwk = value as JsonWebKey;
  if (jwk.kty === undefined) throw refuse('is JSON without "kty", so not a key');
  if (jwk.kty !== 'RSA') throw refuse(`holds a key of another kind (${kindOf(jwk)})`);
  const publicParts = [jwk.n, jwk.e];
  if (!publicParts.every(isBase64UrlText))
    throw refuse('is an RSA key without its modulus or exponent');
  const bits = modulusBits(jwk.n as string);
  if (bits !== KEY_BITS) throw refuse(`holds an RSA key of ${bits} bits`);
  if (jwk.e !== 'AQAB') throw refuse('holds an RSA key with another exponent than 65537');
  if (jwk.d === undefined) throw refuse('holds the public key only');
  const privateParts = [jwk.d, jwk.p, jwk.q, jwk.dp, jwk.dq, jwk.qi];
  if (!privateParts.every(isBase64UrlText)) throw refuse('lacks parts of its private key');
  return jwk;
}

function privateKeyOf(jwk: JsonWebKey, file: string): KeyObject {
  const damaged = `the wallet ${file} is damaged: the parts of its private key do not fit together`;
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: jwk, format: 'jwk' });
  } catch {
    throw new SuError('invalid-wallet', damaged);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength;
  // OpenSSL takes wrong primes without a word and then signs several times slower, without them.
  const primesFit =
    toNumber(jwk.p as string) * toNumber(jwk.q as string) === toNumber(jwk.n as string);
  if (bits !== KEY_BITS || !primesFit) throw new SuError('invalid-wallet', damaged);
  return key;
}

function toNumber(base64Url: string): bigint {
  return BigInt(`0x0${Buffer.from(base64Url, 'base64url').toString('hex')}`);
}

function kindOf(jwk: JsonWebKey): string {
  const known = ['EC', 'OKP', 'oct'].find((kind) => kind === jwk.kty) ?? 'unknown';
  const curve = typeof jwk.crv === 'string' && /^[\w-]{1,20}$/.test(jwk.crv) ? ` ${jwk.crv}` : '';
  return `${known}${curve}`;
}

function isBase64UrlText(value: unknown): value is string {
  return typeof value === 'string' && /^[\w-]+$/.test(value);
}

function modulusBits(modulus: string): number {
  const bytes = Buffer.from(modulus, 'base64url');
  const first = bytes.findIndex((byte) => byte !== 0);
  if (first === -1) return 0;
  const topBits = 32 - Math.clz32(bytes[first] as number);
  const bits = (bytes.length - first - 1) * 8 + topBits;
  // A leading zero byte makes another owner, and so another address, of the same number.
  return first > 0 && bits === KEY_BITS && bytes.length !== OWNER_BYTES ? bits + first * 8 : bits;
}

function errorCode(cause: unknown): string {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown error';
}
