import { SuError } from '../errors.js';

/** A JSON value that knows the line it begins on. */
export type PositionedValue =
  | { readonly kind: 'object'; readonly line: number; readonly fields: readonly PositionedField[] }
  | { readonly kind: 'array'; readonly line: number; readonly items: readonly PositionedValue[] }
  | {
      readonly kind: 'scalar';
      readonly line: number;
      readonly value: string | number | boolean | null;
    };

export interface PositionedField {
  readonly name: string;
  /** Of the name. */
  readonly line: number;
  readonly value: PositionedValue;
}

const DEPTH_MAX = 20;
const SCALAR = /"(?:[^"\\\n]|\\.)*"|-?\d[\w.+-]*|[a-z]+/y;

/**
 * Parses JSON and keeps the lines. `JSON.parse` tells no line, and on some versions of Node no position at all, while
 * the reader of the message is a person with an editor open.
 *
 * @throws SuError `invalid-config` that begins with `line N:`
 */
export function parsePositionedJson(text: string): PositionedValue {
  const scanner = new Scanner(text);
  const value = scanner.readValue(0);
  scanner.expectEnd();
  return value;
}

/** A complaint about a place in the file. */
export function atLine(line: number, reason: string): SuError {
  return new SuError('invalid-config', `line ${line}: ${reason}`, { details: { line } });
}

class Scanner {
  readonly #text: string;
  #at = 0;
  #line = 1;

  constructor(text: string) {
    this.#text = text;
  }

  readValue(depth: number): PositionedValue {
    this.#skipSpace();
    if (depth > DEPTH_MAX) throw atLine(this.#line, 'the nesting is too deep');
    const next = this.#text[this.#at];
    if (next === '{') return this.#readObject(depth);
    if (next === '[') return this.#readArray(depth);
    return { kind: 'scalar', line: this.#line, value: this.#readScalar() };
  }

  expectEnd(): void {
    this.#skipSpace();
    if (this.#at < this.#text.length)
      throw this.#unexpected('nothing more after the end of the list');
  }

  #readObject(depth: number): PositionedValue {
    const { line, fields } = { line: this.#line, fields: [] as PositionedField[] };
    this.#readMembers('}', () => {
      this.#skipSpace();
      const fieldLine = this.#line;
      const name = this.#text[this.#at] === '"' ? this.#readScalar() : undefined;
      if (typeof name !== 'string') throw this.#unexpected('a name in double quotes');
      this.#skipSpace();
      if (this.#text[this.#at] !== ':') throw this.#unexpected('a colon');
      this.#at += 1;
      if (fields.some((field) => field.name === name)) {
        throw atLine(fieldLine, `${JSON.stringify(name)} is there twice`);
      }
      fields.push({ name, line: fieldLine, value: this.readValue(depth + 1) });
    });
    return { kind: 'object', line, fields };
  }

  #readArray(depth: number): PositionedValue {
    const { line, items } = { line: this.#line, items: [] as PositionedValue[] };
    this.#readMembers(']', () => void items.push(this.readValue(depth + 1)));
    return { kind: 'array', line, items };
  }

  /** What stands between an opening bracket and its closing one, with commas between. */
  #readMembers(closing: ']' | '}', readMember: () => void): void {
    this.#at += 1;
    this.#skipSpace();
    if (this.#text[this.#at] === closing) {
      this.#at += 1;
      return;
    }
    for (;;) {
      readMember();
      this.#skipSpace();
      const next = this.#text[this.#at];
      if (next !== ',' && next !== closing) throw this.#unexpected(`a comma or ${closing}`);
      this.#at += 1;
      if (next === closing) return;
    }
  }

  #readScalar(): string | number | boolean | null {
    SCALAR.lastIndex = this.#at;
    const token = SCALAR.exec(this.#text)?.[0];
    if (token === undefined) throw this.#unexpected('a value');
    let value: unknown;
    try {
      value = JSON.parse(token);
    } catch {
      throw this.#unexpected('a value');
    }
    this.#at += token.length;
    return value as string | number | boolean | null;
  }

  #skipSpace(): void {
    for (;;) {
      const character = this.#text[this.#at];
      if (character === '\n') this.#line += 1;
      else if (character !== ' ' && character !== '\t' && character !== '\r') return;
      this.#at += 1;
    }
  }

  #unexpected(expected: string): SuError {
    const rest = this.#text.slice(this.#at, this.#at + 20).split('\n')[0] ?? '';
    const seen = this.#at >= this.#text.length ? 'the end of the file' : JSON.stringify(rest);
    return atLine(this.#line, `expected ${expected}, found ${seen}`);
  }
}
