import { isSuError } from '../errors.js';
import type { Id } from '../protocol/ids.js';
import { catchUpLog } from './catch-up.js';
import type {
  DiskCheckPart,
  DiskCopy,
  DiskFault,
  DiskFinding,
  LogSource,
  ProcessHead,
} from './disk-ports.js';
import { comparePlaces } from './places.js';

export interface DiskCheckParts {
  readonly source: LogSource;
  readonly copy: DiskCopy;
  readonly signal: AbortSignal;
}

/**
 * Compares the copies of the next processes with the database: how many messages there are up to the watermark, and the hash
 * chain there, which names everything before it.
 *
 * @param options.repair copy anew what differs, and what is behind
 * @throws SuError `store-unavailable` when the database cannot be asked
 */
export async function checkDiskPart(
  options: { readonly afterRow: number; readonly repair: boolean },
  parts: DiskCheckParts,
): Promise<DiskCheckPart> {
  const findings: DiskFinding[] = [];
  let entries = 0;
  for await (const piece of parts.source.readHeads(options.afterRow)) {
    for (const log of piece) {
      const { fault, count, sentence } = await checkLog(log, parts);
      entries += count;
      if (fault === undefined) continue;
      const { processId } = log;
      const isRepaired = options.repair && (await repairLog(processId, fault, parts));
      findings.push({ processId, fault, sentence, isRepaired });
    }
    return {
      processes: piece.length,
      entries,
      findings,
      nextRow: piece.at(-1)?.rank,
    };
  }
  if (options.repair) await parts.copy.removeUnused();
  return { processes: 0, entries: 0, findings, nextRow: undefined };
}

interface Checked {
  readonly fault: DiskFault | undefined;
  readonly count: number;
  readonly sentence: string;
}

async function checkLog(
  { processId, head }: ProcessHead,
  { source, copy }: DiskCheckParts,
): Promise<Checked> {
  const at = (fault: DiskFault | undefined, sentence: string, count = 0): Checked => ({
    fault,
    sentence,
    count,
  });
  try {
    const watermark = await copy.findWatermark(processId);
    if (watermark === undefined) return at('behind', 'nothing of it is on the disk yet');
    const hasMessages = watermark.timestamp > 0 || watermark.hashChain !== '';
    const chain = hasMessages ? await source.findHashChain(processId, watermark) : '';
    if (chain !== watermark.hashChain) {
      return at(
        'other-log',
        `the hash chain at nonce ${watermark.nonce} is ${watermark.hashChain}, in the database ${chain ?? 'nothing'}`,
      );
    }
    const count = await copy.countMessages(processId, watermark);
    const expected = await source.countMessages(processId, watermark);
    if (count !== expected) {
      return at(
        'incomplete',
        `${count} messages up to nonce ${watermark.nonce}, in the database ${expected}`,
        count,
      );
    }
    const isBehind = head !== undefined && comparePlaces(watermark, head) < 0;
    return isBehind
      ? at(
          'behind',
          `complete up to nonce ${watermark.nonce}, in the database ${head.nonce}`,
          count,
        )
      : at(undefined, '', count);
  } catch (error) {
    // The database's own failures would come again with the next look; the disk's are what is looked for.
    await source.readLastRow();
    return at('unreadable', error instanceof Error ? error.message : String(error));
  }
}

/** False when the disk does not allow it: then the folder has to be made anew. */
async function repairLog(processId: Id, fault: DiskFault, parts: DiskCheckParts): Promise<boolean> {
  try {
    if (fault !== 'behind') await parts.copy.forget(processId);
    await catchUpLog(processId, parts);
    return true;
  } catch (error) {
    if (isSuError(error)) return false;
    throw error;
  }
}
