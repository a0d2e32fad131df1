import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { SuError } from '../errors.js';
import type { CarrySpawn, SpawnOutcome } from '../router/carry-spawn.js';
import {
  notePlaced,
  noteScheduler,
  pathAndQuery,
  type Forward,
  type ForwardContext,
} from './forward.js';
import type { AddressSet } from './client-address.js';
import { answerHeaders, requestHeaders } from './forwarded-headers.js';
import { UpstreamFailure, type Upstream } from './upstream.js';

export interface ProxyOptions {
  readonly upstream: Upstream;
  readonly carrySpawn: CarrySpawn;
  /** Proxies in front of the router that are believed. */
  readonly trusted: AddressSet;
}

/** What carrying a spawn came to; a failure is thrown once the placement has been seen to. */
type Head = { readonly answer: IncomingMessage } | { readonly failure: UpstreamFailure };

/**
 * Carries requests to their SU and the answers back, for clients that do not follow a 307 and for SUs on a private
 * network. Answers are streamed, as fast as the client takes them.
 */
export function makeProxy({ upstream, carrySpawn, trusted }: ProxyOptions): Forward {
  async function open(
    ctx: ForwardContext,
    url: string,
    body: Buffer | undefined,
  ): Promise<IncomingMessage> {
    const { requestId } = ctx.state;
    return upstream.open({
      url,
      method: ctx.method,
      path: pathAndQuery(ctx),
      headers: requestHeaders(ctx.req, { requestId, body, trusted }),
      body,
      signal: goneSignal(ctx),
    });
  }

  return {
    async send(ctx, url, body) {
      noteScheduler(ctx, url);
      await answerWith(ctx, await open(ctx, url, body));
    },
    async spawn(ctx, posted, body) {
      const head = await carrySpawn(posted, async (placed) => {
        notePlaced(ctx, placed);
        const answer = await openOrFail(() => open(ctx, placed.url, body));
        return { outcome: outcomeOf(answer), answer };
      });
      if ('failure' in head) throw head.failure;
      await answerWith(ctx, head.answer);
    },
  };
}

async function openOrFail(open: () => Promise<IncomingMessage>): Promise<Head> {
  try {
    return { answer: await open() };
  } catch (error) {
    if (error instanceof UpstreamFailure) return { failure: error };
    throw error;
  }
}

/** Busy and too slow are no verdict on the process, though they are 4xx. */
function outcomeOf(head: Head): SpawnOutcome {
  if ('failure' in head) return head.failure.wasSent ? 'unknown' : 'unreached';
  const status = head.answer.statusCode ?? 500;
  if (status >= 200 && status < 300) return 'accepted';
  const isVerdict = status >= 400 && status < 500 && status !== 408 && status !== 429;
  return isVerdict ? 'refused' : 'unknown';
}

/** @throws SuError `scheduler-unavailable` when the SU breaks off within its answer; the client then sees a broken answer */
async function answerWith(ctx: ForwardContext, answer: IncomingMessage): Promise<void> {
  ctx.status = answer.statusCode ?? 502;
  for (const [name, value] of Object.entries(answerHeaders(answer.headers))) {
    if (value !== undefined) ctx.res.setHeader(name, value);
  }
  ctx.respond = false;
  try {
    await pipeline(answer, ctx.res);
  } catch (cause) {
    // What the SU breaks off comes as a reset connection; this is the client's end, closed too early.
    if ((cause as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE') {
      ctx.state.clientGone = true;
      return;
    }
    throw new SuError('scheduler-unavailable', 'the Scheduler Unit broke off its answer', {
      cause,
    });
  }
}

/** Aborted when the client goes away before it has its answer, or has gone already. */
function goneSignal(ctx: ForwardContext): AbortSignal {
  if (ctx.res.closed || ctx.req.socket.destroyed) return AbortSignal.abort();
  const gone = new AbortController();
  ctx.res.once('close', () => {
    if (!ctx.res.writableFinished) gone.abort();
  });
  return gone.signal;
}
