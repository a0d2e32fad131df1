import { SuError } from '../errors.js';

/** A value in a query; enum words are texts. */
export type QueryValue =
  | { readonly variable: string }
  | { readonly value: string | number | boolean | null }
  | { readonly list: readonly QueryValue[] }
  | { readonly object: Readonly<Record<string, QueryValue>> };

export interface QueryField {
  /** What the answer calls it. */
  readonly alias: string;
  readonly name: string;
  readonly args: Readonly<Record<string, QueryValue>>;
  /** From `@skip(if:)` and `@include(if:)`. */
  readonly conditions: readonly { readonly wanted: boolean; readonly when: QueryValue }[];
  /** Undefined for a field without a selection. */
  readonly fields: readonly QueryField[] | undefined;
}

export interface Query {
  /** Defaults of the variables that have one. */
  readonly defaults: Readonly<Record<string, QueryValue>>;
  readonly fields: readonly QueryField[];
}

const QUERY_CHARACTERS_MAX = 16_384;
const DEPTH_MAX = 12;

const IGNORED = /(?:[\s,\uFEFF]+|#[^\n\r]*)*/y;
const TOKEN =
  /\.\.\.|[!$():=@[\]{}|&]|[_A-Za-z]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"""|"(?:\\.|[^"\\\n\r])*"/y;

/**
 * Reads the part of GraphQL (October 2021 edition, §2) that clients of Arweave gateways use: one query, variables with
 * defaults, aliases, arguments, `@skip` and `@include`. Mutations, subscriptions, fragments and block strings
 * are refused with a sentence.
 *
 * @throws SuError `invalid-request`
 */
export function parseQuery(text: string): Query {
  return new QueryReader(text).readDocument();
}

class QueryReader {
  readonly #text: string;
  #position = 0;
  #token = '';

  constructor(text: string) {
    if (text.length > QUERY_CHARACTERS_MAX) {
      throw refusal(`it has more than ${QUERY_CHARACTERS_MAX} characters`);
    }
    this.#text = text;
    this.#advance();
  }

  readDocument(): Query {
    const defaults: Record<string, QueryValue> = {};
    if (this.#token !== '{') {
      const word = this.#name('"query"');
      if (word !== 'query')
        throw refusal(`"${word.slice(0, 20)}" is not supported, only "query" is`);
      if (isName(this.#token)) this.#advance();
      if (this.#take('(')) while (!this.#take(')')) this.#readVariable(defaults);
    }
    const fields = this.#readSelection(0);
    if (this.#token !== '') throw refusal('only one operation is supported, without fragments');
    return { defaults, fields };
  }

  #readVariable(defaults: Record<string, QueryValue>): void {
    this.#expect('$');
    const name = this.#name('the name of a variable');
    this.#expect(':');
    this.#readType(0);
    if (this.#take('=')) defaults[name] = this.#readValue(0);
  }

  #readType(depth: number): void {
    if (depth > DEPTH_MAX) throw tooDeep();
    if (this.#take('[')) {
      this.#readType(depth + 1);
      this.#expect(']');
    } else {
      this.#name('a type');
    }
    this.#take('!');
  }

  #readSelection(depth: number): readonly QueryField[] {
    if (depth > DEPTH_MAX) throw tooDeep();
    this.#expect('{');
    const fields: QueryField[] = [];
    while (!this.#take('}')) fields.push(this.#readField(depth));
    if (fields.length === 0) throw refusal('a selection is empty');
    return fields;
  }

  #readField(depth: number): QueryField {
    if (this.#token === '...') throw refusal('fragments are not supported');
    const alias = this.#name('a field');
    const name = this.#take(':') ? this.#name('a field') : alias;
    const args = this.#readArguments();
    const conditions: { wanted: boolean; when: QueryValue }[] = [];
    while (this.#take('@')) {
      const directive = this.#name('a directive');
      const when = this.#readArguments()['if'];
      if ((directive !== 'skip' && directive !== 'include') || when === undefined) {
        throw refusal('of directives only @skip(if:) and @include(if:) are supported');
      }
      conditions.push({ wanted: directive === 'include', when });
    }
    const fields = this.#token === '{' ? this.#readSelection(depth + 1) : undefined;
    return { alias, name, args, conditions, fields };
  }

  #readArguments(): Readonly<Record<string, QueryValue>> {
    const args: Record<string, QueryValue> = Object.create(null) as Record<string, QueryValue>;
    if (!this.#take('(')) return args;
    while (!this.#take(')')) this.#readNamedValue(args, 0);
    return args;
  }

  #readNamedValue(into: Record<string, QueryValue>, depth: number): void {
    const name = this.#name('the name of an argument');
    this.#expect(':');
    into[name] = this.#readValue(depth);
  }

  #readValue(depth: number): QueryValue {
    if (depth > DEPTH_MAX) throw tooDeep();
    if (this.#take('$')) return { variable: this.#name('the name of a variable') };
    if (this.#take('[')) {
      const list: QueryValue[] = [];
      while (!this.#take(']')) list.push(this.#readValue(depth + 1));
      return { list };
    }
    if (this.#take('{')) {
      const object: Record<string, QueryValue> = Object.create(null) as Record<string, QueryValue>;
      while (!this.#take('}')) this.#readNamedValue(object, depth + 1);
      return { object };
    }
    return { value: this.#readScalar() };
  }

  #readScalar(): string | number | boolean | null {
    const token = this.#token;
    if (token === '') throw refusal('it ends within a value');
    this.#advance();
    if (token === 'true' || token === 'false') return token === 'true';
    if (token === 'null') return null;
    if (isName(token)) return token;
    if (/^-?\d/.test(token)) return Number(token);
    if (token.startsWith('"') && token !== '"""') {
      try {
        return JSON.parse(token) as string;
      } catch {
        throw refusal('a text has an escape that is not known');
      }
    }
    throw refusal(`"${token.slice(0, 20)}" is not a value`);
  }

  #name(what: string): string {
    const token = this.#token;
    if (!isName(token)) throw refusal(`${what} is expected before ${this.#place()}`);
    this.#advance();
    return token;
  }

  #take(token: string): boolean {
    if (this.#token !== token) return false;
    this.#advance();
    return true;
  }

  #expect(token: string): void {
    if (!this.#take(token)) throw refusal(`"${token}" is expected before ${this.#place()}`);
  }

  #place(): string {
    return this.#token === '' ? 'its end' : `character ${this.#position}`;
  }

  /** The next token; the empty text at the end. */
  #advance(): void {
    IGNORED.lastIndex = this.#position;
    IGNORED.exec(this.#text);
    this.#position = IGNORED.lastIndex;
    if (this.#position >= this.#text.length) {
      this.#token = '';
      return;
    }
    TOKEN.lastIndex = this.#position;
    const token = TOKEN.exec(this.#text)?.[0];
    if (token === undefined) throw refusal(`character ${this.#position} begins nothing known`);
    this.#position += token.length;
    this.#token = token;
  }
}

function isName(token: string): boolean {
  return /^[_A-Za-z]/.test(token);
}

function tooDeep(): SuError {
  return refusal(`it is nested more than ${DEPTH_MAX} deep`);
}

function refusal(why: string): SuError {
  return new SuError('invalid-request', `the query cannot be read: ${why}`);
}
