import {
  constants,
  createPrivateKey,
  createPublicKey,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openBareCommits, type CommitPlace } from './bare-commits.js';

/*
 * A program of its own: the least that any server on Node does for a message. It reads a body, verifies a signature, makes one,
 * commits an entry and answers, each with Node's own means, and looks at nothing. What it takes beyond the sum of these
 * steps is the way between programs and threads. Arguments: wallet file, CommitPlace as JSON. Sends its port to its parent.
 */
const [, , walletFile = '', place = ''] = process.argv;
const jwk = JSON.parse(readFileSync(walletFile, 'utf8'));
const key = createPrivateKey({ key: jwk, format: 'jwk' });
const publicKey = createPublicKey(key);
const PSS = {
  padding: constants.RSA_PKCS1_PSS_PADDING,
  saltLength: constants.RSA_PSS_SALTLEN_MAX_SIGN,
};
const commits = await openBareCommits(JSON.parse(place) as CommitPlace);

function signed(message: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    sign('sha256', message, { key, ...PSS }, (error, signature) =>
      error === null ? resolve(signature) : reject(error),
    );
  });
}

function verified(message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    verify('sha256', message, { key: publicKey, ...PSS }, signature, (error, isValid) =>
      error === null ? resolve(isValid) : reject(error),
    );
  });
}

const posted = randomBytes(48);
const postedSignature = await signed(posted);

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    void (async () => {
      const isValid = await verified(posted, postedSignature);
      await signed(randomBytes(48));
      await commits.commit();
      const answer = JSON.stringify({ isValid, bytes: Buffer.concat(parts).length });
      response.setHeader('content-type', 'application/json');
      response.setHeader('content-length', answer.length);
      response.end(answer);
    })();
  });
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit(0));
