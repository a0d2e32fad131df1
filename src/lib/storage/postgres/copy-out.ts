import type pg from 'pg';
import { invariant } from '../../errors.js';

/*
 * `copy (…) to stdout (format binary)`: rows as the server has them, without the hexadecimal text in which a bundle is twice
 * as long and has to be written by one side and read by the other. The driver knows no COPY; it hands what comes over to
 * whatever query is under way, which is how its own stream packages work too.
 */

const SIGNATURE_BYTES = 11;

/** The driver's events that reach a query of this kind. */
interface CopyEvents extends pg.Submittable {
  handleCopyData(message: { readonly chunk: Buffer }): void;
  handleError(error: Error): void;
  handleCommandComplete(): void;
  handleReadyForQuery(): void;
  /** To be called when the query is over: the driver puts around it what ends its time limit. */
  callback: () => void;
}

/**
 * Runs a COPY and hands over its rows, one after the other.
 *
 * @param text the statement; COPY takes no parameters, so whatever is in it must be a constant or a checked number
 * @param read takes a row while its bytes are there: they belong to the driver, which uses them again
 * @throws the driver's errors
 */
export function copyOut(
  client: Pick<pg.ClientBase, 'query'>,
  text: string,
  read: (fields: CopyFields) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: unknown;
    let isFirst = true;
    const query: CopyEvents = {
      callback: () => undefined,
      submit: (connection) => connection.query(text),
      handleCopyData({ chunk }) {
        if (failure !== undefined) return;
        try {
          const fields = new CopyFields(chunk, isFirst ? headerBytes(chunk) : 0);
          isFirst = false;
          if (fields.isRow()) read(fields);
        } catch (error) {
          // The server sends on; what is wrong is told when it has finished.
          failure = error;
        }
      },
      handleError(error) {
        query.callback();
        reject(error);
      },
      handleCommandComplete: () => undefined,
      handleReadyForQuery() {
        query.callback();
        if (failure === undefined) resolve();
        else reject(failure);
      },
    };
    client.query(query);
  });
}

/** Signature, flags, and an extension that no version has used. */
function headerBytes(chunk: Buffer): number {
  return SIGNATURE_BYTES + 8 + chunk.readInt32BE(SIGNATURE_BYTES + 4);
}

/** The fields of one row, read in their order. */
export class CopyFields {
  readonly #chunk: Buffer;
  #offset: number;

  constructor(chunk: Buffer, offset: number) {
    this.#chunk = chunk;
    this.#offset = offset;
  }

  /** False for what precedes the first row alone, and for the end; else its fields come next. */
  isRow(): boolean {
    if (this.#offset >= this.#chunk.length) return false;
    const count = this.#chunk.readInt16BE(this.#offset);
    this.#offset += 2;
    return count !== -1;
  }

  int4(): number {
    return this.#chunk.readInt32BE(this.#next());
  }

  /** @throws SuError `invariant` beyond 2^53 */
  int8(): number {
    const value = Number(this.#chunk.readBigInt64BE(this.#next()));
    invariant(Number.isSafeInteger(value), `the stored number ${value} is beyond 2^53`);
    return value;
  }

  text(): string {
    const begin = this.#next();
    return this.#chunk.toString('utf8', begin, this.#offset);
  }

  /** Undefined for null. */
  textOrNull(): string | undefined {
    return this.#chunk.readInt32BE(this.#offset) === -1 ? this.#skipNull() : this.text();
  }

  /** A view, which is good while the row is read. */
  bytes(): Buffer {
    const begin = this.#next();
    return this.#chunk.subarray(begin, this.#offset);
  }

  /** Where the next field's bytes begin; the offset is behind them then. */
  #next(): number {
    const length = this.#chunk.readInt32BE(this.#offset);
    invariant(length >= 0, 'a column that must have a value has none');
    const begin = this.#offset + 4;
    this.#offset = begin + length;
    return begin;
  }

  #skipNull(): undefined {
    this.#offset += 4;
    return undefined;
  }
}
