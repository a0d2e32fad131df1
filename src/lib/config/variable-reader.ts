import {
  type Parsed,
  parseAddressList,
  parseBoolean,
  parseDocumentUrl,
  parseHttpUrl,
  parseHttpUrlList,
  parseInteger,
  parsePostgresUrl,
  showValue,
  splitList,
} from './parse-variable.js';
import { type NameOfKind, type Variable, type VariableName, VARIABLES } from './variables.js';

/** The variables of a program, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Reads variables by name and collects what is wrong with them, each problem once. */
export interface VariableReader {
  /** Sentences that begin with the variable's name, in the order they were found. */
  readonly problems: ReadonlySet<string>;
  report(problem: string): void;
  /** True when the variable holds anything but blanks. */
  isSet(name: VariableName): boolean;
  text(name: NameOfKind<'path' | 'text' | 'mode'>): string | undefined;
  boolean(name: NameOfKind<'boolean'>): boolean | undefined;
  integer(name: NameOfKind<'integer'>): number;
  httpUrl(name: NameOfKind<'http-url'>): string | undefined;
  documentUrl(name: NameOfKind<'document-url'>): string | undefined;
  postgresUrl(name: NameOfKind<'postgres-url'>): string | undefined;
  list(name: NameOfKind<'list' | 'http-url-list' | 'address-list'>): readonly string[];
}

/** @param env an empty or blank variable counts as unset, as compose files and shells leave them. */
export function makeVariableReader(env: Environment): VariableReader {
  const problems = new Set<string>();

  const given = (name: VariableName): string | undefined => {
    const text = env[name]?.trim();
    return text === undefined || text === '' ? undefined : text;
  };

  function read<Value>(
    name: VariableName,
    parse: (text: string) => Parsed<Value>,
  ): Value | undefined {
    const variable: Variable = VARIABLES[name];
    const text = given(name) ?? variable.default;
    if (text === undefined) return undefined;
    const parsed = parse(text);
    if ('value' in parsed) return parsed.value;
    problems.add(`${name}: ${showValue(variable.kind, text)} is not ${parsed.expected}`);
    return undefined;
  }

  return {
    problems,
    report: (problem) => void problems.add(problem),
    isSet: (name) => given(name) !== undefined,
    text: (name) => read(name, (text) => ({ value: text })),
    boolean: (name) => read(name, parseBoolean),
    // After a problem the number is of no use: the configuration is refused as a whole.
    integer: (name) => read(name, (text) => parseInteger(text, VARIABLES[name])) ?? 0,
    httpUrl: (name) => read(name, parseHttpUrl),
    documentUrl: (name) => read(name, parseDocumentUrl),
    postgresUrl: (name) => read(name, parsePostgresUrl),
    list: (name) => {
      switch (VARIABLES[name].kind) {
        case 'list':
          return read(name, (text) => ({ value: splitList(text) })) ?? [];
        case 'http-url-list':
          return read(name, parseHttpUrlList) ?? [];
        case 'address-list':
          return read(name, parseAddressList) ?? [];
      }
    },
  };
}
