import type { Id } from '../protocol/ids.js';
import type { CopyWatermark, DiskCopy, LogPlace, LogSource } from './disk-ports.js';
import { comparePlaces } from './places.js';
import type { StoredMessage } from './ports.js';

const RANK_MAX = 2_147_483_647;

/**
 * Copies what is missing of one log, from the watermark on, in the order of its places. A copy whose last entry is not the
 * one that the database has at that place is of another database, or of one that was set back: it is removed first.
 *
 * @throws SuError `store-unavailable`
 */
export async function catchUpLog(
  processId: Id,
  parts: {
    readonly source: Pick<LogSource, 'findProcess' | 'readMessages' | 'findHashChain'>;
    readonly copy: Pick<DiskCopy, 'findWatermark' | 'writePiece' | 'forget'>;
    readonly signal: AbortSignal;
    /** Told of entries as soon as the copy has them. */
    readonly onCopied?: (entries: number) => void;
  },
): Promise<void> {
  const { source, copy, signal } = parts;
  let from: LogPlace | undefined = await copy.findWatermark(processId);
  if (from !== undefined && !(await isOfDatabase(processId, from as CopyWatermark, source))) {
    await copy.forget(processId);
    from = undefined;
  }
  let process = from === undefined ? await source.findProcess(processId) : undefined;
  if (from === undefined && process === undefined) return;
  const write = async (messages: readonly StoredMessage[]): Promise<boolean> => {
    const to: LogPlace = messages.at(-1) ?? from ?? spawnPlace(process);
    const place = { epoch: to.epoch, nonce: to.nonce };
    const moved = await copy.writePiece({ processId, process, messages, from, to: place });
    process = undefined;
    from = place;
    if (moved) parts.onCopied?.(messages.length);
    return moved;
  };
  const after = from && { ...from, rank: RANK_MAX };
  let held: readonly StoredMessage[] = [];
  for await (const piece of source.readMessages(processId, after)) {
    // Rows of one place are written together, so that a watermark never stands among them.
    const rows = [...held, ...piece];
    const last = rows.at(-1);
    const begin = rows.findIndex((row) => last !== undefined && comparePlaces(row, last) === 0);
    held = rows.slice(begin);
    // When it did not move, the server's own commits were faster: what is still missing is found again.
    if (begin > 0 && !(await write(rows.slice(0, begin)))) return;
    if (signal.aborted) return;
  }
  if (held.length > 0 || from === undefined) await write(held);
}

async function isOfDatabase(
  processId: Id,
  watermark: CopyWatermark,
  source: Pick<LogSource, 'findHashChain'>,
): Promise<boolean> {
  if (watermark.timestamp === 0 && watermark.hashChain === '') return true;
  return (await source.findHashChain(processId, watermark)) === watermark.hashChain;
}

/** Where a log without messages stands. */
function spawnPlace(
  process: { epoch: number | undefined; nonce: number | undefined } | undefined,
): LogPlace {
  return { epoch: process?.epoch ?? 0, nonce: process?.nonce ?? -1 };
}
