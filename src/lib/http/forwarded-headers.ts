import type { IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import type { AddressSet } from './client-address.js';

/** Of one connection and not of the request: RFC 9110, 7.6.1. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Set by us, or meant for us alone. */
const NOT_FORWARDED = new Set([
  ...HOP_BY_HOP,
  'host',
  'content-length',
  'expect',
  'x-forwarded-for',
  'x-real-ip',
  'x-request-id',
]);

/** Our own middleware answers these for the SU's as well. */
const NOT_ANSWERED = new Set([...HOP_BY_HOP, 'date', 'x-request-id', 'vary']);

export interface ForwardedRequest {
  readonly requestId: string;
  readonly body: Buffer | undefined;
  /** Proxies that are believed. */
  readonly trusted: AddressSet;
}

/**
 * The headers with which a request goes on to an SU. Who the client is, is said by `X-Forwarded-For`: what the client
 * wrote there itself is believed, and passed on, only from a trusted proxy; from anyone else it is replaced by the address the
 * connection came from, and `X-Real-IP` is dropped, because an SU that trusts this router would believe it.
 */
export function requestHeaders(
  request: IncomingMessage,
  { requestId, body, trusted }: ForwardedRequest,
): OutgoingHttpHeaders {
  const headers = copyHeaders(request.headers, NOT_FORWARDED);
  const peer = peerOf(request);
  const given = request.headers['x-forwarded-for'];
  const believed = trusted.has(peer);
  headers['x-forwarded-for'] = believed && typeof given === 'string' ? `${given}, ${peer}` : peer;
  const realIp = request.headers['x-real-ip'];
  if (believed && realIp !== undefined) headers['x-real-ip'] = realIp;
  headers['x-request-id'] = requestId;
  if (request.method === 'POST') headers['content-length'] = body?.length ?? 0;
  return headers;
}

/** The headers of an SU's answer that reach the client. */
export function answerHeaders(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const copied = copyHeaders(headers, NOT_ANSWERED);
  for (const name of Object.keys(copied)) {
    if (name.startsWith('access-control-')) delete copied[name];
  }
  return copied;
}

function copyHeaders(
  headers: IncomingHttpHeaders,
  without: ReadonlySet<string>,
): OutgoingHttpHeaders {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const copied: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && !without.has(name) && !named.includes(name)) copied[name] = value;
  }
  return copied;
}

/** A socket for both families shows IPv4 addresses as IPv6. */
function peerOf(request: IncomingMessage): string {
  return (request.socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}
