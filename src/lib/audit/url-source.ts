import { z } from 'zod';
import { SuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { findTag } from '../protocol/tags.js';
import { PROCESS_POSITION } from './check-stored.js';
import type { WireEntry } from './check-wire.js';
import type { AuditedLog, AuditSource, LogPages } from './ports.js';

const pageShape = z.object({
  page_info: z.object({ has_next_page: z.boolean() }),
  edges: z.array(z.object({ node: z.unknown(), cursor: z.union([z.string(), z.number()]) })),
});

const tags = z.array(z.object({ name: z.string(), value: z.string() }));
const recordShape = z.object({
  process_id: z.string(),
  owner: z.unknown(),
  tags: z.unknown(),
  data: z.unknown(),
  anchor: z.unknown(),
  signature: z.unknown(),
  target: z.unknown(),
});

/**
 * Logs as a Scheduler Unit answers them. Which there are it does not tell, so they must be named.
 *
 * @param name its address
 */
export function sourceOfPages(pages: LogPages, name: string): AuditSource {
  return {
    name,
    countLogs: () => Promise.resolve(0),
    // An empty list of logs: nothing tells which there are.
    readLogs: async function* () {},
    async findLog(processId) {
      const record = await pages.fetchProcess(processId);
      return record === undefined ? undefined : logOf(pages, processId, record);
    },
    countOutstanding: () => Promise.resolve(undefined),
  };
}

function logOf(pages: LogPages, processId: Id, record: unknown): AuditedLog {
  return {
    processId,
    async *readEntries({ after, since }) {
      const begin = after?.nonce ?? (await findBefore(pages, processId, since));
      if (begin === undefined) return;
      let from = begin;
      let isFirst = after === undefined && begin === -1;
      for (let more = true; more;) {
        const page = readPage(await pages.fetchPage(processId, from));
        const entries = page.edges.map(({ node, cursor }) => toEntry(processId, node, cursor));
        if (isFirst && entries[0]?.subject !== 'process') {
          yield [bareProcess(processId, record)];
        }
        isFirst = false;
        // Some servers order by time: within a page that is put right here.
        entries.sort((one, other) => one.row.nonce - other.row.nonce);
        if (entries.length > 0) yield entries;
        const last = Math.max(from, ...entries.map((entry) => nonceOf(entry)));
        more = page.page_info.has_next_page && last > from;
        if (page.page_info.has_next_page && last <= from) {
          throw new SuError(
            'store-unavailable',
            `the pages of ${processId} do not go on behind nonce ${from}`,
          );
        }
        from = last;
      }
    },
    readNotes: () => Promise.resolve([]),
  };
}

/** A nonce below which nothing counts; -1: the beginning, undefined: nothing counts at all. */
async function findBefore(
  pages: LogPages,
  processId: Id,
  since: number | undefined,
): Promise<number | undefined> {
  if (since === undefined) return -1;
  const [first] = readPage(await pages.fetchFirstSince(processId, since)).edges;
  if (first === undefined) return undefined;
  const nonce = nonceOfNode(first.node) ?? 0;
  // The entry before it is what the first one continues.
  return Math.max(-1, nonce - 2);
}

function readPage(json: unknown): z.infer<typeof pageShape> {
  const page = pageShape.safeParse(json);
  if (page.success) return page.data;
  throw new SuError('store-unavailable', 'the answer has not the shape of a page');
}

/** The process itself is the one edge whose message has the process's id. */
function toEntry(processId: Id, node: unknown, cursor: string | number): WireEntry {
  const { message } = (node ?? {}) as { message?: { id?: unknown } | null };
  const subject = message?.id === processId ? 'process' : 'message';
  const nonce = nonceOfNode(node) ?? Number(cursor);
  const row = subject === 'process' ? PROCESS_POSITION : { epoch: 0, nonce, rank: 0 };
  return { kind: 'wire', subject, processId, node, row };
}

function nonceOf({ node, row }: WireEntry): number {
  return nonceOfNode(node) ?? row.nonce;
}

function nonceOfNode(node: unknown): number | undefined {
  const { assignment, nonce } = (node ?? {}) as {
    assignment?: { tags?: unknown } | null;
    nonce?: unknown;
  };
  const list = tags.safeParse(assignment?.tags);
  const value = Number(list.success ? findTag(list.data, 'Nonce') : nonce);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A process without an assignment is on no page. */
function bareProcess(processId: Id, record: unknown): WireEntry {
  const parsed = recordShape.safeParse(record);
  if (!parsed.success) {
    throw new SuError('store-unavailable', 'the answer has not the shape of a process');
  }
  const { process_id: id, ...rest } = parsed.data;
  return {
    kind: 'wire',
    subject: 'process',
    processId,
    node: { message: { id, ...rest }, assignment: null },
    row: PROCESS_POSITION,
  };
}
