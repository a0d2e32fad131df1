import { invariant } from '../errors.js';
import { idToBytes, isId, sha256, toBase64Url, type Id } from './ids.js';

/**
 * The `Hash-Chain` of a process's first assignment, whether that is its own or its first message's:
 * base64url of the SHA-256 of the process id. Units that compute the process recompute the chain from it.
 */
export function firstLink(processId: Id): string {
  return toBase64Url(sha256(idToBytes(processId)));
}

/**
 * The `Hash-Chain` of the assignment that follows: base64url of the SHA-256 of the previous assignment's id
 * and its own `Hash-Chain`, as bytes, one behind the other.
 *
 * @throws SuError `invariant` when the previous link is not a SHA-256 in base64url: no chain goes on from it
 */
export function nextLink(previousAssignmentId: Id, previousHashChain: string): string {
  invariant(isId(previousHashChain), 'the previous Hash-Chain is not a SHA-256 in base64url', {
    previousAssignmentId,
    previousHashChain,
  });
  return toBase64Url(sha256(idToBytes(previousAssignmentId), idToBytes(previousHashChain)));
}
