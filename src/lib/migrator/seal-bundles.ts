import { SuError } from '../errors.js';
import {
  bundleSignatureMessage,
  parseMessageBundle,
  parseProcessBundle,
} from '../protocol/bundle.js';
import { sha256Id } from '../protocol/ids.js';
import type { Signer } from '../scheduler/ports.js';
import type {
  BundleSealer,
  BundleSignature,
  RawLogReader,
  StoredMessage,
  StoredProcess,
} from './ports.js';

export interface SealOptions {
  readonly reader: RawLogReader;
  readonly sealer: BundleSealer;
  readonly signer: Signer;
  /** Milliseconds; wrappers from before are left alone. */
  readonly since: number | undefined;
  /** Signatures made at a time: one a core. */
  readonly parallel: number;
  /** Ends the work between two batches. */
  readonly signal: AbortSignal;
  onProgress(counts: SealCounts): void;
}

export interface SealCounts {
  readonly processes: number;
  readonly processesTotal: number;
  /** Wrappers that were looked at. */
  readonly bundles: number;
  readonly sealed: number;
  /** Wrappers that cannot be read: they are left as they are. */
  readonly unreadable: number;
}

/** So many signatures take about a second on one core, and are lost at most when the program is killed. */
const BATCH = 128;

/** So many other wallets are named. */
const OTHERS_MAX = 10;

const SIGNATURE_BEGIN = 2;
const SIGNATURE_END = SIGNATURE_BEGIN + 512;
/** The form of signature type 1, and no signature. */
const UNSIGNED = Buffer.concat([Buffer.from([1, 0]), Buffer.alloc(512)]);

/**
 * Signs every wrapper whose signature bytes are zero, in place: nothing else of it changes, so neither do the ids in it. The
 * wrappers of messages and processes are never published, and no reader looks at their signature, but the tools that
 * go with other implementations may. Begun again it goes on where it was stopped.
 *
 * @throws SuError `invalid-wallet` at the end, when there are wrappers of other wallets: only their owners can sign them;
 *   `store-unavailable`
 */
export async function sealBundles(options: SealOptions): Promise<SealCounts> {
  const { reader, signal, since } = options;
  const counts = {
    processes: 0,
    processesTotal: await reader.countProcesses(),
    bundles: 0,
    sealed: 0,
    unreadable: 0,
  };
  const others = new Map<string, number>();
  const seal = async (rows: readonly (StoredProcess | StoredMessage)[]): Promise<void> => {
    const chosen = rows.filter(
      ({ timestamp }) => since === undefined || timestamp === undefined || timestamp >= since,
    );
    counts.bundles += chosen.length;
    const open = chosen.filter(isUnsigned);
    for (let begin = 0; begin < open.length && !signal.aborted; begin += BATCH) {
      const sealed = await sealBatch(open.slice(begin, begin + BATCH), options, others);
      await options.sealer.sealBundles(sealed.signatures);
      counts.sealed += sealed.signatures.length;
      counts.unreadable += sealed.unreadable;
      options.onProgress({ ...counts });
    }
  };
  for await (const piece of reader.readProcesses(undefined)) {
    await seal(piece);
    for (const { processId } of piece) {
      for await (const messages of reader.readMessages(processId, undefined)) {
        if (signal.aborted) return counts;
        await seal(messages);
      }
      if (signal.aborted) return counts;
      counts.processes += 1;
      options.onProgress({ ...counts });
    }
  }
  refuseOthers(others, counts.sealed, options.signer);
  return counts;
}

function isUnsigned({ bundle }: StoredProcess | StoredMessage): boolean {
  return Buffer.compare(bundle.subarray(0, SIGNATURE_END), UNSIGNED) === 0;
}

async function sealBatch(
  rows: readonly (StoredProcess | StoredMessage)[],
  { signer, parallel }: SealOptions,
  others: Map<string, number>,
): Promise<{ readonly signatures: readonly BundleSignature[]; readonly unreadable: number }> {
  const signatures: BundleSignature[] = [];
  let unreadable = 0;
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let row = rows[next++]; row !== undefined; row = rows[next++]) {
      const owner = ownerOf(row);
      if (owner === undefined) {
        unreadable += 1;
        continue;
      }
      if (Buffer.compare(owner, signer.owner) !== 0) {
        const address = sha256Id(owner);
        if (others.has(address) || others.size < OTHERS_MAX) {
          others.set(address, (others.get(address) ?? 0) + 1);
        }
        continue;
      }
      const signature = await signer.sign(await bundleSignatureMessage(row.bundle));
      const place = 'messageId' in row ? row : undefined;
      signatures.push({ processId: row.processId, place, signature });
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return { signatures, unreadable };
}

function ownerOf(row: StoredProcess | StoredMessage): Uint8Array | undefined {
  const parse = 'messageId' in row ? parseMessageBundle : parseProcessBundle;
  try {
    return parse(row.bundle).wrapper.owner;
  } catch {
    // Damage is the audit's to name, and a signature would make it look sound.
    return undefined;
  }
}

function refuseOthers(others: ReadonlyMap<string, number>, sealed: number, signer: Signer): void {
  if (others.size === 0) return;
  const named = [...others].map(([address, count]) => `${count} of ${address}`);
  throw new SuError(
    'invalid-wallet',
    `this wallet is ${signer.address} and signed ${sealed} wrappers; others are left: ${named.join(', ')}. ` +
      'Of each only its owner can sign it: run the command again with that wallet',
  );
}
