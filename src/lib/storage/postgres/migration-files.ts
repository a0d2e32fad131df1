import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { SuError } from '../../errors.js';

/** One step of the schema's history. */
export interface Migration {
  /** As it stands in `__diesel_schema_migrations`: the folder's date without dashes. */
  readonly version: string;
  /** The folder's name. */
  readonly name: string;
  readonly sql: string;
}

/** Beside `src` and, in the installed package, beside `dist`: both are four folders above this file. */
const FOLDER = fileURLToPath(new URL('../../../../migrations/', import.meta.url));

/**
 * The migrations that this program knows, oldest first.
 * @throws SuError `invalid-config` when the package was installed without its `migrations` folder
 */
export async function readMigrations(): Promise<readonly Migration[]> {
  try {
    const names = (await readdir(FOLDER, { withFileTypes: true }))
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
    const migrations = await Promise.all(
      names.map(async (name) => ({
        name,
        version: versionOf(name),
        sql: await readFile(`${FOLDER}${name}/up.sql`, 'utf8'),
      })),
    );
    return migrations.toSorted((a, b) => (a.version < b.version ? -1 : 1));
  } catch (error) {
    throw new SuError(
      'invalid-config',
      'the package is incomplete: its migrations cannot be read',
      {
        cause: error,
        details: { folder: FOLDER },
      },
    );
  }
}

/** Another file of a migration's folder. */
export async function readMigrationFile(migration: Migration, file: string): Promise<string> {
  return readFile(`${FOLDER}${migration.name}/${file}`, 'utf8');
}

/** Diesel's rule: what stands before the first underscore, without its dashes. */
function versionOf(name: string): string {
  return (name.split('_')[0] ?? '').replaceAll('-', '');
}
