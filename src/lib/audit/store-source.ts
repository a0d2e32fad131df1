import type { RowPosition, StoredMessage, StoredProcess } from '../migrator/ports.js';
import type { Id } from '../protocol/ids.js';
import { PROCESS_POSITION } from './check-stored.js';
import { FINDINGS, type Finding } from './findings.js';
import type { AuditedLog, AuditedStore, AuditSource, RawEntry } from './ports.js';

/**
 * The logs of a store.
 *
 * @param name the store as an operator knows it, without its password
 */
export function sourceOfStore(store: AuditedStore, name: string): AuditSource {
  return {
    name,
    countLogs: () => store.countProcesses(),
    async *readLogs(afterId) {
      for await (const piece of store.readProcesses(afterId)) {
        for (const process of piece) yield logOf(store, process);
      }
    },
    async findLog(processId) {
      const process = await store.findProcess(processId);
      return process && logOf(store, process);
    },
    countOutstanding: () => store.countOutstanding(),
  };
}

function logOf(store: AuditedStore, process: StoredProcess): AuditedLog {
  const { processId } = process;
  return {
    processId,
    async *readEntries({ after, since }): AsyncGenerator<readonly RawEntry[]> {
      if (after === undefined) yield [{ kind: 'process', row: process }];
      const isBehindProcess = after !== undefined && after.nonce > PROCESS_POSITION.nonce;
      const from =
        isBehindProcess || since === undefined
          ? isBehindProcess
            ? after
            : undefined
          : await findBefore(store, processId, since);
      for await (const piece of store.readMessages(processId, from)) {
        yield piece.map((row) => ({ kind: 'message', row }));
      }
    },
    readNotes: () => readOutstanding(store, processId),
  };
}

/**
 * A position with at least one entry between it and the first one of `since` or later; undefined: the beginning. Timestamps rise
 * along a log, so places are tried at doubling distances and then halved: a few pieces are read, whatever the log's size.
 */
async function findBefore(
  store: AuditedStore,
  processId: Id,
  since: number,
): Promise<RowPosition | undefined> {
  /** The first entry above this nonce is earlier than `since`. */
  let low = -1;
  /** There is none above this one, or it is not earlier. */
  let high = 1;
  const isEarlier = async (nonce: number): Promise<boolean> => {
    const row = await readFirst(store, processId, behind(nonce));
    return row !== undefined && row.timestamp < since;
  };
  if (!(await isEarlier(low))) return undefined;
  while (high < NONCE_MAX && (await isEarlier(high))) {
    low = high;
    high = Math.min(2 * high + 1, NONCE_MAX);
  }
  while (high - low > CLOSE_ENOUGH) {
    const middle = Math.floor((low + high) / 2);
    if (await isEarlier(middle)) low = middle;
    else high = middle;
  }
  return low < 0 ? undefined : behind(low);
}

/** Nonces are int4 in PostgreSQL. */
const NONCE_MAX = 2_147_483_646;
/** Entries that are read for nothing cost less than another look. */
const CLOSE_ENOUGH = 64;

function behind(nonce: number): RowPosition {
  return { epoch: 0, nonce, rank: 2_147_483_647 };
}

async function readFirst(
  store: AuditedStore,
  processId: Id,
  after: RowPosition,
): Promise<StoredMessage | undefined> {
  for await (const piece of store.readMessages(processId, after)) return piece[0];
  return undefined;
}

async function readOutstanding(store: AuditedStore, processId: Id): Promise<readonly Finding[]> {
  const outstanding = await store.readOutstanding(processId);
  if (outstanding.size === 0) return [];
  const [first = ''] = outstanding.keys();
  const others = outstanding.size === 1 ? '' : ` and ${outstanding.size - 1} more`;
  return [
    {
      code: 'upload-pending',
      severity: FINDINGS['upload-pending'].severity,
      process: processId,
      expected: 'everything published',
      found: `uploads outstanding of ${first}${others}`,
      also: [],
    },
  ];
}
