import { createHash } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { SuError } from '../errors.js';

/** Below 1,440,000 compute units do not check hash chains; what a local log shows should be checked as elsewhere. */
const FIRST_HEIGHT = 1_500_000;
const BLOCK_MS = 120_000;
/** More than the settlement depth of 20 that processes ask for unless they say otherwise. */
const SETTLED_DEPTH = 50;
const FILE = 'origin.json';

/** The block heights of the local network: one more every two minutes, counted from a moment that is kept on disk. */
export interface LocalChain {
  /** Never falls, not even when the clock is set back. */
  height(): number;
  /**
   * The block in which what is uploaded now lies. It is 50 below the present height, so that everything counts
   * as settled at once: nobody wants to wait 40 minutes before a first `base-layer` assign.
   */
  blockOfUploads(): number;
  /** Seconds since the epoch. */
  timestampOf(height: number): number;
  /** base64url, 48 bytes. */
  hashOf(height: number): string;
}

/**
 * Reads the origin of the heights from `folder`, or begins one.
 *
 * @throws SuError `folder-refused` when the file is not one of ours
 */
export async function openLocalChain(folder: string, clock: () => number): Promise<LocalChain> {
  const origin = await readOrigin(join(folder, FILE), clock());
  let highest = origin.height;
  const height = (): number => {
    const blocks = Math.floor((clock() - origin.at) / BLOCK_MS);
    highest = Math.max(highest, origin.height + blocks);
    return highest;
  };
  return {
    height,
    blockOfUploads: () => height() - SETTLED_DEPTH,
    timestampOf: (block) => Math.floor((origin.at + (block - origin.height) * BLOCK_MS) / 1000),
    hashOf: (block) => createHash('sha384').update(`block ${block}`).digest('base64url'),
  };
}

interface Origin {
  readonly height: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

async function readOrigin(file: string, now: number): Promise<Origin> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) {
    const origin: Origin = { height: FIRST_HEIGHT, at: now };
    await writeWhole(file, `${JSON.stringify(origin)}\n`);
    return origin;
  }
  try {
    const { height, at } = JSON.parse(text) as Partial<Origin>;
    if (Number.isSafeInteger(height) && Number.isSafeInteger(at)) {
      return { height: height as number, at: at as number };
    }
  } catch {
    // answered below, together with the other forms of a file that is not ours
  }
  throw new SuError(
    'folder-refused',
    `${file} does not hold the origin of a local network's heights`,
  );
}

async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.tmp`;
  const handle = await open(draft, 'w');
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}
