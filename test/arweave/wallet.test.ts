import { constants, generateKeyPairSync, verify } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { SuError } from '../../src/lib/errors.js';
import { openSigner } from '../../src/lib/arweave/signer.js';
import { createWallet, describeWallet, readWallet } from '../../src/lib/arweave/wallet.js';

function rsaJwk(modulusLength: number): Record<string, string> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  return privateKey.export({ format: 'jwk' }) as Record<string, string>;
}

describe('wallet', function () {
  this.timeout(60_000);
  let folder: string;
  let good: Record<string, string>;
  let other: Record<string, string>;

  before(() => {
    good = rsaJwk(4096);
    other = rsaJwk(4096);
  });
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'su-wallet-'));
  });
  afterEach(async () => {
    await rm(folder, { recursive: true });
  });

  async function refusalOf(content: string | object): Promise<SuError> {
    const file = join(folder, 'wallet.json');
    await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
    return refusalOfFile(file);
  }

  async function refusalOfFile(file: string): Promise<SuError> {
    const error = await readWallet(file).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).to.be.instanceOf(SuError);
    expect((error as SuError).code).to.equal('invalid-wallet');
    return error as SuError;
  }

  it('describes an RSA-4096 wallet by address, key size and file', async () => {
    const file = join(folder, 'wallet.json');
    await writeFile(file, JSON.stringify(good));
    const description = await describeWallet(file);
    expect(description.keyBits).to.equal(4096);
    expect(description.file).to.equal(file);
    expect(description.address).to.match(/^[\w-]{43}$/);
  });

  it('makes a wallet that only its owner can read and that arweave clients know the address of', async () => {
    const file = join(folder, 'wallet.json');
    const wallet = await createWallet(file);
    expect((await stat(file)).mode & 0o777).to.equal(0o600);
    expect(await readdir(folder)).to.deep.equal(['wallet.json']);
    const { default: Arweave } = await import('arweave');
    const jwk = JSON.parse(await readFile(file, 'utf8')) as Parameters<
      ReturnType<typeof Arweave.init>['wallets']['jwkToAddress']
    >[0];
    expect(await Arweave.init({}).wallets.jwkToAddress(jwk)).to.equal(wallet.address);
  });

  it('never replaces a wallet that exists', async () => {
    const file = join(folder, 'wallet.json');
    await writeFile(file, 'precious');
    const error = await createWallet(file).catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'invalid-wallet');
    expect((error as SuError).message).to.contain('exists already');
    expect(await readFile(file, 'utf8')).to.equal('precious');
    expect(await readdir(folder)).to.deep.equal(['wallet.json']);
  });

  it('says what a file is when it is no wallet', async () => {
    const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...publicOnly } = good;
    const { privateKey: ec } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { privateKey: ed } = generateKeyPairSync('ed25519');
    const cases: [string | object, string][] = [
      ['', 'is empty'],
      ['{"kty": "RSA", "d": "secret', 'is not JSON'],
      [ed.export({ type: 'pkcs8', format: 'pem' }).toString(), 'is a PEM file'],
      ['[]', 'an array'],
      ['"text"', 'not an object'],
      [{ hello: 1 }, 'without "kty"'],
      [{ keys: [good] }, 'a set of keys'],
      [ec.export({ format: 'jwk' }), 'another kind (EC P-256)'],
      [ed.export({ format: 'jwk' }), 'another kind (OKP Ed25519)'],
      [rsaJwk(2048), 'RSA key of 2048 bits'],
      [publicOnly, 'the public key only'],
      [{ ...good, e: 'Aw' }, 'another exponent'],
      [{ ...publicOnly, d: good['d'] }, 'lacks parts'],
      [' '.repeat(65_537), 'no wallet is larger than 65536'],
    ];
    for (const [content, words] of cases) {
      expect((await refusalOf(content)).message).to.contain(words);
    }
    expect((await refusalOfFile(join(folder, 'absent.json'))).message).to.contain('does not exist');
    expect((await refusalOfFile(folder)).message).to.contain('is a folder');
  });

  it('quotes no key material in a refusal, in none of its parts', async () => {
    const secret = good['d'] as string;
    for (const content of [
      `{"d": "${secret}"`,
      `{"d": ${secret}}`,
      { kty: secret, d: secret },
      { kty: 'EC', crv: secret, d: secret },
      { ...good, p: 'AQAB' },
    ]) {
      const error = await refusalOf(content);
      const shown = `${error.stack} ${String(error.cause)} ${JSON.stringify(error.details)}`;
      expect(shown).not.to.contain(secret.slice(0, 12));
    }
  });

  it('signs with the longest salt, verifiable by anyone', async () => {
    const file = join(folder, 'wallet.json');
    await writeFile(file, JSON.stringify(good));
    const signer = await openSigner(await readWallet(file));
    const message = Buffer.from('an assignment');
    const signature = await signer.sign(message);
    const key = { key: { kty: 'RSA', n: good['n'] as string, e: 'AQAB' }, format: 'jwk' } as const;
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    expect(signature).to.have.length(512);
    expect(verify('sha256', message, { ...key, padding, saltLength: 478 }, signature)).to.equal(
      true,
    );
    expect(verify('sha256', message, { ...key, padding, saltLength: 32 }, signature)).to.equal(
      false,
    );
    expect(Buffer.from(signer.owner).toString('base64url')).to.equal(good['n']);
  });

  it('refuses at start a private key that belongs to another public one', async () => {
    const file = join(folder, 'wallet.json');
    await writeFile(file, JSON.stringify({ ...other, n: good['n'] }));
    const error = await readWallet(file)
      .then(openSigner)
      .catch((thrown: unknown) => thrown);
    expect(error).to.have.property('code', 'invalid-wallet');
  });
});
