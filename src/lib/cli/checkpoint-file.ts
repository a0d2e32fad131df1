import { open, readFile, rename, rm } from 'node:fs/promises';
import { SuError } from '../errors.js';

/** A file in which a long job leaves its place, replaced as a whole. */
export interface CheckpointFile {
  /** Undefined when there is none. */
  read(): Promise<string | undefined>;
  write(text: string): Promise<void>;
  remove(): Promise<void>;
}

/**
 * The checkpoint at `path`; nothing is read or made yet.
 *
 * @returns methods that throw SuError `invalid-config` when the file cannot be used
 */
export function checkpointFile(path: string): CheckpointFile {
  const beside = `${path}.new`;
  return {
    async read() {
      try {
        return await readFile(path, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw unusable(path, error);
      }
    },
    async write(text) {
      try {
        const file = await open(beside, 'w', 0o600);
        try {
          await file.writeFile(text);
          await file.sync();
        } finally {
          await file.close();
        }
        // A reader, or the next run after a crash, sees the old one or the new one.
        await rename(beside, path);
      } catch (error) {
        throw unusable(path, error);
      }
    },
    async remove() {
      await rm(path, { force: true });
      await rm(beside, { force: true });
    },
  };
}

function unusable(path: string, cause: unknown): SuError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SuError('invalid-config', `the checkpoint ${path} cannot be used: ${reason}`, {
    cause,
  });
}
