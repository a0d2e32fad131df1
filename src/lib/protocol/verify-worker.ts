import { parentPort } from 'node:worker_threads';
import { invariant } from '../errors.js';
import { verifySecp256k1, type Secp256k1Signature } from './secp256k1.js';

/** A signature to verify, with a number that the answer carries back. */
export interface VerifyRequest {
  readonly request: number;
  readonly job: Secp256k1Signature;
}

/** The answer to a request. */
export interface VerifyAnswer {
  readonly request: number;
  readonly verified: boolean;
}

// This file is the entry of a worker thread (`secp256k1-thread.ts` starts it) and is never imported for its code.
const port = parentPort;
invariant(port !== null, 'verify-worker runs in a worker thread');

port.on('message', ({ request, job }: VerifyRequest) => {
  const answer: VerifyAnswer = { request, verified: verifySecp256k1(job) };
  port.postMessage(answer);
});
