import { Agent, request } from 'node:http';
import type { Id } from '../../src/lib/protocol/ids.js';
import type { QuickWallet, SignedItem } from './signed-items.js';
import { quickMessage } from './signed-items.js';

/** What a client was told about an item. */
export interface Acknowledged {
  readonly processId: Id;
  readonly id: Id;
  readonly timestamp: number;
}

/** Clients that post one message after the other until they are stopped. */
export interface Load {
  /** Everything that was answered with 200. */
  readonly acknowledged: Acknowledged[];
  /** Answers by status; 0: no answer. */
  readonly statuses: Map<number, number>;
  stop(): Promise<void>;
}

export interface LoadOptions {
  readonly url: string;
  readonly wallet: QuickWallet;
  readonly processes: readonly Id[];
  readonly clients: number;
  readonly dataBytes?: number;
}

/** Begins to post; a refused or lost message is posted again, as a careful client does. */
export function startLoad(options: LoadOptions): Load {
  const { url, wallet, processes, clients } = options;
  const acknowledged: Acknowledged[] = [];
  const statuses = new Map<number, number>();
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  let stopped = false;
  const client = async (number: number): Promise<void> => {
    for (let turn = number; !stopped; turn += clients) {
      const processId = processes[turn % processes.length];
      if (processId === undefined) return;
      const item = quickMessage(wallet, processId, options.dataBytes);
      for (let attempt = 0; attempt < 3 && !stopped; attempt += 1) {
        const { status, text } = await post(url, item, agent);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        if (status === 200) {
          const { timestamp } = JSON.parse(text) as { timestamp: number };
          acknowledged.push({ processId, id: item.id, timestamp });
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  };
  const running = Array.from({ length: clients }, (_, number) => client(number));
  return {
    acknowledged,
    statuses,
    async stop() {
      stopped = true;
      await Promise.all(running);
      agent.destroy();
    },
  };
}

/** An answer, or status 0 when the connection broke. */
export interface PostAnswer {
  readonly status: number;
  readonly text: string;
  readonly location?: string | undefined;
}

/** Posts an item, and follows no redirect. */
export function post(
  url: string,
  item: Pick<SignedItem, 'bytes'>,
  agent?: Agent,
): Promise<PostAnswer> {
  return new Promise((resolve) => {
    const lost = (): void => resolve({ status: 0, text: '' });
    const outgoing = request(
      `${url}/`,
      {
        method: 'POST',
        headers: {
          'content-type': 'application/octet-stream',
          'content-length': item.bytes.length,
        },
        ...(agent === undefined ? {} : { agent }),
      },
      (incoming) => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (chunk: string) => (text += chunk));
        incoming.on('end', () => {
          const { statusCode: status = 0, headers } = incoming;
          resolve({ status, text, location: headers.location });
        });
        incoming.on('error', lost);
      },
    );
    outgoing.on('error', lost);
    outgoing.end(item.bytes);
  });
}
