import { z } from 'zod';
import type { RawLogReader, RowPosition, StoredMessage, StoredProcess } from '../migrator/ports.js';
import { asBuffer, isId, type Id } from '../protocol/ids.js';
import type { OperatorCall } from './outbox-calls.js';

/*
 * The rows of a running server, a bounded piece a call. What is done with them (an audit verifies two signatures an entry)
 * is done by the program that asks, on its own time: the server reads and answers, holds nothing between two calls, and
 * forgets whoever stops asking.
 */

/** The rows of a store, with single processes. */
export interface OperatorRows extends RawLogReader {
  findProcess(processId: Id): Promise<StoredProcess | undefined>;
}

export const COUNT_CALL = 'rows.count';
export const PROCESS_CALL = 'rows.process';
export const PROCESSES_CALL = 'rows.processes';
export const MESSAGES_CALL = 'rows.messages';
export const OUTSTANDING_CALL = 'rows.outstanding';

/** Ids in one answer about outstanding uploads; the rest is left out. */
const OUTSTANDING_MAX = 100_000;

const id = z.custom<Id>((value) => typeof value === 'string' && isId(value));
const position = z.strictObject({ epoch: z.int(), nonce: z.int(), rank: z.int() });
const processQuery = z.strictObject({ processId: id });
const processesQuery = z.strictObject({ afterId: id.optional() });
const messagesQuery = z.strictObject({ processId: id, after: position.optional() });

const base64 = z.string();
const processRow = z.object({
  processId: id,
  rank: z.int(),
  epoch: z.int().optional(),
  nonce: z.int().optional(),
  timestamp: z.int().optional(),
  hashChain: z.string().optional(),
  bundle: base64,
  json: z.string().optional(),
});
const messageRow = z.object({
  ...position.shape,
  processId: id,
  messageId: id,
  assignmentId: id.optional(),
  timestamp: z.int(),
  hashChain: z.string(),
  bundle: base64,
  json: z.string().optional(),
});

/** The rows as calls for the socket. */
export function rowsCalls(rows: OperatorRows): Readonly<Record<string, OperatorCall>> {
  return {
    [COUNT_CALL]: () => rows.countProcesses(),
    [PROCESS_CALL]: async (params) => {
      const process = await rows.findProcess(processQuery.parse(params).processId);
      return process === undefined ? null : withText(process);
    },
    [PROCESSES_CALL]: async (params) => {
      const piece = await firstPiece(rows.readProcesses(processesQuery.parse(params).afterId));
      return piece.map(withText);
    },
    [MESSAGES_CALL]: async (params) => {
      const { processId, after } = messagesQuery.parse(params);
      return (await firstPiece(rows.readMessages(processId, after))).map(withText);
    },
    [OUTSTANDING_CALL]: async (params) => {
      const outstanding = await rows.readOutstanding(processQuery.parse(params).processId);
      return [...outstanding].slice(0, OUTSTANDING_MAX);
    },
  };
}

/**
 * The rows of a running server, by calls over its socket.
 *
 * @param call sends one call and answers its result; what it throws reaches the caller
 */
export function rowsOverCalls(
  call: (name: string, params: unknown) => Promise<unknown>,
): OperatorRows {
  return {
    async countProcesses() {
      return z.int().parse(await call(COUNT_CALL, {}));
    },
    async findProcess(processId) {
      const row = processRow.nullable().parse(await call(PROCESS_CALL, { processId }));
      return row === null ? undefined : toProcess(row);
    },
    async *readProcesses(afterId) {
      for (let after = afterId; ;) {
        const rows = z.array(processRow).parse(await call(PROCESSES_CALL, { afterId: after }));
        if (rows.length === 0) return;
        yield rows.map(toProcess);
        after = rows.at(-1)?.processId;
      }
    },
    async *readMessages(processId, after) {
      for (let behind = after; ;) {
        const params = { processId, after: behind && placeOf(behind) };
        const rows = z.array(messageRow).parse(await call(MESSAGES_CALL, params));
        if (rows.length === 0) return;
        yield rows.map(toMessage);
        behind = rows.at(-1);
      }
    },
    async readOutstanding(processId) {
      const pairs = z.array(z.tuple([id, z.int()]));
      return new Map(pairs.parse(await call(OUTSTANDING_CALL, { processId })));
    },
  };
}

/** The next piece alone: the caller asks for the one behind it with its last row. */
async function firstPiece<Row>(pieces: AsyncIterable<readonly Row[]>): Promise<readonly Row[]> {
  for await (const piece of pieces) return piece;
  return [];
}

function withText<Row extends { readonly bundle: Uint8Array }>(
  row: Row,
): Omit<Row, 'bundle'> & { bundle: string } {
  return { ...row, bundle: asBuffer(row.bundle).toString('base64') };
}

function placeOf({ epoch, nonce, rank }: RowPosition): RowPosition {
  return { epoch, nonce, rank };
}

function toProcess(row: z.infer<typeof processRow>): StoredProcess {
  const { epoch, nonce, timestamp, hashChain, json } = row;
  const bundle = Buffer.from(row.bundle, 'base64');
  return { ...row, epoch, nonce, timestamp, hashChain, json, bundle };
}

function toMessage(row: z.infer<typeof messageRow>): StoredMessage {
  const { assignmentId, json } = row;
  return { ...row, assignmentId, json, bundle: Buffer.from(row.bundle, 'base64') };
}
