import { constants, createPrivateKey, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

/*
 * A program of its own: how many RSA-4096 signatures a second this machine makes with so many under way at once.
 * Arguments: wallet file, signatures at once, milliseconds. Prints the rate.
 */
const [walletFile = '', atOnce = '1', durationMs = '1000'] = process.argv.slice(2);
const key = {
  key: createPrivateKey({ key: JSON.parse(readFileSync(walletFile, 'utf8')), format: 'jwk' }),
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
};

let signatures = 0;
const begun = performance.now();
const until = begun + Number(durationMs);

function signOnce(): Promise<void> {
  return new Promise((resolve, reject) => {
    sign('sha256', randomBytes(48), key, (error) => (error === null ? resolve() : reject(error)));
  });
}

async function lane(): Promise<void> {
  while (performance.now() < until) {
    await signOnce();
    signatures += 1;
  }
}

await signOnce();
await Promise.all(Array.from({ length: Number(atOnce) }, lane));
process.stdout.write(String((signatures * 1000) / (performance.now() - begun)));
