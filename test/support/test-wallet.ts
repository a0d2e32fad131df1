import {
  constants,
  createPrivateKey,
  generateKeyPair,
  randomBytes,
  sign,
  type JsonWebKey,
} from 'node:crypto';
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { sha256Id, type Id } from '../../src/lib/protocol/ids.js';

/** A real RSA-4096 wallet for tests. */
export interface TestWallet {
  readonly jwk: JsonWebKey;
  /** The RSA modulus, 512 bytes. */
  readonly owner: Uint8Array;
  readonly address: Id;
  /** RSA-PSS over SHA-256 with the longest salt, on the thread pool; 512 bytes. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/su-test-wallets/', import.meta.url));

/** Where the wallet of this name is kept as a JWK file, once `testWallet` has made it. */
export function testWalletPath(name: string): string {
  return `${CACHE}${name}.json`;
}

async function generate(): Promise<JsonWebKey> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 4096 });
  return privateKey.export({ format: 'jwk' });
}

async function readCached(name: string): Promise<JsonWebKey | undefined> {
  try {
    return JSON.parse(await readFile(testWalletPath(name), 'utf8')) as JsonWebKey;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Several test processes may make one wallet at the same moment: each writes a file of its own and gives it
 * the name with `link`, which only the first can do and which never shows half a file. All then read the same.
 */
async function readOrMake(name: string): Promise<JsonWebKey> {
  const cached = await readCached(name);
  if (cached !== undefined) return cached;
  const made = await generate();
  await mkdir(CACHE, { recursive: true });
  const own = `${CACHE}${name}.${process.pid}.${randomBytes(6).toString('hex')}`;
  await writeFile(own, JSON.stringify(made), { mode: 0o600 });
  try {
    await link(own, testWalletPath(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await unlink(own);
  }
  return (await readCached(name)) ?? made;
}

async function openWallet(name: string): Promise<TestWallet> {
  const jwk = await readOrMake(name);
  const key = {
    key: createPrivateKey({ key: jwk, format: 'jwk' }),
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
  };
  const owner = new Uint8Array(Buffer.from(jwk.n ?? '', 'base64url'));
  return {
    jwk,
    owner,
    address: sha256Id(owner),
    sign: (message) =>
      new Promise((resolve, reject) => {
        sign('sha256', message, key, (error, signature) => {
          if (error === null) resolve(signature);
          else reject(error);
        });
      }),
  };
}

const opened = new Map<string, Promise<TestWallet>>();

/**
 * The RSA-4096 wallet of this name: made once (several seconds, so give the hook that calls it 60 s), kept below
 * node_modules/.cache, the same for every test of every run.
 */
export function testWallet(name: string): Promise<TestWallet> {
  const known = opened.get(name);
  if (known !== undefined) return known;
  const opening = openWallet(name);
  opened.set(name, opening);
  return opening;
}
