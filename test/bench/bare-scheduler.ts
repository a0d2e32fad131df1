import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { openBareCommits, type CommitPlace } from './bare-commits.js';
import { openBareSigner } from './bare-signer.js';

/*
 * A program of its own: the least that any server on Node does for a message. It reads a body, verifies a signature, makes one,
 * commits an entry and answers, each with Node's own means, and looks at nothing. What it takes beyond the sum of these
 * steps is the way between programs and threads. Arguments: wallet file, CommitPlace as JSON. Sends its port to its parent.
 */
const [, , walletFile = '', place = ''] = process.argv;
const signer = openBareSigner(walletFile);
const commits = await openBareCommits(JSON.parse(place) as CommitPlace);

const posted = randomBytes(48);
const postedSignature = await signer.sign(posted);

const server = createServer((request, response) => {
  const parts: Buffer[] = [];
  request.on('data', (part: Buffer) => parts.push(part));
  request.on('end', () => {
    void (async () => {
      const isValid = await signer.verify(posted, postedSignature);
      await signer.sign(randomBytes(48));
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
