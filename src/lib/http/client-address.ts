import { isIP } from 'node:net';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { SuError } from '../errors.js';

/** Addresses and CIDR ranges; both families, and IPv4 in its IPv6 form counts as IPv4. */
export interface AddressSet {
  has(address: string): boolean;
}

/**
 * Reads addresses and ranges such as `10.0.0.0/8`. To find an address takes a look for each length of range that occurs,
 * whatever the number of entries: node's BlockList goes through all of them, and 100,000 held up the event loop for 9 ms a write.
 *
 * @throws Error that names the entry which is neither
 */
export function makeAddressSet(entries: readonly string[]): AddressSet {
  /** The beginnings of the addresses of each range, by their length in bits; an address alone has all 128. */
  const ranges = new Map<number, Set<string>>();
  for (const entry of entries) {
    const { digits, bits } = parseEntry(entry);
    const beginnings = ranges.get(bits) ?? new Set();
    ranges.set(bits, beginnings.add(beginningOf(digits, bits)));
  }
  return {
    has(address) {
      const digits = digitsOf(address);
      if (digits === undefined) return false;
      for (const [bits, beginnings] of ranges) {
        if (beginnings.has(beginningOf(digits, bits))) return true;
      }
      return false;
    },
  };
}

function parseEntry(entry: string): { readonly digits: string; readonly bits: number } {
  const [text = '', range, ...rest] = entry.trim().split('/');
  const address = plainAddress(text);
  const digits = digitsOf(address);
  const bitsMax = isIP(text) === 4 ? 32 : 128;
  const bits = Number(range ?? bitsMax);
  const isRange = range !== undefined && /^\d{1,3}$/.test(range) && bits <= bitsMax;
  if (digits === undefined || rest.length > 0 || (range !== undefined && !isRange)) {
    throw new Error(`${JSON.stringify(entry.slice(0, 80))} is neither an address nor a range`);
  }
  // Of an IPv4 address in IPv6 form, too: `::ffff:10.0.0.0/8` was never meant to be all of IPv4.
  return { digits, bits: isIP(address) === 4 && bits <= 32 ? 96 + bits : bits };
}

/** The 32 hexadecimal digits of an address, IPv4 in its IPv6 form (RFC 4291, 2.5.5.2); undefined for what is none. */
function digitsOf(text: string): string | undefined {
  const version = isIP(text);
  if (version === 0) return undefined;
  if (version === 4) return `${'0'.repeat(20)}ffff${digitsOfIPv4(text)}`;
  // Behind % stands the interface on which a link-local address is.
  const [address = ''] = text.split('%', 1);
  const lastAt = address.lastIndexOf(':') + 1;
  const last = address.slice(lastAt);
  const groups = address.slice(0, lastAt) + (last.includes('.') ? digitsOfIPv4(last) : last);
  const [head = '', tail = ''] = groups.split('::', 2).map(digitsOfGroups);
  return head + '0'.repeat(32 - head.length - tail.length) + tail;
}

function digitsOfIPv4(text: string): string {
  return Buffer.from(text.split('.').map(Number)).toString('hex');
}

/** A group has four digits, or the eight of an IPv4 address at the end. */
function digitsOfGroups(groups: string): string {
  if (groups === '') return '';
  return groups
    .toLowerCase()
    .split(':')
    .map((group) => group.padStart(4, '0'))
    .join('');
}

/** The first so many bits, as text. */
function beginningOf(digits: string, bits: number): string {
  const whole = bits >> 2;
  const left = bits & 3;
  if (left === 0) return digits.slice(0, whole);
  const digit = Number.parseInt(digits.charAt(whole), 16) >> (4 - left);
  return digits.slice(0, whole) + digit.toString(16);
}

/** A dual-stack socket shows IPv4 clients as `::ffff:10.0.0.1`. */
function plainAddress(text: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text);
  return mapped?.[1] ?? text;
}

/**
 * Finds who sent a request. A header is believed only when the connection comes from a proxy that is trusted, because
 * anybody can write one: `X-Real-IP`, else the last address of `X-Forwarded-For` that is not itself such a proxy.
 */
export function makeClientAddress(
  trusted: AddressSet,
): (request: Pick<IncomingMessage, 'headers' | 'socket'>) => string {
  return ({ headers, socket }) => {
    const peer = plainAddress(socket.remoteAddress ?? '');
    if (!trusted.has(peer)) return peer;
    const real = headers['x-real-ip'];
    if (typeof real === 'string' && isIP(real.trim()) !== 0) return plainAddress(real.trim());
    const forwarded = headers['x-forwarded-for'];
    const hops = (Array.isArray(forwarded) ? forwarded.join(',') : (forwarded ?? '')).split(',');
    for (const hop of hops.toReversed()) {
      const address = plainAddress(hop.trim());
      // What stands before an unreadable hop was not written by a proxy of ours.
      if (isIP(address) === 0) return peer;
      if (!trusted.has(address)) return address;
    }
    return peer;
  };
}

/** Lets a request write, or throws SuError `not-allowed`, and `not-ready` until the list is loaded. */
export type AddressGuard = (request: Pick<IncomingMessage, 'headers' | 'socket'>) => void;

/** Lets the addresses of a list write. */
export function makeAddressGuard(
  list: { require(): AddressSet },
  clientAddress: (request: Pick<IncomingMessage, 'headers' | 'socket'>) => string,
): AddressGuard {
  return (request) => {
    const address = clientAddress(request);
    if (list.require().has(address)) return;
    throw new SuError('not-allowed', 'this address may not write here', { details: { address } });
  };
}

const ENTRIES_MAX = 1_000_000;
const LIST = z.array(z.string().max(64)).max(ENTRIES_MAX);

/**
 * Reads a list of addresses: a JSON array of texts.
 *
 * @throws Error that says what is wrong with it
 */
export function parseAddressList(bytes: Uint8Array): AddressSet {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw new Error('it is not JSON');
  }
  const parsed = LIST.safeParse(value);
  if (!parsed.success) throw new Error('it is not a list of addresses');
  return makeAddressSet(parsed.data);
}
