import { join } from 'node:path';
import { makeGateway } from '../arweave/gateway.js';
import { makeCacheClient, makeUploaderClient } from '../arweave/uploader-client.js';
import type { SchedulerConfig } from '../config/config.js';
import { invariant } from '../errors.js';
import type { Log } from '../observability/log.js';
import type { Metrics } from '../observability/metrics.js';
import { openBlockClock, type BlockClock } from '../scheduler/block-clock.js';
import type { Gateway } from '../scheduler/ports.js';
import { delayByTimer } from '../uploader/delay.js';
import { OUTBOX_LIMITS } from '../uploader/outbox-limits.js';
import { OutboxWorker } from '../uploader/outbox-worker.js';
import type { Outbox } from '../uploader/ports.js';
import { clock, monotonicMs } from './clocks.js';
import type { ClosingStack } from './closing-stack.js';

const GATEWAY_TIMEOUT_MS = 10_000;
const CACHE_TIMEOUT_MS = 10_000;
const BLOCK_HEIGHT_INTERVAL_MS = 5_000;
const UPLOAD_DRAIN_MS = 5_000;

export interface Network {
  readonly gateway: Gateway;
  readonly uploadUrl: string;
  readonly cacheUrl: string | undefined;
  /** The local network's, undefined in production. */
  readonly url: string | undefined;
}

/** The same adapters over real HTTP whether the gateway is Arweave's or this program's own. */
export async function openNetwork(
  config: SchedulerConfig,
  log: Log,
  closing: ClosingStack,
): Promise<Network> {
  let addresses = config.gateway;
  let uploadUrl = config.uploadUrl;
  let localUrl: string | undefined;
  if (config.local) {
    const folder = join(config.dataDir, 'network');
    const { url } = closing.add(
      await (
        await import('../local-network/local-network.js')
      ).openLocalNetwork({ folder, host: '127.0.0.1', port: 0, clock, log }),
    );
    addresses = { graphqlUrl: url, arweaveUrl: url, arweaveUrlList: [url] };
    uploadUrl = url;
    localUrl = url;
  }
  invariant(
    addresses !== undefined && uploadUrl !== undefined,
    'the configuration has addresses in every mode but --local',
  );
  const gateway = closing.add(
    makeGateway({
      graphqlUrl: addresses.graphqlUrl,
      arweaveUrl: addresses.arweaveUrl,
      arweaveUrls: addresses.arweaveUrlList,
      timeoutMs: GATEWAY_TIMEOUT_MS,
    }),
  );
  return { gateway, uploadUrl, cacheUrl: config.cacheUrl, url: localUrl };
}

/** Begins to ask the gateway for the block height. */
export function openHeights(config: SchedulerConfig, gateway: Gateway, log: Log): BlockClock {
  return openBlockClock({
    gateway,
    monotonicMs,
    intervalMs: BLOCK_HEIGHT_INTERVAL_MS,
    pause: delayByTimer,
    staleMs: config.blockHeightStaleMs,
    ageMaxMs: config.blockHeightMaxAgeMs,
    onWarning: (message, details) => log.warn({ event: 'block-height', ...details }, message),
    onRecovered: (details) =>
      log.info({ event: 'block-height', ...details }, 'the gateway tells the block height again'),
  });
}

/** The worker that drains the outbox, with its clients; not started yet. */
export function openWorker(
  outbox: Outbox,
  parts: {
    readonly network: Network;
    readonly metrics: Metrics;
    readonly log: Log;
    readonly closing: ClosingStack;
  },
): OutboxWorker {
  const { network, metrics, log, closing } = parts;
  const client = closing.add(
    makeUploaderClient({
      url: network.uploadUrl,
      timeoutMs: OUTBOX_LIMITS.uploadTimeoutMs,
      connectionsMax: OUTBOX_LIMITS.uploadsMax,
    }),
  );
  const cache =
    network.cacheUrl === undefined
      ? undefined
      : closing.add(
          makeCacheClient({
            url: network.cacheUrl,
            timeoutMs: CACHE_TIMEOUT_MS,
            connectionsMax: OUTBOX_LIMITS.cacheUploadsMax,
          }),
        );
  const worker = new OutboxWorker({
    outbox,
    client: {
      async upload(bytes, signal) {
        const result = await client.upload(bytes, signal);
        metrics.uploadEnded(result.status);
        return result;
      },
    },
    cache,
    monotonicMs,
    random: Math.random,
    delay: delayByTimer,
    limits: OUTBOX_LIMITS,
    log,
  });
  closing.add({ close: () => worker.close(UPLOAD_DRAIN_MS) });
  return worker;
}
