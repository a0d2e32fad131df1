import type { Id } from '../../protocol/ids.js';
import type { DeepHashCoverage, Position } from '../../scheduler/ports.js';
import { ID_BYTES, readId, readLong, writeId, writeLong } from './keys.js';

const POSITION_BYTES = 16;

/** Which message has a deep hash, and where it stands. */
export interface HashOwner extends Position {
  readonly messageId: Id;
}

/** A hash's owner as it is stored. */
export function encodeHashOwner({ messageId, epoch, nonce }: HashOwner): Buffer {
  const value = Buffer.alloc(ID_BYTES + POSITION_BYTES);
  writeLong(value, nonce, writeLong(value, epoch, writeId(value, messageId, 0)));
  return value;
}

/** Reads what `encodeHashOwner` wrote. */
export function decodeHashOwner(value: Buffer): HashOwner {
  return {
    messageId: readId(value, 0),
    epoch: readLong(value, ID_BYTES),
    nonce: readLong(value, ID_BYTES + 8),
  };
}

/** A coverage as it is stored: a byte that says whether there is a position, the position, the version's text. */
export function encodeCoverage({ version, through }: DeepHashCoverage): Buffer {
  const text = Buffer.from(version, 'utf8');
  const value = Buffer.alloc(1 + POSITION_BYTES + text.length);
  value[0] = through === undefined ? 0 : 1;
  writeLong(value, through?.nonce ?? 0, writeLong(value, through?.epoch ?? 0, 1));
  value.set(text, 1 + POSITION_BYTES);
  return value;
}

/** Reads what `encodeCoverage` wrote. */
export function decodeCoverage(value: Buffer): DeepHashCoverage {
  const through = { epoch: readLong(value, 1), nonce: readLong(value, 9) };
  return {
    version: value.toString('utf8', 1 + POSITION_BYTES),
    through: value[0] === 0 ? undefined : through,
  };
}

/** Whether one stands before the other in a log. */
export function isBefore(one: Position, other: Position): boolean {
  return one.epoch === other.epoch ? one.nonce < other.nonce : one.epoch < other.epoch;
}
