import { SuError } from '../errors.js';
import { isId, quoteBounded } from '../protocol/ids.js';
import type { LogReader, ReadOptions } from './ports.js';

/**
 * The record of a process, as JSON.
 *
 * @throws SuError `unknown-process`, `store-unavailable`
 */
export async function readProcessRecord(
  reader: Pick<LogReader, 'findProcess'>,
  processId: string,
  { isWanted }: ReadOptions = {},
): Promise<Uint8Array> {
  const asked = { showAnchor: false, isWanted };
  const process = isId(processId) ? await reader.findProcess(processId, asked) : undefined;
  if (process === undefined) throw unknownProcess(processId);
  return process.record;
}

/**
 * The node of the newest entry of a process: its own when it has no messages (compute units wait for it).
 *
 * @throws SuError `unknown-process`, `unknown-entry` (neither messages nor an assignment of its own), `store-unavailable`
 */
export async function readLatest(
  reader: Pick<LogReader, 'findLatest' | 'findProcess'>,
  processId: string,
  { isWanted }: ReadOptions = {},
): Promise<Uint8Array> {
  if (!isId(processId)) throw unknownProcess(processId);
  const latest = await reader.findLatest(processId, { isWanted });
  if (latest !== undefined) return latest.node;
  const process = await reader.findProcess(processId, { showAnchor: false, isWanted });
  if (process === undefined) throw unknownProcess(processId);
  if (process.entry === undefined) {
    throw new SuError(
      'unknown-entry',
      `process ${processId} has no messages and no assignment of its own yet`,
    );
  }
  return process.entry.node;
}

function unknownProcess(processId: string): SuError {
  return new SuError('unknown-process', `process ${quoteBounded(processId)} is not known here`);
}
