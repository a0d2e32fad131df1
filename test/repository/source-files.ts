import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const NOT_OURS = new Set([
  'node_modules',
  'dist',
  'coverage',
  '.git',
  'su-data',
  'bench-results',
  '.env',
]);

/** Paths of the project's own files, from its root; what is installed, built or recorded is left out. */
export function listFiles(folder: string = ROOT): readonly string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !NOT_OURS.has(entry.name) && !entry.name.endsWith('.tgz'))
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      return entry.isDirectory() ? listFiles(path) : [relative(ROOT, path)];
    });
}

export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}
