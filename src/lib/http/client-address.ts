import { BlockList, isIP } from 'node:net';
import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { SuError } from '../errors.js';

/** Addresses and CIDR ranges; both families, and IPv4 in its IPv6 form counts as IPv4. */
export interface AddressSet {
  has(address: string): boolean;
}

/**
 * Reads addresses and ranges such as `10.0.0.0/8`.
 *
 * @throws Error that names the entry which is neither
 */
export function makeAddressSet(entries: readonly string[]): AddressSet {
  const list = new BlockList();
  for (const entry of entries) addEntry(list, entry);
  return {
    has(address) {
      const plain = plainAddress(address);
      const version = isIP(plain);
      return version !== 0 && list.check(plain, version === 4 ? 'ipv4' : 'ipv6');
    },
  };
}

function addEntry(list: BlockList, entry: string): void {
  const [text = '', bits, ...rest] = entry.trim().split('/');
  const address = plainAddress(text);
  const version = isIP(address);
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const bitsMax = version === 4 ? 32 : 128;
  const isRange = bits !== undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax;
  if (version === 0 || rest.length > 0 || (bits !== undefined && !isRange)) {
    throw new Error(`${JSON.stringify(entry.slice(0, 80))} is neither an address nor a range`);
  }
  if (bits === undefined) list.addAddress(address, family);
  else list.addSubnet(address, Number(bits), family);
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
