import { isIP } from 'node:net';
import { redactUrl } from './redact-url.js';
import type { Variable, VariableKind } from './variables.js';

/** What a variable's text becomes, or what was expected instead: "a whole number from 1 to 1000". */
export type Parsed<Value> = { readonly value: Value } | { readonly expected: string };

const SHOWN_CHARACTERS_MAX = 80;

/** `true`, `false`, `1` or `0`, in any case; nothing else, so that a slip of the keyboard switches nothing off. */
export function parseBoolean(text: string): Parsed<boolean> {
  switch (text.toLowerCase()) {
    case 'true':
    case '1':
      return { value: true };
    case 'false':
    case '0':
      return { value: false };
    default:
      return { expected: 'true, false, 1 or 0' };
  }
}

/** A whole number in decimal digits within the variable's bounds. */
export function parseInteger(
  text: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Variable,
): Parsed<number> {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return { value };
  return { expected: `a whole number from ${min} to ${max}` };
}

/** A base URL that paths are appended to: a trailing slash is dropped, a query or fragment is refused. */
export function parseHttpUrl(text: string): Parsed<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !['http:', 'https:'].includes(url.protocol)) {
    return { expected: 'an http:// or https:// URL' };
  }
  if (url.search !== '' || url.hash !== '') return { expected: 'a URL without query and fragment' };
  return { value: text.replace(/\/+$/, '') };
}

/** The URL of a document, which may have a query: many are addressed by one. */
export function parseDocumentUrl(text: string): Parsed<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const known = url !== undefined && ['http:', 'https:'].includes(url.protocol);
  return known ? { value: text } : { expected: 'an http:// or https:// URL' };
}

/** A connection URL as libpq and its kin write it. */
export function parsePostgresUrl(text: string): Parsed<string> {
  const known = URL.canParse(text) && /^postgres(ql)?:\/\//.test(text);
  return known ? { value: text } : { expected: 'a postgres:// or postgresql:// URL' };
}

/** The parts between commas, trimmed; empty ones are dropped. */
export function splitList(text: string): readonly string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** At least one http URL. */
export function parseHttpUrlList(text: string): Parsed<readonly string[]> {
  const urls: string[] = [];
  for (const part of splitList(text)) {
    const parsed = parseHttpUrl(part);
    if (!('value' in parsed)) return { expected: `http:// or https:// URLs between commas` };
    urls.push(parsed.value);
  }
  return urls.length > 0 ? { value: urls } : { expected: 'at least one URL' };
}

/** IP addresses and CIDR ranges. */
export function parseAddressList(text: string): Parsed<readonly string[]> {
  const parts = splitList(text);
  if (parts.every(isAddressOrRange)) return { value: parts };
  return { expected: 'IP addresses or CIDR ranges between commas, such as 10.0.0.0/8' };
}

function isAddressOrRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128))
  );
}

/** A value fit to be shown in a message: bounded, on one line, without the password of a URL. */
export function showValue(kind: VariableKind, text: string): string {
  if (kind === 'postgres-url') return `"${redactUrl(text)}"`;
  // Somebody who pastes the wallet itself where its path belongs must not find the key in a log.
  if (/["{]/.test(text)) return '(not shown: it looks like JSON)';
  if (kind === 'document-url') return '(not shown: it may hold a key)';
  const shown = kind === 'http-url' && URL.canParse(text) ? redactUrl(text) : text;
  // A password before an @ is dropped also where the text is no URL, or a list of them.
  const safe = shown.replace(/:[^:/@,]*@/g, ':***@');
  return JSON.stringify(
    safe.length > SHOWN_CHARACTERS_MAX ? `${safe.slice(0, SHOWN_CHARACTERS_MAX)}…` : safe,
  );
}
