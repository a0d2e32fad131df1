import { createHash, hash } from 'node:crypto';
import { SuError } from '../errors.js';

/**
 * The id of a data item, a transaction, a process or a wallet: 32 bytes as 43 characters of base64url.
 * Made only by `parseId` and `idFromBytes`, and always canonical: one id has one spelling, so ids may be
 * compared and stored as text.
 */
export type Id = string & { readonly __brand: 'Id' };

const ID_BYTES = 32;

/** 43 characters hold 258 bits: the last one's two spare bits must be zero, which leaves 16 letters. */
const ID_PATTERN = /^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/;

const BASE64URL_PATTERN = /^[A-Za-z0-9_-]*$/;

/** How much of a refused value an error repeats: enough to recognise it, never a whole body. */
const SHOWN_CHARACTERS_MAX = 64;

/** `text` in quotes, cut to a length that is safe to put into an error or a log line. */
export function quoteBounded(text: string): string {
  return JSON.stringify(
    text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}…` : text,
  );
}

/** True when `text` is an id in its one canonical spelling. */
export function isId(text: string): text is Id {
  // The length first, so that a long hostile text costs nothing.
  return text.length === 43 && ID_PATTERN.test(text);
}

/**
 * Checks an id that came from outside.
 *
 * @param name what the value is called where it came from ("process-id", "assign"), for the error
 * @throws SuError `invalid-request` naming `name` and the value
 */
export function parseId(text: string, name: string): Id {
  if (isId(text)) return text;
  throw new SuError(
    'invalid-request',
    `${name} is ${quoteBounded(text)}: expected 43 characters of base64url that stand for 32 bytes`,
  );
}

/**
 * The id that these 32 bytes are.
 *
 * @throws SuError `invalid-request` when there are not exactly 32 bytes
 */
export function idFromBytes(bytes32: Uint8Array): Id {
  if (bytes32.length !== ID_BYTES) {
    throw new SuError('invalid-request', `an id has 32 bytes, not ${bytes32.length}`);
  }
  return toBase64Url(bytes32) as Id;
}

/** The 32 bytes of an id. */
export function idToBytes(id: Id): Uint8Array {
  return Buffer.from(id, 'base64url');
}

/** The same bytes, not a copy, with what Buffers can do. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** base64url without padding, as all of Arweave writes it. */
export function toBase64Url(bytes: Uint8Array): string {
  return asBuffer(bytes).toString('base64url');
}

/**
 * Decodes base64url strictly: no padding, no other alphabet, no whitespace, no spare bits set. Node's own
 * decoder skips what it does not know, so two texts would stand for the same bytes.
 *
 * @throws SuError `invalid-request`
 */
export function fromBase64Url(text: string): Uint8Array {
  if (BASE64URL_PATTERN.test(text)) {
    const bytes = Buffer.from(text, 'base64url');
    if (bytes.toString('base64url') === text) return bytes;
  }
  throw new SuError('invalid-request', `${quoteBounded(text)} is not base64url`);
}

/** The SHA-256 as an id: of a signature, or of an owner. One call for hash and text takes a third of the time that two take. */
export function sha256Id(bytes: Uint8Array): Id {
  return hash('sha256', bytes, 'base64url') as Id;
}

/** SHA-256 over the parts, as if they were one. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return hash('sha256', only, 'buffer');
  const digest = createHash('sha256');
  for (const part of parts) digest.update(part);
  return digest.digest();
}
